"""Telemetry events of Workers as records. The query and the live tail give the same events; both are read here.

Each invocation gives one event of its own (outcome, CPU and wall time) and one for each line it logged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from obskit.clock import NS_PER_MS
from obskit.model.labels import Labels
from obskit.model.records import Record, whole_text

SOURCE: Final = "cloudflare"
_NONE: Final[Mapping[str, Any]] = {}
_WORDS: Final = (
    ("trace_id", "$metadata", "traceId"),
    ("span_id", "$metadata", "spanId"),
    ("fingerprint", "$metadata", "fingerprint"),
    ("region", "$metadata", "region"),
    ("trigger", "$metadata", "trigger"),
    ("error", "$metadata", "error"),
    ("event_type", "$workers", "eventType"),
    ("outcome", "$workers", "outcome"),
    ("cpu_ms", "$workers", "cpuTimeMs"),
    ("wall_ms", "$workers", "wallTimeMs"),
)
"""Name in our metadata, and where an event has it."""
_KINDS: Final = {"cf-worker-event": "invocation", "cf-worker-span": "span"}
"""Everything else is a line that was logged (`cf-worker` and `cf-worker-log` were both seen)."""


@dataclass(frozen=True, slots=True)
class Line:
    """An event as we keep it, and what tells it from others."""

    id: str
    record: Record


class LineMaker:
    """Makes records of events, one Labels object for each app."""

    def __init__(self, source: str = SOURCE) -> None:
        self._source = source
        self._streams: dict[str, Labels] = {}

    def stream(self, app: str) -> Labels:
        """The stream of an app."""
        if app not in self._streams:
            if len(self._streams) >= 10_000:
                self._streams.clear()
            self._streams[app] = Labels({"source": self._source, "app": app})
        return self._streams[app]

    def line(self, event: Any) -> Line | None:
        """None for what is no event: without a time nothing can be kept."""
        t_ms = event.get("timestamp") if isinstance(event, dict) else None
        if not isinstance(t_ms, int | float) or isinstance(t_ms, bool) or not 0 < t_ms < 2**43:
            return None
        told = mapping(event.get("$metadata"))
        worker = mapping(event.get("$workers")) or mapping(event.get("$containers"))
        app = word(told.get("service")) or word(worker.get("scriptName")) or "unknown"
        kind = _KINDS.get(word(told.get("type")), "log")
        text = _text(event.get("source"), told, kind)
        record = Record(self.stream(app), int(t_ms) * NS_PER_MS, text, _metadata(told, worker, kind))
        return Line(word(told.get("id")) or digest(event), record)


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else _NONE


def word(value: Any) -> str:
    """Texts and numbers as text; nothing else has one."""
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return ""


def level_of(value: Any) -> str:
    """`console.log` is a level of its own at Cloudflare; elsewhere it is called info."""
    level = word(value).lower()
    return "info" if level == "log" else level


def compact(value: Any) -> str:
    """JSON on one line."""
    return whole_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def digest(value: Any) -> str:
    """What tells an object from others."""
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=12).hexdigest()


def _text(source: Any, told: Mapping[str, Any], kind: str) -> str:
    """What was logged: text as it is, an object as JSON, so that `| json` reads its own fields."""
    if isinstance(source, str):
        return whole_text(source)
    if source not in (None, {}):
        return compact(source)
    return word(told.get("message")) or word(told.get("spanName")) or word(told.get("trigger")) or kind


def _metadata(told: Mapping[str, Any], worker: Mapping[str, Any], kind: str) -> dict[str, str]:
    places = {"$metadata": told, "$workers": worker}
    found = {name: word(places[place].get(key)) for name, place, key in _WORDS}
    # A JSON log may have a field requestId of its own, which then stands in $metadata.
    found["request_id"] = word(worker.get("requestId")) or word(told.get("requestId"))
    event = mapping(worker.get("event"))
    found["status"] = word(mapping(event.get("response")).get("status")) or word(told.get("statusCode"))
    found["method"] = word(mapping(event.get("request")).get("method"))
    found["version"] = word(mapping(worker.get("scriptVersion")).get("id"))
    found["kind"] = kind
    if kind == "log":
        # Not of an invocation: one that fails has the level error beside the line that says why, and would count twice.
        found["level"] = level_of(told.get("level"))
        found["outcome"] = ""
    if worker.get("truncated") is True:
        found["truncated"] = "true"
    return {name: value for name, value in found.items() if value}
