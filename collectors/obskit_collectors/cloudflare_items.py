"""What Cloudflare pushes, as records: items of a Tail Worker, and rows of Logpush (`workers_trace_events` is the same with
other letters, `http_requests`, any other data set as it comes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from obskit.clock import NS_PER_MS, NS_PER_S
from obskit.model.records import Record
from obskit_collectors.cloudflare_events import LineMaker, compact, level_of, mapping, word

_RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_TIMES: Final = ("EdgeStartTimestamp", "EventTimestampMs", "Timestamp", "Datetime", "timestamp", "TimestampMs")
"""Where rows of Logpush have their time, by data set."""
_LATEST_NS: Final = 2**62
_MOST_PARTS: Final = 10_000
"""Lines and exceptions of one invocation."""


def time_ns(value: Any) -> int | None:
    """A time in any form a job of Logpush may be set to: seconds, ms or ns since 1970, or RFC 3339; None: no time."""
    if isinstance(value, str) and (match := _RFC3339.fullmatch(value)):
        return _rfc3339_ns(match)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LATEST_NS:
        return None
    # By its size: seconds until the year 5138, milliseconds from 1973 on.
    unit = NS_PER_S if value < 1e11 else NS_PER_MS if value < 1e14 else 1
    found = int(value * unit)
    return found if found < _LATEST_NS else None


def item_records(maker: LineMaker, item: Any) -> list[Record] | None:
    """Of one invocation: its lines, its exceptions, and how it ended. None when it is none."""
    whole = _Either(mapping(item))
    t_ns = time_ns(whole.get("eventTimestamp", "EventTimestampMs"))
    if t_ns is None or not whole.get("outcome", "Outcome"):
        return None
    stream = maker.stream(word(whole.get("scriptName", "ScriptName")) or "unknown")
    shared = _shared(whole)
    parts = [*_logged(whole, shared, t_ns), *_thrown(whole, shared, t_ns)]
    ended = {**shared, "kind": "invocation", "outcome": word(whole.get("outcome", "Outcome"))}
    ended |= {"cpu_ms": word(whole.get("cpuTime", "CPUTimeMs")), "wall_ms": word(whole.get("wallTime", "WallTimeMs"))}
    if whole.get("truncated") is True:
        ended["truncated"] = "true"
    parts.append((t_ns, _trigger(whole), ended))
    return [
        Record(stream, t_ns, line, {key: value for key, value in told.items() if value}) for t_ns, line, told in parts
    ]


def row_record(maker: LineMaker, row: Any, now_ns: int) -> list[Record] | None:
    """Of one row of Logpush, whatever its data set is. A row without a time is of now."""
    whole = mapping(row)
    if not whole:
        return None
    if "EventTimestampMs" in whole and "ScriptName" in whole:
        return item_records(maker, whole)
    times = (time_ns(whole.get(name)) for name in _TIMES)
    t_ns = next((found for found in times if found is not None), now_ns)
    if "ClientRequestHost" not in whole:
        return [Record(maker.stream("logpush"), t_ns, compact(row), {})]
    line = " ".join(
        word(whole.get(name))
        for name in ("ClientRequestMethod", "ClientRequestURI", "EdgeResponseStatus")
        if name in whole
    )
    told = {
        "kind": "request",
        "status": word(whole.get("EdgeResponseStatus")),
        "origin_status": word(whole.get("OriginResponseStatus")),
        "method": word(whole.get("ClientRequestMethod")),
        "cache": word(whole.get("CacheCacheStatus")),
        "region": word(whole.get("EdgeColoCode")),
        "request_id": word(whole.get("RayID")),
        "ttfb_ms": word(whole.get("EdgeTimeToFirstByteMs")),
    }
    stream = maker.stream(word(whole.get("ClientRequestHost")))
    return [Record(stream, t_ns, line or compact(row), {key: value for key, value in told.items() if value})]


class _Either:
    """An object whose members may be written in two ways."""

    def __init__(self, whole: Mapping[str, Any]) -> None:
        self._whole = whole

    def get(self, *names: str) -> Any:
        """The member under the first name it has."""
        return next((self._whole[name] for name in names if name in self._whole), None)

    def each(self, *names: str) -> Iterator[_Either]:
        """The objects of a list."""
        found = self.get(*names)
        for one in found[:_MOST_PARTS] if isinstance(found, list) else ():
            if isinstance(one, dict):
                yield _Either(one)

    def inner(self, *names: str) -> _Either:
        """The object under the first name."""
        return _Either(mapping(self.get(*names)))


_Part = tuple[int, str, Mapping[str, str]]


def _shared(whole: _Either) -> dict[str, str]:
    event = whole.inner("event", "Event")
    headers = mapping(event.inner("request", "Request").get("headers", "Headers"))
    return {
        "request_id": word(event.get("RayID", "rayId")) or word(headers.get("cf-ray")),
        "event_type": word(whole.get("EventType")) or _event_type(event),
        "version": word(whole.inner("scriptVersion", "ScriptVersion").get("id", "ID")),
        "method": word(event.inner("request", "Request").get("method", "Method")),
        "status": word(event.inner("response", "Response").get("status", "Status")),
    }


def _event_type(event: _Either) -> str:
    known = (("request", "fetch"), ("queue", "queue"), ("cron", "scheduled"), ("rcptTo", "email"), ("rpcMethod", "rpc"))
    found = (kind for member, kind in known if event.get(member) is not None)
    return next(found, "alarm" if event.get("scheduledTime") is not None else "")


def _trigger(whole: _Either) -> str:
    """An invocation in a few words."""
    event = whole.inner("event", "Event")
    request = event.inner("request", "Request")
    if url := word(request.get("url", "URL")):
        return f"{word(request.get('method', 'Method'))} {url}".strip()
    named = word(event.get("queue", "Queue", "cron", "Cron", "rpcMethod"))
    kind = word(whole.get("EventType")) or _event_type(event) or "invocation"
    return f"{kind} {named}".strip()


def _logged(whole: _Either, shared: Mapping[str, str], begun_ns: int) -> Iterator[_Part]:
    for one in whole.each("logs", "Logs"):
        said = one.get("message", "Message")
        arguments = said if isinstance(said, list) else [said]
        line = " ".join(word(part) or compact(part) for part in arguments)
        t_ns = time_ns(one.get("timestamp", "TimestampMs")) or begun_ns
        yield t_ns, line, {**shared, "kind": "log", "level": level_of(one.get("level", "Level"))}


def _thrown(whole: _Either, shared: Mapping[str, str], begun_ns: int) -> Iterator[_Part]:
    for one in whole.each("exceptions", "Exceptions"):
        line = f"{word(one.get('name', 'Name'))}: {word(one.get('message', 'Message'))}"
        if stack := word(one.get("stack", "Stack")):
            line = f"{line}\n{stack}"
        t_ns = time_ns(one.get("timestamp", "TimestampMs")) or begun_ns
        yield t_ns, line, {**shared, "kind": "exception", "level": "error"}


def _rfc3339_ns(match: re.Match[str]) -> int | None:
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(whole + zone.replace("Z", "+00:00")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    seconds = int(moment.timestamp())
    return seconds * NS_PER_S + int((fraction or "0").ljust(9, "0")) if seconds > 0 else None
