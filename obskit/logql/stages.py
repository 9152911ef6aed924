"""Stages to steps: parsers, label filters, and what changes labels or the line.

A parser never drops a line by itself: what it cannot read it notes in `__error__`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from obskit.logql.captures import capturing_pattern
from obskit.logql.entries import EXTRACTED, Entry, Step
from obskit.logql.filters import condition_step, labels_asked, line_predicate
from obskit.logql.json_fields import BadJson, flattened, label_name, parse_path, value_at
from obskit.logql.logfmt import BadLogfmt, pairs, strict_pairs
from obskit.logql.nodes import (
    ERROR_DETAILS_LABEL,
    ERROR_LABEL,
    DecolorizeStage,
    DropStage,
    JsonStage,
    KeepStage,
    LabelFilter,
    LineFilter,
    LogfmtStage,
    PatternStage,
    RegexpStage,
    RenameStage,
    Stage,
    UnpackStage,
)
from obskit.model.matchers import Matcher
from obskit.model.patterns import compile_pattern
from obskit.model.records import whole_text

JSON_ERROR: Final = "JSONParserErr"
LOGFMT_ERROR: Final = "LogfmtParserErr"
PACKED_LINE: Final = "_entry"

_ANSI: Final = re.compile("[\x1b\x9b][\\[\\]()#;?]*(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-ORZcf-nqry=><~]")
_ERROR_LABELS: Final = frozenset({ERROR_LABEL, ERROR_DETAILS_LABEL})
_PARSERS: Final = (JsonStage, LogfmtStage, RegexpStage, PatternStage, UnpackStage)
LINE_CHANGERS: Final = (UnpackStage, DecolorizeStage)
Wanted: TypeAlias = frozenset[str] | None


def steps(stages: tuple[Stage, ...], wanted: Wanted = None) -> list[Step]:
    """The stages as functions. `wanted` are the labels that somebody looks at, None when that is all of them.

    Where it is none of them, parsers are left out and so cannot fail, as in Loki.
    """
    if wanted:
        wanted = wanted | {name.removesuffix(EXTRACTED) for name in wanted}
    return [_step(stage, wanted) for stage in stages if wanted is None or wanted or not isinstance(stage, _PARSERS)]


def labels_read(stages: tuple[Stage, ...]) -> frozenset[str]:
    """The labels that label filters and renames among the stages look at."""
    read: set[str] = set()
    for stage in stages:
        if isinstance(stage, LabelFilter):
            read |= labels_asked(stage.condition)
        elif isinstance(stage, RenameStage):
            read.update(source for _, source in stage.renames)
    return frozenset(read)


def _step(stage: Stage, wanted: Wanted) -> Step:
    match stage:
        case LineFilter():
            return _line_step(stage)
        case LabelFilter():
            return condition_step(stage.condition)
        case JsonStage():
            return _json_paths_step(stage) if stage.extractions else _json_step(wanted)
        case LogfmtStage():
            return _logfmt_keys_step(stage) if stage.extractions else _logfmt_step(stage, wanted)
        case RegexpStage():
            return _regexp_step(stage)
        case PatternStage():
            return _pattern_step(stage)
        case UnpackStage():
            return _unpack_step
        case DecolorizeStage():
            return _decolorize_step
        case DropStage():
            return _drop_step(stage)
        case KeepStage():
            return _keep_step(stage)
        case RenameStage():
            return _rename_step(stage)


def _line_step(stage: LineFilter) -> Step:
    accepts = line_predicate(stage)
    return lambda entry: accepts(entry.line)


def _json_step(wanted: Wanted) -> Step:
    def step(entry: Entry) -> bool:
        try:
            fields = flattened(entry.line)
        except BadJson as error:
            entry.fail(JSON_ERROR, str(error))
            fields = error.fields
        for name, value in fields:
            if wanted is None or name in wanted:
                entry.add(name, value)
        return True

    return step


def _json_paths_step(stage: JsonStage) -> Step:
    paths = [(extraction.label, parse_path(extraction.path)) for extraction in stage.extractions]

    def step(entry: Entry) -> bool:
        try:
            for label, path in paths:
                entry.put(label, value_at(entry.line, path))
        except (ValueError, RecursionError) as error:
            entry.fail(JSON_ERROR, str(error))
        return True

    return step


def _logfmt_step(stage: LogfmtStage, wanted: Wanted) -> Step:
    read = strict_pairs if stage.strict else pairs
    keep_empty = stage.keep_empty

    def step(entry: Entry) -> bool:
        try:
            for key, value in read(entry.line):
                if value or keep_empty:
                    name = label_name(key)
                    if wanted is None or name in wanted:
                        entry.add(name, value)
        except BadLogfmt as error:
            entry.fail(LOGFMT_ERROR, str(error))
        return True

    return step


def _logfmt_keys_step(stage: LogfmtStage) -> Step:
    read = strict_pairs if stage.strict else pairs
    asked = [(extraction.label, extraction.path) for extraction in stage.extractions]

    def step(entry: Entry) -> bool:
        found: dict[str, str] = {}
        try:
            for key, value in read(entry.line):
                found.setdefault(key, value)
        except BadLogfmt as error:
            entry.fail(LOGFMT_ERROR, str(error))
        for label, key in asked:
            entry.put(label, found.get(key, ""))
        return True

    return step


def _regexp_step(stage: RegexpStage) -> Step:
    pattern = compile_pattern(stage.pattern)
    groups = [(name, index) for name, index in pattern.groupindex.items()]

    def step(entry: Entry) -> bool:
        match = pattern.search(entry.line)
        if match is not None:
            for name, index in groups:
                entry.add(label_name(name), match.group(index) or "")
        return True

    return step


def _pattern_step(stage: PatternStage) -> Step:
    captures = capturing_pattern(stage.pattern).captures

    def step(entry: Entry) -> bool:
        for name, value in captures(entry.line):
            entry.add(name, value)
        return True

    return step


def _unpack_step(entry: Entry) -> bool:
    try:
        packed = json.loads(entry.line, strict=False)
        if not isinstance(packed, dict):
            raise BadJson("the line is not a JSON object")
    except (ValueError, RecursionError) as error:
        if entry.line:
            entry.fail(JSON_ERROR, str(error))
        return True
    if isinstance(packed.get(PACKED_LINE), str):
        for key, value in packed.items():
            if key != PACKED_LINE and isinstance(value, str):
                entry.add(label_name(key), value)
        entry.line = whole_text(packed[PACKED_LINE])
    return True


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
        entry.labels = {
            name: value for name, value in entry.labels.items() if name in _ERROR_LABELS or named(name, value)
        }
        return True

    return step


def _rename_step(stage: RenameStage) -> Step:
    def step(entry: Entry) -> bool:
        for target, source in stage.renames:
            value = entry.labels.pop(source, None)
            if value is not None:
                entry.labels[target] = value
        return True

    return step
