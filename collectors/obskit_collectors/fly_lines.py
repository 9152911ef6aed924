"""One log line of Fly.io, from the HTTP API or the log shipper, as a Record. Pure; whatever is missing is left out.

The platform guesses levels: lines of apps come as `info`. So what the line itself says of its level counts first, and a
plain line that says nothing has none: rules then look for words in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from obskit.clock import NS_PER_S
from obskit.model.labels import Labels
from obskit.model.records import Record, whole_text
from obskit_collectors.fly_access import part, text_at

SOURCE: Final = "fly"
CUT_MARK: Final = " …[cut]"
LEVELS: Final = {
    "trace": "trace",
    "debug": "debug",
    "info": "info",
    "information": "info",
    "notice": "info",
    "warn": "warn",
    "warning": "warn",
    "error": "error",
    "err": "error",
    "severe": "error",
    "critical": "critical",
    "crit": "critical",
    "alert": "critical",
    "emergency": "critical",
    "emerg": "critical",
    "fatal": "fatal",
    "panic": "fatal",
}
_NUMBERED: Final = ((60, "fatal"), (50, "error"), (40, "warn"), (30, "info"), (20, "debug"), (0, "trace"))
"""Levels of pino and bunyan."""
_LEVEL_KEYS: Final = ("level", "severity", "lvl", "log.level", "levelname")
_ID_KEYS: Final = ("trace_id", "span_id")
_SAID: Final = re.compile(
    r"""\blevel=["']?(\w+)|\b(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL|PANIC)\b|\[(debug|info|notice|warn|error|crit|alert|emerg)\]"""
)
_LOOKED_AT: Final = 80
"""Characters in which a plain line says its level, if it does."""
_PROXY_CODE: Final = re.compile(r"^\s*\[(P[A-Z]\d{2})\]")
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:?\d\d)?")


@dataclass(frozen=True, slots=True)
class Line:
    """A line, its app, and what tells it from others: the vendor's id, or all there is of it."""

    app: str
    id: str
    record: Record


class LineMaker:
    """Makes the lines of a source; the label sets of their streams are made once."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._streams: dict[tuple[str, str], Labels] = {}

    def of_api(self, app: str, entry: Any) -> Line | None:
        """A line as the HTTP API gives it; None when it has neither a time nor a text."""
        attributes, told = part(entry, "attributes"), part(entry, "attributes", "meta")
        # flyctl shows the proxy's own message in place of the line's.
        message = text_at(told, "error", "message") if not text_at(attributes, "message") else ""
        message = message or text_at(attributes, "message")
        t_ns = time_ns(text_at(attributes, "timestamp"))
        if t_ns is None or not message:
            return None
        instance = text_at(attributes, "instance") or text_at(told, "instance")
        return self._line(
            (app, text_at(attributes, "region") or text_at(told, "region")),
            t_ns,
            message,
            id=text_at(entry, "id") or f"{instance} {message}",
            level=text_at(attributes, "level"),
            metadata={
                "instance": instance,
                "provider": text_at(told, "event", "provider"),
                "request_id": text_at(told, "http", "request", "id"),
                "method": text_at(told, "http", "request", "method"),
                "status": text_at(told, "http", "response", "status_code"),
                "url": text_at(told, "url", "full"),
                "error": text_at(told, "error", "message"),
            },
        )

    def of_shipper(self, payload: Any) -> Line | None:
        """A line as the log shipper pushes it; None when it lacks app, time or text."""
        app, message = text_at(payload, "fly", "app", "name"), text_at(payload, "message")
        t_ns = time_ns(text_at(payload, "timestamp"))
        if t_ns is None or not message or not app:
            return None
        instance = text_at(payload, "fly", "app", "instance")
        return self._line(
            (app, text_at(payload, "fly", "region")),
            t_ns,
            message,
            id=f"{app} {instance} {message}",
            level=text_at(payload, "log", "level"),
            metadata={
                "instance": instance,
                "provider": text_at(payload, "event", "provider"),
                "host": text_at(payload, "host"),
            },
        )

    def _line(
        self,
        place: tuple[str, str],
        t_ns: int,
        message: str,
        *,
        id: str,
        level: str,
        metadata: dict[str, str],
    ) -> Line:
        provider = metadata["provider"]
        found = _of_json(message)
        found["level"] = found.get("level") or _level(message, level, provider)
        code = _PROXY_CODE.match(message)
        found["error_code"] = code[1] if code else ""
        kept = {key: whole_text(value) for key, value in {**metadata, **found}.items() if value}
        stream = self._streams.get(place)
        if stream is None:
            app, region = place
            stream = self._streams[place] = Labels({"source": SOURCE, "app": app, "region": region})
        return Line(place[0], id, Record(stream, t_ns, self._cut(whole_text(message.rstrip("\r\n"))), kept))

    def _cut(self, text: str) -> str:
        if len(text) * 4 <= self._max_bytes or len(text.encode()) <= self._max_bytes:
            return text
        return text.encode()[: self._max_bytes].decode("utf-8", "ignore") + CUT_MARK


def time_ns(text: str) -> int | None:
    """RFC 3339 (or a number of milliseconds) as Unix nanoseconds; None when it is neither. Without a zone it is UTC."""
    if text.isascii() and text.isdigit() and 12 <= len(text) <= 14:
        return int(text) * 1_000_000
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return None
    whole, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(whole.upper() + (zone or "Z").upper())
    except ValueError:
        return None
    return int(moment.astimezone(UTC).timestamp()) * NS_PER_S + int((fraction or "0").ljust(9, "0"))


def decoded(body: bytes) -> tuple[list[Any], int]:
    """What a JSON array or lines of JSON hold, and how many lines are none. ValueError: nothing of it is JSON."""
    text = body.decode("utf-8", "replace").strip()
    if not text:
        return [], 0
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return _lines_of(text.splitlines())
    return (whole, 0) if isinstance(whole, list) else ([whole], 0)


def _lines_of(texts: Iterable[str]) -> tuple[list[Any], int]:
    found: list[Any] = []
    bad = 0
    for text in texts:
        try:
            found += [json.loads(text)] if text.strip() else []
        except (ValueError, RecursionError):
            bad += 1
    if not found:
        raise ValueError("neither a JSON array nor lines of JSON")
    return found, bad


def _of_json(message: str) -> dict[str, str]:
    """What a JSON line says of its level and its trace; the line stays as it is."""
    if not message.startswith("{"):
        return {}
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):  # whoever writes the line chooses how deep it is
        return {}
    found = {key: fields[key] for key in _ID_KEYS if isinstance(fields.get(key), str)}
    for key in _LEVEL_KEYS:
        value = fields.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return found | {"level": next((name for least, name in _NUMBERED if value >= least), "")}
        if isinstance(value, str) and value:
            return found | {"level": LEVELS.get(value.lower(), value.lower())}
    return found


def _level(message: str, platform: str, provider: str) -> str:
    said = _SAID.search(message[:_LOOKED_AT])
    word = (said[1] or said[2] or said[3]).lower() if said else ""
    if word in LEVELS:
        return LEVELS[word]
    guessed = provider in ("app", "") and platform.lower() == "info"
    return "" if guessed else LEVELS.get(platform.lower(), platform.lower())
