"""Which records are errors, and what they say: level, exception, message, release. Decides for one record alone.

`may_be_errors` is cheap and goes before `read_entry`, which parses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from obskit.grouping.fingerprints import Fingerprint, custom, of_exception
from obskit.grouping.masks import MAX_LINE
from obskit.grouping.traces import find_trace
from obskit.model.labels import Labels
from obskit.model.patterns import compile_pattern
from obskit.model.records import Record
from obskit.store.log_interface import Records, StreamText

ERRORS: Final = frozenset(
    {"error", "err", "eror", "severe", "fatal", "critical", "crit", "alert", "emerg", "emergency", "panic", "dpanic"}
)
_MAX_JSON: Final = 262_144
_LEVELS: Final = ("level", "severity", "severity_text", "detected_level", "lvl", "log.level", "loglevel", "levelname")
_MESSAGES: Final = ("message", "msg", "event", "short_message", "body", "text")
_STACKS: Final = (
    "exception.stacktrace", "exception_stacktrace", "error.stack_trace", "err.stack", "error.stack", "exception.stack",
    "stack_trace", "stacktrace", "stack", "exc_info", "exc_text", "traceback", "exception", "error.trace", "trace",
)  # fmt: skip
_TYPES: Final = (
    "exception.type", "exception_type", "error.type", "err.type", "err.name", "error.name", "exc_type", "error.kind",
    "exception.class", "exception.name", "error_type",
)  # fmt: skip
_SAID: Final = (
    "exception.message", "exception_message", "err.message", "error.message", "err.msg", "exc_value", "error", "err",
    "error_message", "exception.value",
)  # fmt: skip
_RELEASES: Final = ("service.version", "service_version", "release", "app_version", "version", "git_sha", "deployment")
_FINGERPRINTS: Final = ("fingerprint", "obskit.fingerprint", "error.grouping_key")

_MILD_LEVELS: Final = frozenset(
    {"info", "information", "informational", "debug", "trace", "verbose", "notice", "warn", "warning"}
)
_ASKED: Final = frozenset({*_LEVELS, *_STACKS, *_TYPES, *_FINGERPRINTS})
# Every line goes through this one: RE2 needs a tenth of the time that `re` does.
_PERHAPS: Final = compile_pattern(
    r"[Ee]rr|ERR|[Ff]atal|FATAL|[Cc]rit|CRIT|[Pp]anic|PANIC|[Ee]xception|[Tt]raceback|[Ss]evere|SEVERE|[Aa]lert|ALERT"
    r"|[Ee]merg|EMERG|[Uu]ncaught|[Uu]nhandled|goroutine|panicked|:in [`\x27]"
    r'|(?:^|\n)[EF][01]\d\d\d |"(?:level|severity)":\s?[56]0|exc_(?:type|info|text|value)'
)
_BLOCK: Final = 16
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


def may_be_errors(records: Records) -> Iterator[Record]:
    """Those that `read_entry` has to look at, and few others. Lines are searched by the block: most blocks have none."""
    distinct = dict(zip(map(id, records.metadata), records.metadata, strict=True))
    asked = {key for key, metadata in distinct.items() if _asks(metadata)}
    found = _worded_in_texts(records.texts) if records.texts else _worded(records.lines)
    if asked:
        found.update(at for at, metadata in enumerate(records.metadata) if id(metadata) in asked)
    return map(records.__getitem__, sorted(found))


def _asks(metadata: Mapping[str, str]) -> bool:
    """Whether there is more than a level, or one that may be an error's. A mild one leaves it to the line."""
    names = _ASKED.intersection(metadata)
    return any(name not in _LEVELS or metadata[name].lower() not in _MILD_LEVELS for name in names)


def _worded_in_texts(texts: Sequence[StreamText]) -> set[int]:
    """The records whose lines have one of the words; some more where one is found over the end of a line."""
    found: set[int] = set()
    for text in texts:
        match = _PERHAPS.search(text.data)
        while match is not None:
            line = int(np.searchsorted(text.starts, match.end() - 1, side="right")) - 1
            found.add(int(text.order[line]))
            match = _PERHAPS.search(text.data, int(text.ends[line]))
    return found


def _have_words(lines: Sequence[str]) -> bool:
    try:
        return _PERHAPS.search("\n".join([line[:MAX_LINE] for line in lines])) is not None
    except UnicodeEncodeError:  # half of a surrogate pair, which RE2 cannot be given
        return True


def _worded(lines: Sequence[str]) -> set[int]:
    blocks = (range(begin, min(begin + _BLOCK, len(lines))) for begin in range(0, len(lines), _BLOCK))
    return {
        at
        for block in blocks
        if _have_words(lines[block.start : block.stop])
        for at in block
        if _have_words(lines[at : at + 1])
    }


def read_entry(record: Record, app_labels: Sequence[str], *, wanted: bool = False) -> Entry | None:
    """The error that a record is, None when it is none. `wanted`: it is grouped whatever its level."""
    line, metadata = record.line, record.metadata
    fields = _fields(line)
    lookups: tuple[Mapping[str, Any], ...] = (metadata, fields)
    stack, kind, said = (_first(lookups, names) for names in (_STACKS, _TYPES, _SAID))
    level = _level(lookups, line, fields)
    if not fields and not stack:
        stack = line
    trace = find_trace(stack) if "\n" in stack else None
    if not wanted and level not in ERRORS and not (kind or (trace and not level)):
        return None
    message = _first((fields, metadata), _MESSAGES) or _logfmt_message(line) if (fields or not trace) else ""
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
    return dict(_flat(value)) if isinstance(value, dict) else {}


def _flat(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from ((f"{key}.{name}", deep) for name, deep in inner.items())
        else:
            yield key, inner


def _first(lookups: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    for lookup in lookups:
        if lookup:
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
        for name in _FINGERPRINTS:
            value = lookup.get(name) if lookup else None
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
