"""What a JSON line says, for a person: its message first, then its other fields as `key=value`.

Time and level are left out, they stand in columns of their own. A line without a message is shown as it is.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

_MESSAGES: Final = ("message", "msg", "event", "body")
_SHOWN: Final = frozenset(
    {"time", "ts", "timestamp", "@timestamp", "t", "at", "level", "severity", "lvl", "log.level", "levelname"}
)


class Message(NamedTuple):
    """The message, the fields beside it on the same line, and texts of several lines (stack traces) for below."""

    text: str
    fields: str = ""
    below: str = ""


def message_of(line: str) -> Message:
    """Of any line."""
    fields = _fields(line)
    key = next((key for key in _MESSAGES if isinstance(fields.get(key), str) and fields[key]), None)
    if key is None:
        return Message(line)
    rest = {name: value for name, value in fields.items() if name != key and name not in _SHOWN}
    long = {name: value for name, value in rest.items() if isinstance(value, str) and "\n" in value}
    short = " ".join(f"{name}={_value(value)}" for name, value in rest.items() if name not in long)
    return Message(fields[key], short, "\n".join(f"{name}:\n{value}" for name, value in long.items()))


def _fields(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):  # whoever writes the line chooses how deep it is
        return {}
    return fields if isinstance(fields, dict) else {}


def _value(value: Any) -> str:
    if isinstance(value, str) and value and not set(value) & set(' "='):
        return value
    return json.dumps(value, ensure_ascii=False)
