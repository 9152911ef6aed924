"""How Go's fmt package prints values: `%v` of each (pkg.go.dev/fmt). The verbs of printf are printf's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from obskit.gotemplate.problems import ValueProblem
from obskit.gotemplate.values import Struct
from obskit.model.labels import Labels
from obskit.model.results import Element

MAX_NESTING: Final = 50
"""How deep maps in maps are printed."""

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


def check_printable(values: Sequence[Any], room: int) -> None:
    """ValueProblem when the values would print longer than about `room`: a small map may hold one long text many times."""
    left = [(value, 0) for value in values]
    while left:
        value, depth = left.pop()
        if isinstance(value, Element):
            value = value.labels
        room -= len(value) if isinstance(value, str | Mapping | list) else 1
        if room < 0 or depth > MAX_NESTING:
            raise ValueProblem("the text becomes too long")
        if isinstance(value, Mapping):
            left.extend((item, depth + 1) for pair in value.items() for item in pair)
        elif isinstance(value, list):
            left.extend((item, depth + 1) for item in value)


def format_value(value: Any) -> str:
    """A value as `%v` prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case float():
            return format_float(value)
        case str():
            return value
        case Element():
            shown = format_float(value.value) if value.histogram is None else str(value.histogram)
            return f"{{{format_value(value.labels)} {shown}}}"
        case Struct():
            return "{" + " ".join(format_value(field) for field in value.values()) + "}"
        case Labels() | Mapping():
            return "map[" + " ".join(f"{key}:{format_value(value[key])}" for key in sorted(value)) + "]"
        case list():
            return "[" + " ".join(format_value(item) for item in value) + "]"
    return str(value)


def format_float(value: float, verb: str = "g", precision: int | None = None) -> str:
    """A float with verb `e`, `f` or `g`; without a precision the shortest digits that read back as the same number.

    The shortest `g` has an exponent when it is below -4 or above 5, whatever the number of digits: 999999, 1e+06.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if precision is not None:
        return f"{value:.{precision}{verb}}"
    _, digits, scale = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(scale, int)  # only NaN and Inf have letters there
    exponent = len(digits) + scale - 1
    if verb == "g":
        verb = "f" if -4 <= exponent < 6 else "e"
    return f"{value:.{len(digits) - 1 if verb == 'e' else max(0, -scale)}{verb}}"


def quoted(char: str, *, to_ascii: bool = False) -> str:
    """One character as it stands in a Go string literal (strconv.Quote and QuoteToASCII)."""
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if char.isprintable() and (char.isascii() or not to_ascii):
        return char
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def go_sprint(values: Sequence[Any], show: Callable[[Any], str] = format_value) -> str:
    """fmt.Sprint: a space between two operands when neither is a string."""
    text = ""
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            text += " "
        text += show(value)
    return text


def pointed(value: Any) -> str:
    """A value as fmt prints it: an element of a query's result is a pointer there, which template actions look through."""
    return f"&{format_value(value)}" if isinstance(value, Element) else format_value(value)
