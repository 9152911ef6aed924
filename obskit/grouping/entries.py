"""Which records are errors, and what they say: level, exception, message, release. Decides for one record alone.

`may_be_errors` is cheap and goes before `read_entry`, which parses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from obskit.grouping.fingerprints import Fingerprint, custom, of_exception
from obskit.grouping.masks import MAX_LINE
from obskit.grouping.traces import find_trace
from obskit.grouping.words import worded, worded_in_texts
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.store.log_interface import Records
from obskit.store.metadata_table import MetadataTable

ERRORS: Final = frozenset(
    {"error", "err", "eror", "severe", "fatal", "critical", "crit", "alert", "emerg", "emergency", "panic", "dpanic"}
)
_MAX_JSON: Final = 262_144


def _names(*names: str) -> KeysView[str]:
    """Names in the order in which they are tried."""
    return dict.fromkeys(names).keys()


_LEVELS: Final = _names(
    "level", "severity", "severity_text", "detected_level", "lvl", "log.level", "loglevel", "levelname"
)
_MESSAGES: Final = _names("message", "msg", "event", "short_message", "body", "text")
_STACKS: Final = _names(
    "exception.stacktrace", "exception_stacktrace", "error.stack_trace", "err.stack", "error.stack", "exception.stack",
    "stack_trace", "stacktrace", "stack", "exc_info", "exc_text", "traceback", "exception", "error.trace", "trace",
)  # fmt: skip
_TYPES: Final = _names(
    "exception.type", "exception_type", "error.type", "err.type", "err.name", "error.name", "exc_type", "error.kind",
    "exception.class", "exception.name", "error_type",
)  # fmt: skip
_SAID: Final = _names(
    "exception.message", "exception_message", "err.message", "error.message", "err.msg", "exc_value", "error", "err",
    "error_message", "exception.value",
)  # fmt: skip
_RELEASES: Final = _names(
    "service.version", "service_version", "release", "app_version", "version", "git_sha", "deployment"
)
_FINGERPRINTS: Final = _names("fingerprint", "obskit.fingerprint", "error.grouping_key")

_MILD_LEVELS: Final = frozenset(
    {"info", "information", "informational", "debug", "trace", "verbose", "notice", "warn", "warning"}
)
_ASKED: Final = frozenset({*_LEVELS, *_STACKS, *_TYPES, *_FINGERPRINTS})
_LOOKED_UP: Final = _ASKED.union(_MESSAGES, _SAID, _RELEASES)
_LOGFMT_LEVEL: Final = re.compile(r'(?:^|[\s,{])(?:level|lvl|severity|loglevel)[=:]\s?"?([A-Za-z]+)')
_LOGFMT_MESSAGE: Final = re.compile(r'(?:^|\s)(?:msg|message|event)=(?:"((?:[^"\\]|\\.)*)"|(\S+))')
_GLOG: Final = re.compile(r"[EF][01]\d[0-3]\d \d\d:")
_LOUD: Final = re.compile(
    r"(?<![\w./-])(?:(?P<upper>ERROR|FATAL|CRITICAL|CRIT|SEVERE|PANIC|EMERG|ALERT)(?![\w=./-])"
    r"|\[(?:error|fatal|crit|critical|alert|emerg)\]"
    r"|(?:[Uu]ncaught|[Uu]nhandled) (?:\w+ )?(?:[Ee]xception|[Ee]rror|[Rr]ejection|\()"
    r"|[Tt]raceback \(most recent call last\)|panic: |fatal error: |panicked at "
    r"|(?:[A-Za-z_$][\w$]*\.)*[A-Z][\w$]*(?:Error|Exception)(?=: |$)|[Ee]rror: |[Ff]atal: )"
)
_MILD: Final = re.compile(
    r"(?<![\w./-])(?:INFO|DEBUG|TRACE|NOTICE|WARN|WARNING)(?![\w=./-])|\[(?:info|debug|notice|warn|warning)\]"
)
_LEADING: Final = re.compile(
    r"^(?:[\[(]?\d[\d:.,TZ/+ -]*[\])]?[ |:-]*)?(?:[\[(]?(?:ERROR|FATAL|CRITICAL|SEVERE|PANIC)[\])]?[ |:-]*)?"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An error. `fingerprint` is None where its template says what it is; `text` is what is mined then."""

    app: str
    level: str
    release: str
    fingerprint: Fingerprint | None
    text: str


def may_be_errors(records: Records) -> Records:
    """Those that `read_entry` has to look at, and few others."""
    if records.texts:
        found = worded_in_texts(records.texts)
        for text in records.texts:
            found.update(text.order[_asking(text.metadata)].tolist())
    else:
        distinct = dict(zip(map(id, records.metadata), records.metadata, strict=True))
        asked = {key for key, metadata in distinct.items() if _asks(metadata)}
        found = worded(records.lines)
        found.update(at for at, metadata in enumerate(records.metadata) if id(metadata) in asked)
    return records.take(sorted(found))


def _asking(metadata: MetadataTable) -> NDArray[np.int64]:
    """The lines whose metadata ask for it, as `_asks` has it."""
    by_key = [
        np.flatnonzero(metadata.shape_of == number)
        for number, shape in enumerate(metadata.shapes)
        if not _ASKED.intersection(shape).issubset(_LEVELS)
    ]
    by_level = [
        metadata.lines_with(name, {level for level in metadata.values_of(name) if level.lower() not in _MILD_LEVELS})
        for name in metadata.names.intersection(_LEVELS)
    ]
    return np.concatenate([np.zeros(0, np.int64), *by_key, *by_level])


def _asks(metadata: Mapping[str, str]) -> bool:
    """Whether there is more than a level, or one that may be an error's. A mild one leaves it to the line."""
    names = _ASKED.intersection(metadata)
    return any(name not in _LEVELS or metadata[name].lower() not in _MILD_LEVELS for name in names)


def read_entry(record: Record, app_labels: Sequence[str], *, wanted: bool = False) -> Entry | None:
    """The error that a record is, None when it is none. `wanted`: it is grouped whatever its level."""
    line = record.line
    fields = _fields(line)
    lookups = said_by, said_in = _looked_up(record.metadata), _looked_up(fields)
    stack, kind, said = (_first(lookups, names) for names in (_STACKS, _TYPES, _SAID))
    level = _level(lookups, line, fields)
    if not fields and not stack:
        stack = line
    trace = find_trace(stack) if "\n" in stack else None
    if not wanted and level not in ERRORS and not (kind or (trace and not level)):
        return None
    message = _first((said_in, said_by), _MESSAGES) or _logfmt_message(line) if (fields or not trace) else ""
    print_ = _fingerprint(kind, said or message, stack if trace else "")
    text = message or _LEADING.sub("", line[:MAX_LINE], count=1) or line
    told = _told(lookups)
    if told:
        print_ = custom(told, print_ or Fingerprint("", text[:200].partition("\n")[0]))
    return Entry(app_of(record.stream, app_labels), level or "error", _first(lookups, _RELEASES), print_, text)


def what_it_says(line: str) -> str:
    """The message of a line of JSON or logfmt, else the line: what its pattern is taken from."""
    return _first((_fields(line),), _MESSAGES) or _logfmt_message(line) or line


def app_of(stream: Labels, app_labels: Sequence[str]) -> str:
    """The program a stream is of, `unknown` where no label says it."""
    return next((stream[name] for name in app_labels if name in stream), "unknown")


def _fingerprint(kind: str, message: str, stack: str) -> Fingerprint | None:
    return of_exception(kind, message, stack) if kind or stack else None


def _fields(line: str) -> dict[str, Any]:
    """The fields of a line that is a JSON object, those of objects in it as `outer.inner`."""
    if not line.startswith("{") or len(line) > _MAX_JSON:
        return {}
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return dict(_flat(value)) if dict in set(map(type, value.values())) else value


def _flat(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from ((f"{key}.{name}", deep) for name, deep in inner.items())
        else:
            yield key, inner


def _looked_up(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """What of it anybody may ask for: few of many."""
    return {name: mapping[name] for name in _LOOKED_UP.intersection(mapping)}


def _first(lookups: Sequence[Mapping[str, Any]], names: KeysView[str]) -> str:
    for lookup in lookups:
        if not names.isdisjoint(lookup.keys()):
            for name in names:
                value = lookup.get(name)
                if isinstance(value, str) and value:
                    return value
    return ""


def _level(lookups: Sequence[Mapping[str, Any]], line: str, fields: Mapping[str, Any]) -> str:
    """In lower case; "" where nothing says it. What a field says counts before what words look like."""
    told = _first(lookups, _LEVELS)
    if told:
        return told.lower()
    number = fields.get("level", fields.get("severity"))
    if isinstance(number, int):  # pino and bunyan: 50 error, 60 fatal
        return "fatal" if number >= 60 else "error" if number >= 50 else "info"
    if fields:
        return ""
    found = _LOGFMT_LEVEL.search(line, 0, MAX_LINE)
    if found is not None:
        return found[1].lower()
    if _GLOG.match(line):
        return "error"
    loud, mild = _LOUD.search(line, 0, 512), _MILD.search(line, 0, 160)
    if loud is None or (mild is not None and mild.start() < loud.start()):
        return "info" if mild is not None else ""
    upper = loud["upper"]
    return upper.lower() if upper else "error"


def _logfmt_message(line: str) -> str:
    found = _LOGFMT_MESSAGE.search(line, 0, MAX_LINE)
    return (found[1] or found[2] or "") if found is not None else ""


def _told(lookups: Sequence[Mapping[str, Any]]) -> list[str]:
    """An explicit fingerprint: a list, or a list as JSON, or one text."""
    for lookup in lookups:
        for name in lookup.keys() & _FINGERPRINTS and _FINGERPRINTS:
            value = lookup.get(name)
            if isinstance(value, str) and value.startswith("["):
                try:
                    value = json.loads(value)
                except (ValueError, RecursionError):
                    return [str(value)]
            if isinstance(value, list):
                return [str(part) for part in value[:8]]
            if isinstance(value, str) and value:
                return [value]
    return []
