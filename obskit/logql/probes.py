"""Which lines of a block may pass the label filters that follow a parser, told from their bytes, before any is parsed.

A filter that needs a label which only a parser can give needs its name, and maybe its value, to stand in the line. What a
probe lets through is parsed all the same; what it stops, the filter would have dropped. Where that is not certain (an
escape may hide a name, metadata may bring the label) the line is let through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from obskit.logql.entries import EXTRACTED
from obskit.logql.filters import COMPARE
from obskit.logql.literals import required_literals
from obskit.logql.log_nodes import (
    Both,
    Compare,
    Condition,
    JsonStage,
    LabelFilter,
    LineFilter,
    LogfmtStage,
    PatternStage,
    RegexpStage,
    Stage,
)
from obskit.logql.own_labels import own_label_sieve
from obskit.logql.scan import Indices, encoded, finder, holding
from obskit.model.matchers import Matcher, MatchOp
from obskit.store.log_interface import LogBlock

_PARSERS: Final = (JsonStage, LogfmtStage, RegexpStage, PatternStage)
_PLAIN_VALUE: Final = re.compile(r"[A-Za-z0-9_.:@-]{2,}")
_NUMBER: Final = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_ESCAPE: Final = finder(b"\\u")
_KNOWN_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class Probe:
    """A label that a filter needs. `suspects` tells in which of some lines it may be as the filter wants it.

    `of_own` tells the same of lines that have the label by themselves; without it all of them may pass.
    """

    label: str
    suspects: Callable[[LogBlock, Indices], Indices]
    of_own: Callable[[LogBlock, Indices], Indices] | None = None


def probes(stages: Sequence[Stage]) -> list[Probe]:
    """What the stages need, as far as it can be told from the stored line: parsers first, then what filters want."""
    found: list[Probe] = []
    parsers: list[Stage] = []
    for stage in stages:
        if isinstance(stage, _PARSERS):
            parsers.append(stage)
        elif isinstance(stage, LabelFilter):
            if parsers:
                found += [probe for one in _needed(stage.condition) if (probe := _probe(one, parsers))]
        elif not isinstance(stage, LineFilter):
            break
    return found


def sift(probe: Probe, block: LogBlock, lines: Indices) -> Indices:
    """The lines that may pass. Where a line has the label by itself, a parser cannot give it, and its own value decides."""
    name = probe.label
    if name.endswith(EXTRACTED):
        return lines
    own = np.array([name in stream for stream in block.streams], np.bool_)[block.stream_of[lines]]
    if name in block.metadata_names:
        own |= np.array([value is not None for value in block.metadata_column(name)[lines].tolist()], np.bool_)
    if not own.any():
        return probe.suspects(block, lines)
    passing = lines[own] if probe.of_own is None else probe.of_own(block, lines[own])
    return np.sort(np.concatenate([passing, probe.suspects(block, lines[~own])]))


def _needed(condition: Condition) -> Iterator[Matcher | Compare]:
    """The parts that all must hold, and hold only where their label is there."""
    match condition:
        case Both():
            yield from _needed(condition.left)
            yield from _needed(condition.right)
        case Compare():
            yield condition
        case Matcher() if not condition.matches_empty and not condition.name.startswith("__"):
            yield condition


def _probe(condition: Matcher | Compare, parsers: Sequence[Stage]) -> Probe | None:
    by_name = all(_named_in_line(parser) for parser in parsers)
    if isinstance(condition, Matcher):
        of_own = own_label_sieve(condition)
        if condition.op is MatchOp.EQUAL and _PLAIN_VALUE.fullmatch(condition.value):
            return Probe(condition.name, _holding_or_escaped(encoded(condition.value)), of_own)
        literals = required_literals(condition.value) if condition.op is MatchOp.REGEX else ()
        plain = [text for text in literals if _PLAIN_VALUE.fullmatch(text)]
        if plain:
            return Probe(condition.name, _holding_or_escaped(encoded(max(plain, key=len))), of_own)
        return Probe(condition.name, _named(condition.name), of_own) if by_name and _last(condition.name) else None
    if not by_name or not _last(condition.label):
        return None
    if condition.kind == "number":
        return Probe(condition.label, _Numbers(condition).suspects)
    return Probe(condition.label, _named(condition.label))


def _named_in_line(parser: Stage) -> bool:
    """Whether a label of this parser has its name from the line."""
    return isinstance(parser, JsonStage | LogfmtStage) and not parser.extractions


def _last(label: str) -> str:
    """The last part of a name that cannot have been another character in the line."""
    return "" if label.endswith("_") else label.rpartition("_")[2]


def _holding_or_escaped(needle: bytes) -> Callable[[LogBlock, Indices], Indices]:
    pattern = finder(needle)
    return lambda block, lines: _with_escaped(block, lines, holding(block, lines, pattern))


def _with_escaped(block: LogBlock, lines: Indices, found: Indices) -> Indices:
    """With the lines that hold an escape: it may stand for anything."""
    if b"\\" not in block.data:  # one byte is looked for much quicker than two
        return found
    return np.union1d(found, holding(block, lines, _ESCAPE))


def _named(label: str) -> Callable[[LogBlock, Indices], Indices]:
    return _holding_or_escaped(encoded(_last(label)))


class _Numbers:
    """Lines that hold a name with a number behind it which a comparison lets pass, or with something it is unsure of.

    A few values make up most of many fields: those that cannot pass are left out by the search itself.
    """

    def __init__(self, compare: Compare) -> None:
        self._holds, self._limit = COMPARE[compare.op], compare.limit
        self._name = re.escape(encoded(_last(compare.label))) + rb'[^A-Za-z0-9"=:]*+"?+\s*+[:=]\s*+"?+'
        self._values = re.compile(self._name + rb'([^",}\]\s]*)')
        self._failing: set[bytes] = set()
        self._search: re.Pattern[bytes] | None = None

    def suspects(self, block: LogBlock, lines: Indices) -> Indices:
        """See Probe."""
        if self._search is None and len(self._failing) <= _KNOWN_MOST:
            self._learn(block, lines)
        found = holding(block, lines, self._search) if self._search else self._converted(block, lines)
        return _with_escaped(block, lines, found)

    def _learn(self, block: LogBlock, lines: Indices) -> None:
        """The values of one block that cannot pass. Where they are few, the search leaves them out."""
        if not len(lines):
            return
        data = block.data[int(block.starts[lines[0]]) : int(block.ends[lines[-1]])]
        self._failing.update(value for value in set(self._values.findall(data)) if not self._may_pass(value))
        if len(self._failing) <= _KNOWN_MOST:
            known = rb"|".join(map(re.escape, sorted(self._failing, key=len, reverse=True)))
            self._search = re.compile(self._name + rb'(?!(?:%s)[",}\]\s])' % known if known else self._name)

    def _converted(self, block: LogBlock, lines: Indices) -> Indices:
        data, may_pass = block.data, self._may_pass
        first, last = int(block.starts[lines[0]]) if len(lines) else 0, int(block.ends[lines[-1]]) if len(lines) else 0
        at = [match.start() for match in self._values.finditer(data, first, last) if may_pass(match[1])]
        hits = np.searchsorted(block.starts, np.array(at, np.int64), side="right") - 1
        return np.intersect1d(lines, hits[np.diff(hits, prepend=-1) > 0], assume_unique=True)

    def _may_pass(self, value: bytes) -> bool:
        """Whether a value passes, or is not a plain number."""
        return _NUMBER.fullmatch(value) is None or bool(self._holds(float(value), self._limit))
