"""How Go's fmt package prints values: `%v` of each, and the verbs of printf (pkg.go.dev/fmt).

Wrong verbs and missing arguments are printed, not raised, as in Go: `%!d(string=hi)`.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from obskit.model.labels import Labels
from obskit.model.results import Element
from obskit.rules.go_values import Instant, Span, Struct, ValueProblem, type_name

MAX_WIDTH: Final = 4096
"""Go stops at a million; nobody pads an alert that far."""

_UINT64: Final = (1 << 64) - 1
MAX_NESTING: Final = 50
"""How deep maps in maps are printed."""

_PREFIXES: Final = {"b": "0b", "o": "0", "O": "0o", "x": "0x", "X": "0X"}
_VERB: Final = re.compile(r"%([-+# 0]*)(\*|\d+)?(?:(\.)(\*|\d*))?(.)?", re.DOTALL)
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


def _quoted(char: str, *, to_ascii: bool = False) -> str:
    """One character as it stands in a Go string literal (strconv.Quote and QuoteToASCII)."""
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if char.isprintable() and (char.isascii() or not to_ascii):
        return char
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def go_sprint(values: Sequence[Any]) -> str:
    """fmt.Sprint: a space between two operands when neither is a string."""
    text = ""
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            text += " "
        text += format_value(value)
    return text


@dataclass(frozen=True, slots=True)
class _Spec:
    """One verb with its flags."""

    verb: str
    flags: str = ""
    width: int = 0
    precision: int | None = None

    def pad(self, text: str) -> str:
        """`text` in the width asked for, with spaces."""
        return text.ljust(self.width) if "-" in self.flags else text.rjust(self.width)

    def pad_number(self, text: str) -> str:
        """A number with the sign asked for; zeros go between sign and digits."""
        sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
        if not sign:
            sign = "+" if "+" in self.flags else " " if " " in self.flags else ""
        if "0" in self.flags and "-" not in self.flags:
            return sign + digits.rjust(self.width - len(sign), "0")
        return self.pad(sign + digits)


class _Arguments:
    """The operands of a printf, taken one after the other."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values
        self._next = 0

    def left(self) -> Sequence[Any]:
        """Those not taken yet."""
        return self._values[self._next :]

    def take(self) -> Any:
        """The next one; there must be one."""
        self._next += 1
        return self._values[self._next - 1]


def go_sprintf(template: str, values: Sequence[Any]) -> str:
    """fmt.Sprintf. Argument indexes (`%[1]d`) are not known."""
    arguments, parts, at = _Arguments(values), [], 0
    for match in _VERB.finditer(template):
        parts.append(template[at : match.start()])
        parts.append(_directive(match, arguments))
        at = match.end()
    parts.append(template[at:])
    if left := arguments.left():
        parts.append("%!(EXTRA " + ", ".join(_described(value) for value in left) + ")")
    return "".join(parts)


def _directive(match: re.Match[str], arguments: _Arguments) -> str:
    flags, width, dot, precision, verb = match.groups()
    bad, wide = _number(width, arguments, "%!(BADWIDTH)")
    bad_precision, precise = _number(precision or "0", arguments, "%!(BADPREC)") if dot else ("", None)
    bad += bad_precision
    if verb is None:
        return bad + "%!(NOVERB)"
    if verb == "%":
        return bad + "%"
    if not arguments.left():
        return bad + f"%!{verb}(MISSING)"
    if wide is not None and wide < 0:
        flags, wide = flags + "-", -wide
    return bad + _formatted(arguments.take(), _Spec(verb, flags, wide or 0, precise))


def _number(text: str | None, arguments: _Arguments, complaint: str) -> tuple[str, int | None]:
    """A width or a precision, from the format or (`*`) from the operands; a complaint in its place when unusable."""
    if not text:
        return "", None
    value = arguments.take() if text == "*" and arguments.left() else text if text != "*" else None
    if isinstance(value, str) and text != "*":
        value = int(value) if len(value) < 6 else MAX_WIDTH + 1
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_WIDTH:
        return complaint, None
    return "", value


def _described(value: Any) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={format_value(value)}"


def _formatted(value: Any, spec: _Spec) -> str:
    if spec.verb == "T":
        return spec.pad("<nil>" if value is None else type_name(value))
    if isinstance(value, Span | Instant):
        value = value.ns if isinstance(value, Span) and spec.verb not in "vsqxX" else str(value)
    match value:
        case bool():
            text = spec.pad(format_value(value)) if spec.verb in "tv" else None
        case int():
            text = _formatted_int(value, spec)
        case float():
            text = _formatted_float(value, spec)
        case str():
            text = _formatted_string(value, spec)
        case Element():
            text = f"{{{_formatted(value.labels, spec)} {_formatted(value.value, spec)}}}"
        case Struct():
            text = "{" + " ".join(_formatted(field, spec) for field in value.values()) + "}"
        case Labels() | Mapping():
            pairs = (f"{_formatted(key, spec)}:{_formatted(value[key], spec)}" for key in sorted(value))
            text = "map[" + " ".join(pairs) + "]"
        case list():
            text = "[" + " ".join(_formatted(item, spec) for item in value) + "]"
        case _:
            text = spec.pad(format_value(value)) if spec.verb == "v" else None
    return f"%!{spec.verb}({_described(value)})" if text is None else text


def _formatted_int(value: int, spec: _Spec) -> str | None:
    match spec.verb:
        case "d" | "v":
            return spec.pad_number(f"{value:0{(spec.precision or 0) + (value < 0)}d}")
        case "b" | "o" | "O" | "x" | "X":
            prefix = _PREFIXES[spec.verb] if "#" in spec.flags or spec.verb == "O" else ""
            return spec.pad_number(f"{'-' if value < 0 else ''}{prefix}{abs(value):{spec.verb.replace('O', 'o')}}")
        case "c" | "q" | "U":
            char = chr(value) if 0 <= value <= sys.maxunicode and not 0xD800 <= value < 0xE000 else "\ufffd"
            quoted = "'" + (_quoted(char) if char not in "'\"" else {"'": "\\'"}.get(char, char)) + "'"
            return spec.pad({"c": char, "q": quoted, "U": f"U+{value & _UINT64:04X}"}[spec.verb])
    return None


def _formatted_float(value: float, spec: _Spec) -> str | None:
    if spec.verb not in "vgGeEfF":
        return None
    verb = "g" if spec.verb == "v" else spec.verb.lower()
    precision = 6 if spec.precision is None and verb in "ef" else spec.precision
    text = format_float(value, verb, precision)
    if not math.isfinite(value):
        return spec.pad(f"+{text}" if math.isnan(value) and "+" in spec.flags else text)
    return spec.pad_number(text.upper() if spec.verb in "GE" else text)


def _formatted_string(value: str, spec: _Spec) -> str | None:
    text = value if spec.precision is None else value[: spec.precision]
    match spec.verb:
        case "s" | "v":
            return spec.pad(text)
        case "q":
            if "#" in spec.flags and "`" not in text and text.isprintable():
                return spec.pad(f"`{text}`")
            return spec.pad('"' + "".join(_quoted(char, to_ascii="+" in spec.flags) for char in text) + '"')
        case "x" | "X":
            data = text.encode("utf-8", "surrogatepass")
            encoded = data.hex(" ") if " " in spec.flags else data.hex()
            return spec.pad(encoded.upper() if spec.verb == "X" else encoded)
    return None
