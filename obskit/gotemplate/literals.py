"""What the literals of a template mean: numbers, strings and characters with Go's escapes."""

from __future__ import annotations

import math
import re
from typing import Final

from obskit.errors import TemplateError
from obskit.gotemplate.lexer import Kind, Token
from obskit.gotemplate.values import MAX_INT64

_PLAIN_ESCAPES: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
}
_ESCAPE: Final = re.compile(r"\\(?:([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)


def string(token: Token) -> str:
    """The text of a quoted or raw string."""
    body = token.text[1:-1]
    return body if token.kind is Kind.RAW else _unescaped(body, token)


def character(token: Token) -> int:
    """The code point of `'x'`."""
    char = _unescaped(token.text[1:-1], token)
    if len(char) != 1:
        raise TemplateError("more than one character in single quotes (strings take double quotes)", token.start)
    return ord(char)


def number(token: Token) -> int | float:
    """An int where the text has neither point nor exponent, a float otherwise."""
    text = token.text
    try:
        value = _number(text)
    except ValueError:
        raise TemplateError(f"not a number: {text}", token.start) from None
    if (isinstance(value, int) and not -MAX_INT64 - 1 <= value <= MAX_INT64) or not math.isfinite(value):
        raise TemplateError(f"the number {text} does not fit in 64 bits", token.start)
    return value


def _number(text: str) -> int | float:
    digits = text.lstrip("+-")
    if digits[:2] in ("0x", "0X"):
        return float.fromhex(text) if "p" in digits.lower() or "." in digits else int(text, 16)
    if re.fullmatch(r"0[0-7_]+", digits):
        return int(text, 8)
    return int(text, 0) if re.fullmatch(r"0[bBoO]\w+|[0-9_]+", digits) else float(text)


def _unescaped(body: str, token: Token) -> str:
    """Go's escapes resolved. Hex and octal ones are bytes, so the whole is put together as UTF-8."""
    if "\\" not in body:
        return body
    data, at = bytearray(), 0
    for match in _ESCAPE.finditer(body):
        data += body[at : match.start()].encode("utf-8", "surrogatepass")
        data += _escape(match, token)
        at = match.end()
    data += body[at:].encode("utf-8", "surrogatepass")
    return data.decode("utf-8", "replace")


def _escape(match: re.Match[str], token: Token) -> bytes:
    octal, byte, short, long, plain = match.groups()
    if plain is not None:
        if plain not in _PLAIN_ESCAPES:
            raise TemplateError(f"there is no escape {match.group()} (write \\\\ for a backslash)", token.start)
        return _PLAIN_ESCAPES[plain].encode()
    code = int(octal, 8) if octal else int(byte or short or long, 16)
    if octal or byte:
        if code > 0xFF:
            raise TemplateError(f"{match.group()} is more than a byte", token.start)
        return bytes([code])
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise TemplateError(f"{match.group()} is not a character", token.start)
    return chr(code).encode()
