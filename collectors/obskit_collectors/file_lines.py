"""Bytes of a log file to records: complete lines, lines that belong together, and what a JSON line says of itself.

Pure. Everything returned as consumed ends at a record's end, so a cursor behind it loses and doubles nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from obskit.model.labels import Labels
from obskit.model.records import NO_METADATA, Record, whole_text

CUT_MARK: Final = " …[cut]"
_TIME_KEYS: Final = ("time", "ts", "timestamp", "@timestamp", "t")
_LEVEL_KEYS: Final = ("level", "severity", "lvl", "log.level")
_ID_KEYS: Final = ("trace_id", "span_id")
_NS: Final = 1_000_000_000
_MAX_AHEAD_NS: Final = 600 * _NS
_EARLIEST_NS: Final = 1_000_000_000 * _NS
"""2001: a smaller number under `time` or `t` is a duration, a temperature, but not when the line was written."""
_SCALES: Final = ((1e17, 1), (1e14, 1_000), (1e11, 1_000_000), (0.0, _NS))
"""A Unix time above the first number is in units of this many nanoseconds: ns, µs, ms, s."""


@dataclass(frozen=True, slots=True)
class Span:
    """One record's bytes: `text` without its last newline, `end` behind it."""

    text: bytes
    end: int


def lines_of(data: bytes, start: int, *, whole: bool) -> Iterator[Span]:
    """The complete lines of `data`, which begins at file offset `start`; with `whole`, also a last one without newline."""
    at = 0
    while (newline := data.find(b"\n", at)) >= 0:
        yield Span(data[at:newline].removesuffix(b"\r"), start + newline + 1)
        at = newline + 1
    if whole and at < len(data):
        yield Span(data[at:].removesuffix(b"\r"), start + len(data))


def grouped(spans: Iterator[Span], begins: Any, *, whole: bool) -> Iterator[Span]:
    """Lines joined into records that begin where the pattern matches; the last group only with `whole`.

    Lines before the first match are a group of their own.
    """
    group: list[Span] = []
    for span in spans:
        if group and begins.search(span.text.decode("utf-8", "replace")):
            yield _joined(group)
            group = []
        group.append(span)
    if whole and group:
        yield _joined(group)


def _joined(group: list[Span]) -> Span:
    return Span(b"\n".join(span.text for span in group), group[-1].end)


@dataclass(frozen=True, slots=True)
class RecordMaker:
    """Makes records of one file's spans. `json_lines`: None looks at each line, True and False decide."""

    stream: Labels
    json_lines: bool | None
    max_line_bytes: int

    def make(self, text: bytes, now_ns: int) -> Record | None:
        """A record, stamped with its own time when it has one that can be believed; None for a blank line."""
        cut = len(text) > self.max_line_bytes
        line = text[: self.max_line_bytes].decode("utf-8", "replace") + (CUT_MARK if cut else "")
        if not line.strip():
            return None
        if self.json_lines is False or not line.startswith("{") or cut:
            return Record(self.stream, now_ns, line)
        fields = _fields(line)
        return Record(self.stream, _time_ns(fields, now_ns), line, _metadata(fields))


def _fields(line: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):  # whoever writes the line chooses how deep it is
        return {}
    return fields if isinstance(fields, dict) else {}


def _time_ns(fields: Mapping[str, Any], now_ns: int) -> int:
    value = next((fields[key] for key in _TIME_KEYS if fields.get(key)), None)
    written_ns = _to_ns(value)
    # A clock that runs ahead would hide the line from every window that ends now.
    return written_ns if written_ns is not None and _EARLIEST_NS < written_ns < now_ns + _MAX_AHEAD_NS else now_ns


def _to_ns(value: Any) -> int | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    except (TypeError, ValueError):
        return _iso_ns(str(value))
    if not math.isfinite(number):
        return None
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    scale = next(scale for above, scale in _SCALES if number > above or above == 0.0)
    return value * scale if isinstance(value, int) else round(number * 1e6) * scale // 1_000_000


def _iso_ns(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # Without a zone it is the writer's local time, and a file's writer is on this machine (Python's logging, for one).
    moment = moment.astimezone(UTC)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * _NS + moment.microsecond * 1000


def _metadata(fields: Mapping[str, Any]) -> Mapping[str, str]:
    found = {key: whole_text(fields[key]) for key in _ID_KEYS if isinstance(fields.get(key), str) and fields[key]}
    level = next(
        (whole_text(fields[key]) for key in _LEVEL_KEYS if isinstance(fields.get(key), str) and fields[key]), None
    )
    if level:
        found["level"] = level.lower()
    return found or NO_METADATA
