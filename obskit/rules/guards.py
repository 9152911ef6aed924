"""What a line must contain before it can be a sample of a log query: found cheaply, in many lines at once.

A guard may let lines through that the query drops. Only what must be there guards: a filter that drops lines cannot,
and a pattern whose meaning would change where lines stand in one text does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from obskit.logql.captures import filtering_pattern
from obskit.logql.entries import EXTRACTED
from obskit.logql.log_nodes import (
    Both,
    Condition,
    JsonStage,
    LabelFilter,
    LineFilter,
    LineOp,
    LogfmtStage,
    LogQuery,
    PatternStage,
    RegexpStage,
    Stage,
    Text,
)
from obskit.logql.stages import LINE_CHANGERS
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.patterns import compile_pattern
from obskit.model.records import whole_text

_PLAIN: Final = re.compile(r"[A-Za-z0-9_ /:=,@-]+")
_PUNCTUATION: Final = re.compile(r"[!-/:-@\[-^`{-~]")
_WORDS: Final = re.compile(r"[A-Za-z0-9_ /:=,@-]+(?:\|[A-Za-z0-9_ /:=,@-]+)*")
_OF_ONE_TEXT: Final = re.compile(r"\\[AzZCQ]|\(\?[A-Za-z]*-")
"""`\\A` and `\\z` stand for the ends of a text, and flags may be taken back."""
_COPYING: Final = (JsonStage, LogfmtStage, RegexpStage, PatternStage, LineFilter, LabelFilter)
"""Stages after which a label's value stands in the line, was escaped there, or is the stream's or the metadata's."""
_ESCAPE: Final = "\\"
_KEEPS_MOST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Needle:
    """A text to look for, or an RE2 pattern."""

    source: str
    literal: bool = True

    @property
    def pattern(self) -> str:
        """It as an RE2 pattern for a text of many lines: `^` and `$` stand for the ends of each."""
        return _PUNCTUATION.sub(r"\\\g<0>", self.source) if self.literal else f"(?m:{self.source})"

    @property
    def data(self) -> bytes:
        """The text to look for."""
        return self.source.encode(errors="surrogatepass")

    def compiled(self) -> Any:
        """It as a compiled pattern."""
        return compile_pattern(self.pattern)


@dataclass(frozen=True, slots=True)
class Guard:
    """One of `needles` is in every line that passes; with a matcher, where neither stream nor metadata have its label.

    No parser replaces the metadata of a line: where they have the label, they must satisfy the matcher.
    """

    needles: tuple[Needle, ...]
    matcher: Matcher | None = None

    def holds_for(self, stream: Labels) -> bool:
        """Whether it may be relied upon for the lines of a stream."""
        return self.matcher is None or self.matcher.name not in stream

    @property
    def worth(self) -> int:
        """How much it is likely to keep away."""
        if not self.needles:
            return _KEEPS_MOST
        if not all(needle.literal for needle in self.needles):
            return 1
        shortest = min(len(needle.source) for needle in self.needles if needle.source != _ESCAPE)
        return shortest + (100 if self.matcher is None else 2)


def guard_of(query: LogQuery) -> Guard | None:
    """The best guard of a query; None when any line may pass."""
    guards: list[Guard] = []
    for stage in takewhile(lambda stage: not isinstance(stage, LINE_CHANGERS), query.stages):
        if isinstance(stage, LineFilter):
            guards += _some(_of_line_filter(stage))
    parsed = False
    for stage in _while_copying(query.stages):
        if isinstance(stage, LabelFilter):
            guards += _some(_of_condition(stage.condition, parsed=parsed))
        parsed = parsed or not isinstance(stage, LabelFilter | LineFilter)
    return max(guards, key=lambda guard: guard.worth, default=None)


def _while_copying(stages: tuple[Stage, ...]) -> Iterable[Stage]:
    return takewhile(lambda stage: isinstance(stage, _COPYING), stages)


def _some(guard: Guard | None) -> list[Guard]:
    return [] if guard is None else [guard]


def _of_line_filter(stage: LineFilter) -> Guard | None:
    if stage.op.negative:
        return None
    needles = [_needle(stage.op, operand.text) if isinstance(operand, Text) else None for operand in stage.operands]
    found = tuple(needle for needle in needles if needle is not None)
    return Guard(found) if len(found) == len(needles) else None


def _needle(op: LineOp, text: str) -> Needle | None:
    if op is LineOp.PATTERN:
        text = max(filtering_pattern(text).literals, key=len)
    elif op is LineOp.MATCHES and not _PLAIN.fullmatch(text):
        return _regex(text)
    return Needle(text) if text and whole_text(text) == text else None


def _regex(text: str) -> Needle | None:
    if _OF_ONE_TEXT.search(text) or compile_pattern(text).search(b"") is not None:
        return None
    return Needle(text, literal=False)


def _of_condition(condition: Condition, *, parsed: bool) -> Guard | None:
    match condition:
        case Matcher():
            return _of_matcher(condition) if parsed else _of_own_label(condition)
        case Both():
            found = [_of_condition(side, parsed=parsed) for side in (condition.left, condition.right)]
            return max((guard for guard in found if guard), key=lambda guard: guard.worth, default=None)
        case _:
            return None


def _of_own_label(matcher: Matcher) -> Guard | None:
    """Before any parser a label is the stream's or the metadata's: what stands in the line does not matter."""
    if matcher.name.startswith("__") or matcher.name.endswith(EXTRACTED) or matcher.matches_empty:
        return None
    return Guard((), matcher)


def _of_matcher(matcher: Matcher) -> Guard | None:
    """A label that equals a text, or one of some: the text stands in the line, or something there is escaped."""
    if matcher.name.startswith("__") or matcher.name.endswith(EXTRACTED) or not matcher.value.isascii():
        return None
    if matcher.op is MatchOp.REGEX and _WORDS.fullmatch(matcher.value):
        texts = matcher.value.split("|")
    elif matcher.op is MatchOp.EQUAL and matcher.value:
        texts = [matcher.value]
    else:
        return None
    return Guard((*(Needle(text) for text in texts), Needle(_ESCAPE)), matcher)
