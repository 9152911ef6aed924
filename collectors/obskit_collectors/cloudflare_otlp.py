"""The OpenTelemetry export of Workers (OTLP over HTTP, JSON only) as records: lines that were logged, and root spans, which
are the invocations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from obskit.model.records import Record
from obskit_collectors.cloudflare_events import LineMaker, compact, level_of, mapping, word
from obskit_collectors.cloudflare_items import time_ns

_SERVICE: Final = ("service.name", "cloudflare.script_name", "faas.name")
_SHOWN: Final = {
    "cloudflare.outcome": "outcome",
    "faas.trigger": "event_type",
    "faas.invocation_id": "request_id",
    "cloudflare.colo": "region",
    "cloudflare.script_version.id": "version",
    "http.response.status_code": "status",
    "cpu_time_ms": "cpu_ms",
    "wall_time_ms": "wall_ms",
    "queue.name": "queue",
}
_LEVELS: Final = ((21, "fatal"), (17, "error"), (13, "warn"), (9, "info"), (5, "debug"), (1, "trace"))
"""Severity numbers of the data model of OpenTelemetry, from where on."""
_DEEPEST: Final = 8


def log_records(maker: LineMaker, body: Any, now_ns: int) -> tuple[list[Record], int]:
    """The records of an export of logs, and how many of it could not be read."""
    records, unreadable = [], 0
    for shared, row in _rows(body, "resourceLogs", "scopeLogs", "logRecords"):
        if row is None:
            unreadable += 1
            continue
        own = {**shared, **_attributes(row)}
        told = {**_shown(own), "kind": "log", "level": _level(row), **_trace(row)}
        t_ns = time_ns(row.get("timeUnixNano")) or time_ns(row.get("observedTimeUnixNano")) or now_ns
        said = _value(row.get("body"))
        line = said if isinstance(said, str) else compact(said)
        records.append(
            Record(maker.stream(_app(own)), t_ns, line, {key: value for key, value in told.items() if value})
        )
    return records, unreadable


def span_records(maker: LineMaker, body: Any, now_ns: int) -> tuple[list[Record], int]:
    """The invocations of an export of traces, and how many of it could not be read. Inner spans are left out."""
    records, unreadable = [], 0
    for shared, row in _rows(body, "resourceSpans", "scopeSpans", "spans"):
        if row is None:
            unreadable += 1
            continue
        if word(row.get("parentSpanId")).strip("0"):
            continue
        own = {**shared, **_attributes(row)}
        told = {**_shown(own), "kind": "invocation", **_trace(row)}
        t_ns = time_ns(row.get("startTimeUnixNano")) or now_ns
        line = " ".join(filter(None, (word(row.get("name")), word(own.get("url.full"))))) or "invocation"
        records.append(
            Record(maker.stream(_app(own)), t_ns, line, {key: value for key, value in told.items() if value})
        )
    return records, unreadable


def _rows(body: Any, *names: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
    """Each row with the attributes of its resource; None for what is no row."""
    outer, middle, inner = names
    for resource in _objects(mapping(body).get(outer)):
        shared = _attributes(mapping((resource or {}).get("resource")))
        for scope in _objects((resource or {}).get(middle)):
            for row in _objects((scope or {}).get(inner)):
                yield shared, row


def _objects(value: Any) -> list[Mapping[str, Any] | None]:
    return [one if isinstance(one, dict) else None for one in value] if isinstance(value, list) else []


def _attributes(holder: Mapping[str, Any]) -> dict[str, Any]:
    pairs = [pair for pair in _objects(holder.get("attributes")) if pair is not None]
    return {word(pair.get("key")): _value(pair.get("value")) for pair in pairs}


def _value(value: Any, depth: int = 0) -> Any:
    """An AnyValue of OTLP as a plain one. Numbers of 64 bits come as text."""
    whole = mapping(value)
    if depth > _DEEPEST or not whole:
        return ""
    for name in ("stringValue", "intValue", "doubleValue", "boolValue"):
        if name in whole:
            return whole[name]
    if "arrayValue" in whole:
        found = mapping(whole["arrayValue"]).get("values")
        return [_value(one, depth + 1) for one in found] if isinstance(found, list) else []
    pairs = _objects(mapping(whole.get("kvlistValue")).get("values"))
    return {word(pair.get("key")): _value(pair.get("value"), depth + 1) for pair in pairs if pair is not None}


def _app(attributes: Mapping[str, Any]) -> str:
    return next((found for name in _SERVICE if (found := word(attributes.get(name)))), "unknown")


def _shown(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {ours: word(attributes.get(theirs)) for theirs, ours in _SHOWN.items()}


def _trace(row: Mapping[str, Any]) -> dict[str, str]:
    return {"trace_id": word(row.get("traceId")), "span_id": word(row.get("spanId"))}


def _level(row: Mapping[str, Any]) -> str:
    if text := level_of(row.get("severityText")):
        return text
    number = row.get("severityNumber")
    if not isinstance(number, int):
        return ""
    return next((level for start, level in _LEVELS if number >= start), "")
