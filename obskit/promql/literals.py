"""Numbers, durations and strings as PromQL writes them: read and printed. Positions are the lexer's business."""

from __future__ import annotations

import math
import re
from typing import Final

from obskit.model.durations import parse_duration

_UNSIGNED_OCTAL: Final = re.compile(r"0[0-7]+", re.ASCII)
_DURATION: Final = re.compile(r"(?:\d+(?:ms|[ywdhms]))+", re.ASCII)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.)|$)", re.DOTALL)
_PLAIN_ESCAPES: Final = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34}


def parse_number(text: str) -> float:
    """The value of a number or duration literal (a duration counts seconds); ValueError otherwise."""
    lower = text.lower()
    if lower in ("inf", "nan"):
        # math.nan is one object: two trees with a NaN in the same place compare equal.
        return math.inf if lower == "inf" else math.nan
    if _DURATION.fullmatch(text):
        return parse_duration(text) / 1000
    digits = lower.replace("_", "")
    if digits.startswith("0x"):
        return float(int(digits, 16))
    if _UNSIGNED_OCTAL.fullmatch(digits):
        return float(int(digits, 8))
    return float(digits)


def format_number(value: float) -> str:
    """The shortest decimal that reads back as the same number, as Go's `%v` prints it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent = f"{value!r}".partition("e")
    if exponent:
        return f"{mantissa}e{exponent}"
    mantissa = mantissa.removesuffix(".0")
    whole = mantissa.lstrip("-")
    if "." not in mantissa and len(whole) > 21:
        return f"{value:e}"
    return mantissa


def unquote(text: str) -> str:
    """The value of a string literal with its quotes; ValueError names the wrong escape.

    Bytes written as `\\xHH` or `\\OOO` are joined to UTF-8 first, as Go does.
    """
    quote, body = text[0], text[1:-1]
    if quote == "`" or "\\" not in body:
        return body
    out, position = bytearray(), 0
    for match in _ESCAPE.finditer(body):
        out += body[position : match.start()].encode("utf-8", "surrogateescape")
        out += _unescape(match, quote)
        position = match.end()
    out += body[position:].encode("utf-8", "surrogateescape")
    # Bytes that are no UTF-8 live on as surrogates: Prometheus complains only where a label name is needed.
    return out.decode("utf-8", "surrogateescape")


def _unescape(match: re.Match[str], quote: str) -> bytes:
    hexadecimal, short, long, octal, plain = match.groups()
    if hexadecimal is not None or octal is not None:
        code = int(hexadecimal, 16) if hexadecimal is not None else int(octal, 8)
        if code > 255:
            raise ValueError("octal escape above 255")
        return bytes([code])
    if short is not None or long is not None:
        code = int(short or long, 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise ValueError("escape sequence is an invalid Unicode code point")
        return chr(code).encode()
    if plain in _PLAIN_ESCAPES and (plain not in "'\"" or plain == quote):
        return bytes([_PLAIN_ESCAPES[plain]])
    raise ValueError(f"unknown escape sequence {plain!r}" if plain else "escape sequence not terminated")


def quote_string(value: str) -> str:
    """A double-quoted literal that `unquote` reads back."""
    out = []
    for char in value:
        if char in '\\"':
            out.append("\\" + char)
        elif char == "\n":
            out.append("\\n")
        elif char < " " or char == "\x7f" or "\udc80" <= char <= "\udcff":
            out.append(f"\\x{ord(char) & 0xFF:02x}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'
