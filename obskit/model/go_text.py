"""Text as Go writes it (quoted strings, times, JSON), for readers who compare bytes with what Alertmanager sends."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from obskit.model.records import whole_text

_ESCAPES: Final = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}
_IN_JSON: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def go_quote(text: str) -> str:
    """Go's `%q`: printable characters as they are, the others as escapes."""
    return '"' + "".join(_quoted(char) for char in text) + '"'


def rfc3339(ms: int) -> str:
    """Go's RFC3339Nano in UTC: a fraction without trailing zeros, none when whole."""
    seconds, rest = divmod(ms, 1000)
    fraction = f".{rest:03d}".rstrip("0") if rest else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def go_json(data: Any) -> str:
    """What Go's encoder writes, a newline at the end: safe inside HTML, everything else as it is."""
    written = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # These characters can stand inside strings only, where their escapes mean the same.
    return whole_text(written).translate(_IN_JSON) + "\n"


def _quoted(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
