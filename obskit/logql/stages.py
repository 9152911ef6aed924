"""Stages to steps: parsers, label filters, and what changes labels or the line.

A parser never drops a line by itself: what it cannot read it notes in `__error__`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from obskit.logql.captures import capturing_pattern
from obskit.logql.entries import ERRORS, EXTRACTED, Entry, Step
from obskit.logql.filters import condition_step, labels_asked, line_predicate
from obskit.logql.json_fields import MALFORMED, BadJson, Picker, flattened, label_name, packed_texts, valid_text
from obskit.logql.json_paths import parse_path, value_at
from obskit.logql.log_nodes import (
    DecolorizeStage,
    DropStage,
    FormatStage,
    JsonStage,
    KeepStage,
    LabelFilter,
    LineFilter,
    LineFormatStage,
    LogfmtStage,
    PatternStage,
    RegexpStage,
    Stage,
    UnpackStage,
)
from obskit.logql.logfmt import BadLogfmt, pairs, strict_pairs
from obskit.logql.templates import label_format_step, labels_in, line_format_step
from obskit.model.matchers import Matcher
from obskit.model.patterns import compile_pattern

JSON_ERROR: Final = "JSONParserErr"
LOGFMT_ERROR: Final = "LogfmtParserErr"
PACKED_LINE: Final = "_entry"

_ANSI: Final = re.compile("[\x1b\x9b][\\[\\]()#;?]*(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-ORZcf-nqry=><~]")
PARSERS: Final = (JsonStage, LogfmtStage, RegexpStage, PatternStage, UnpackStage)
LINE_CHANGERS: Final = (UnpackStage, DecolorizeStage, LineFormatStage)
Wanted: TypeAlias = frozenset[str] | None
Pairs: TypeAlias = Callable[[str], Iterator[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Demands:
    """What a query wants of its stages.

    `labels` are those that somebody looks at, None when that is all of them. `errors` says that samples of lines with
    an error are wanted (the query filters by `__error__`). `now_ns` is what templates call now.
    """

    labels: Wanted = None
    errors: bool = False
    now_ns: int = 0

    @property
    def fields(self) -> Wanted:
        """The names that parsers may have to find for that: one that is taken becomes `<name>_extracted`."""
        return self.labels and self.labels | {name.removesuffix(EXTRACTED) for name in self.labels}


def steps(stages: tuple[Stage, ...], demands: Demands) -> list[Step]:
    """The stages as functions. Where no label is wanted, parsers are left out and so cannot fail, as in Loki."""
    wanted = demands.labels
    demands = replace(demands, labels=demands.fields)
    return [_step(stage, demands) for stage in stages if wanted is None or wanted or not isinstance(stage, PARSERS)]


def labels_read(stages: tuple[Stage, ...]) -> Wanted:
    """The labels that label filters and formats among the stages look at; None when they may look at any."""
    read: set[str] = set()
    for stage in stages:
        names: Wanted = frozenset()
        match stage:
            case LabelFilter():
                names = labels_asked(stage.condition)
            case LineFormatStage():
                names = labels_in(stage.template)
            case FormatStage():
                names = _read_by_formats(stage)
        if names is None:
            return None
        read |= names
    return frozenset(read)


def _read_by_formats(stage: FormatStage) -> Wanted:
    read: set[str] = set()
    for one in stage.formats:
        names = labels_in(one.source) if one.is_template else frozenset({one.source})
        if names is None:
            return None
        read |= names
    return frozenset(read)


def _step(stage: Stage, demands: Demands) -> Step:
    match stage:
        case LineFilter():
            accepts = line_predicate(stage)
            return lambda entry: accepts(entry.line)
        case LabelFilter():
            return condition_step(stage.condition)
        case JsonStage() | LogfmtStage() | RegexpStage() | PatternStage() | UnpackStage():
            return _parser(stage, demands)
        case DecolorizeStage():
            return _decolorize_step
        case DropStage():
            return _drop_step(stage)
        case KeepStage():
            return _keep_step(stage)
        case LineFormatStage():
            return line_format_step(stage, demands.now_ns)
        case FormatStage():
            return label_format_step(stage, demands.now_ns)


def _parser(stage: JsonStage | LogfmtStage | RegexpStage | PatternStage | UnpackStage, demands: Demands) -> Step:
    match stage:
        case JsonStage():
            return _json_paths_step(stage, demands) if stage.extractions else _json_step(demands)
        case LogfmtStage():
            return _logfmt_keys_step(stage, demands) if stage.extractions else _logfmt_step(stage, demands)
        case RegexpStage():
            return _regexp_step(stage)
        case PatternStage():
            return _pattern_step(stage)
        case UnpackStage():
            return _unpack_step(demands)


def _json_step(demands: Demands) -> Step:
    wanted, preserve = demands.labels, demands.errors
    read = flattened if wanted is None else Picker(wanted)

    def step(entry: Entry) -> bool:
        error = None
        try:
            fields = read(entry.line)
        except BadJson as bad:
            error, fields = bad, bad.fields
        for name, value in fields:
            if name and (error is None or wanted is None or name in wanted):
                entry.add(name, value)
        if error is not None and (wanted is None or not wanted <= entry.parsed):
            # A parser that has found all that is wanted stops there, and does not see what is wrong behind it.
            entry.fail_parser(JSON_ERROR, str(error), preserve=preserve)
        return True

    return step


def _json_paths_step(stage: JsonStage, demands: Demands) -> Step:
    paths = [(extraction.label, parse_path(extraction.path)) for extraction in stage.extractions]
    preserve = demands.errors

    def step(entry: Entry) -> bool:
        line = entry.line
        if not line:
            return True
        if line.lstrip(" \t\n\r")[:1] not in ("{", "[", '"'):
            entry.fail_parser(JSON_ERROR, "", preserve=preserve)
            return True
        missing = []
        for label, path in paths:
            try:
                value = value_at(line, path)
            except BadJson as error:
                value = None
                if str(error) != MALFORMED:
                    entry.fail_parser(JSON_ERROR, str(error), preserve=preserve)
            if value is None:
                missing.append(label)
            else:
                entry.put(label, value)
        for label in missing:
            entry.fill(label)
        return True

    return step


def _logfmt_step(stage: LogfmtStage, demands: Demands) -> Step:
    read: Pairs = strict_pairs if stage.strict else pairs
    keep_empty, wanted, preserve = stage.keep_empty, demands.labels, demands.errors

    def step(entry: Entry) -> bool:
        try:
            for key, value in read(entry.line):
                if value or keep_empty:
                    name = label_name(key)
                    if wanted is None or name in wanted:
                        entry.add(name, valid_text(value))
        except BadLogfmt as error:
            entry.fail_parser(LOGFMT_ERROR, str(error), preserve=preserve)
        return True

    return step


def _logfmt_keys_step(stage: LogfmtStage, demands: Demands) -> Step:
    read: Pairs = strict_pairs if stage.strict else pairs
    asked = [(extraction.label, extraction.path) for extraction in stage.extractions]
    preserve = demands.errors

    def step(entry: Entry) -> bool:
        found: dict[str, str] = {}
        try:
            for key, value in read(entry.line):
                found.setdefault(key, value)
        except BadLogfmt as error:
            entry.fail_parser(LOGFMT_ERROR, str(error), preserve=preserve)
        for label, key in asked:
            if key in found:
                entry.put(label, valid_text(found[key]))
            else:
                entry.fill(label)
        return True

    return step


def _regexp_step(stage: RegexpStage) -> Step:
    pattern = compile_pattern(stage.pattern)
    groups = [(label_name(name), index) for name, index in pattern.groupindex.items()]

    def step(entry: Entry) -> bool:
        match = pattern.search(entry.line)
        if match is not None:
            for name, index in groups:
                entry.add(name, match.group(index) or "")
        return True

    return step


def _pattern_step(stage: PatternStage) -> Step:
    captures = capturing_pattern(stage.pattern).captures

    def step(entry: Entry) -> bool:
        for name, value in captures(entry.line):
            entry.add(name, value)
        return True

    return step


def _unpack_step(demands: Demands) -> Step:
    wanted, preserve = demands.labels, demands.errors

    def step(entry: Entry) -> bool:
        if not entry.line:
            return True
        try:
            packed = packed_texts(entry.line)
        except BadJson as error:
            entry.fail_parser(JSON_ERROR, str(error), preserve=preserve)
            return True
        line = packed.pop(PACKED_LINE, None)
        if line is not None:
            for key, value in packed.items():
                name = label_name(key)
                if wanted is None or name in wanted:
                    entry.add(name, value)
            entry.line = line
        return True

    return step


def _decolorize_step(entry: Entry) -> bool:
    entry.line = _ANSI.sub("", entry.line)
    return True


def _named(names: tuple[str | Matcher, ...]) -> Callable[[str, str], bool]:
    """Whether a label of this name and value is one of those a drop or keep lists."""
    plain = frozenset(name for name in names if isinstance(name, str))
    matchers = [matcher for matcher in names if isinstance(matcher, Matcher)]
    return lambda name, value: name in plain or any(each.name == name and each.matches(value) for each in matchers)


def _drop_step(stage: DropStage) -> Step:
    named = _named(stage.names)

    def step(entry: Entry) -> bool:
        entry.labels = {name: value for name, value in entry.labels.items() if not named(name, value)}
        return True

    return step


def _keep_step(stage: KeepStage) -> Step:
    named = _named(stage.names)

    def step(entry: Entry) -> bool:
        entry.labels = {name: value for name, value in entry.labels.items() if name in ERRORS or named(name, value)}
        return True

    return step
