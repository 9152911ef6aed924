"""Go's printf (pkg.go.dev/fmt): directives with flags, width, precision and argument indexes, and what each verb prints.

Wrong verbs, indexes and missing arguments are printed, not raised, as in Go: `%!d(string=hi)`.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from obskit.gotemplate.printing import format_float, format_value, quoted
from obskit.gotemplate.times import Instant
from obskit.gotemplate.values import Span, Struct, type_name
from obskit.model.labels import Labels
from obskit.model.results import Element

MAX_WIDTH: Final = 4096
"""Go pads up to a million; nobody pads an alert that far."""
_GO_LARGEST: Final = 1_000_000

_UINT64: Final = (1 << 64) - 1
_BASES: Final = {"v": "d", "O": "o"}
_PREFIXES: Final = {"b": "0b", "o": "0", "O": "0o", "x": "0x", "X": "0X"}
_FLAGS: Final = re.compile(r"[-+# 0]*")
_DIGITS: Final = re.compile(r"[0-9]*")
_INDEX: Final = re.compile(r"\[(?:([0-9]+)\]|[^\]]*\])?")
_MANTISSA_BITS: Final = 52
_SMALLEST_POWER: Final = -1074


def go_sprintf(template: str, values: Sequence[Any]) -> str:
    """fmt.Sprintf."""
    return _Printf(template, values).run()


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


class _Printf:
    """One call: where it stands in the template, and which operand comes next."""

    def __init__(self, template: str, values: Sequence[Any]) -> None:
        self._template = template
        self._values = values
        self._at = 0
        self._next = 0
        self._indexed = False  # whether any directive chose its operand: then none is said to be left over
        self._good_index = True

    def run(self) -> str:
        parts: list[str] = []
        while (percent := self._template.find("%", self._at)) >= 0:
            parts.append(self._template[self._at : percent])
            self._at = percent + 1
            parts.append(self._directive())
        parts.append(self._template[self._at :])
        left = self._values[self._next :]
        if left and not self._indexed:
            parts.append("%!(EXTRA " + ", ".join(_described(value, _Spec("v")) for value in left) + ")")
        return "".join(parts)

    def _directive(self) -> str:
        self._good_index = True
        flags = self._take(_FLAGS)
        chosen = self._choose()
        complaints, width, chosen = self._number("%!(BADWIDTH)", chosen=chosen)
        precision = None
        if self._ahead() == ".":
            self._at += 1
            self._good_index &= not chosen  # an index stands right before the verb or a star
            complaint, precision, chosen = self._number("%!(BADPREC)", chosen=self._choose())
            complaints += complaint
            if precision is not None and precision < 0:
                complaints, precision = complaints + "%!(BADPREC)", None
            elif not complaint:
                precision = precision or 0
        if not chosen:
            self._choose()
        if width is not None and width < 0:
            flags, width = flags + "-", -width
        if self._ahead() == "v":
            flags = flags.replace("+", "")  # there it asks for more, not for signs
        return complaints + self._verb(flags, width or 0, precision)

    def _verb(self, flags: str, width: int, precision: int | None) -> str:
        verb = self._ahead()
        self._at += 1
        if not verb:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if not self._good_index:
            return f"%!{verb}(BADINDEX)"
        if self._next >= len(self._values):
            return f"%!{verb}(MISSING)"
        self._next += 1
        return _formatted(self._values[self._next - 1], _Spec(verb, flags, width, precision))

    def _number(self, complaint: str, *, chosen: bool) -> tuple[str, int | None, bool]:
        """A width or a precision, from the template or (`*`) from an operand; a complaint in its place if unusable.

        Last, whether an index that came before it is still waiting for its verb.
        """
        if self._ahead() != "*":
            digits = self._take(_DIGITS)
            if not digits:
                return "", None, chosen
            self._good_index &= not chosen
            value: Any = int(digits) if len(digits) < 8 else _GO_LARGEST + 1
            if value > _GO_LARGEST:
                self._at = len(self._template)  # Go gives up on the rest
                return "", None, chosen
        else:
            self._at += 1
            chosen = False
            value = self._values[self._next] if self._next < len(self._values) else None
            self._next += self._next < len(self._values)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_WIDTH:
            return complaint, None, chosen
        return "", value, chosen

    def _choose(self) -> bool:
        """Take an argument index, `[2]`, if one stands here; whether the next operand was chosen by it."""
        if self._ahead() != "[":
            return False
        match = _INDEX.match(self._template, self._at)
        assert match is not None
        self._at = match.end()
        self._indexed = True
        number = match[1]
        if number is None or len(number) > 5:
            self._good_index = False
            return False
        if 1 <= int(number) <= len(self._values):
            self._next = int(number) - 1
        else:
            self._good_index = False
        return True

    def _ahead(self) -> str:
        return self._template[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._template, self._at)
        assert match is not None
        self._at = match.end()
        return match[0]


def _described(value: Any, spec: _Spec) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={_formatted(value, replace(spec, verb='v'))}"


def _formatted(value: Any, spec: _Spec) -> str:
    if spec.verb == "T":
        return _formatted("<nil>" if value is None else type_name(value), replace(spec, verb="s"))
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
            fields = f"{_formatted(value.labels, spec)} {_formatted(value.value, spec)}"
            text = f"&{{{fields}}}"  # a pointer in Prometheus; template actions look through it, fmt does not
        case Struct():
            text = "{" + " ".join(_formatted(field, spec) for field in value.values()) + "}"
        case Labels() | Mapping():
            pairs = (f"{_formatted(key, spec)}:{_formatted(value[key], spec)}" for key in sorted(value))
            text = "map[" + " ".join(pairs) + "]"
        case list():
            text = "[" + " ".join(_formatted(item, spec) for item in value) + "]"
        case _:
            text = spec.pad(format_value(value)) if spec.verb == "v" else None
    return f"%!{spec.verb}({_described(value, spec)})" if text is None else text


def _formatted_int(value: int, spec: _Spec) -> str | None:
    match spec.verb:
        case "d" | "v" | "b" | "o" | "O" | "x" | "X":
            return _digits(value, spec)
        case "c" | "q" | "U":
            char = chr(value) if 0 <= value <= sys.maxunicode and not 0xD800 <= value < 0xE000 else "\ufffd"
            escaped = {"'": "\\'", '"': '"'}.get(char) or quoted(char, to_ascii="+" in spec.flags)
            return spec.pad({"c": char, "q": f"'{escaped}'", "U": f"U+{value & _UINT64:04X}"}[spec.verb])
    return None


def _digits(value: int, spec: _Spec) -> str:
    """A whole number to the base of the verb. A precision is the least number of digits, and then nothing else is filled."""
    if spec.precision == 0 and value == 0:
        return " " * spec.width
    sign = "-" if value < 0 else next((sign for sign in "+ " if sign in spec.flags), "")
    least = spec.precision
    if least is None:
        least = spec.width - len(sign) if "0" in spec.flags and "-" not in spec.flags else 0
    digits = f"{abs(value):{_BASES.get(spec.verb, spec.verb)}}".rjust(least, "0")
    prefix = _PREFIXES.get(spec.verb, "") if "#" in spec.flags or spec.verb == "O" else ""
    if prefix == "0" and digits.startswith("0"):
        prefix = ""
    return spec.pad(sign + prefix + digits)


def _formatted_float(value: float, spec: _Spec) -> str | None:
    if spec.verb not in "vgGeEfFbxX":
        return None
    if not math.isfinite(value):
        text = "Inf" if math.isinf(value) else "NaN"
        signs = [sign for sign in "+ " if sign in spec.flags] or ["+" if math.isinf(value) else ""]
        return spec.pad(("-" if value < 0 else signs[0]) + text)
    if spec.verb in "bxX":
        return spec.pad_number(_binary_float(value, spec))
    verb = "g" if spec.verb == "v" else spec.verb.lower()
    precision = 6 if spec.precision is None and verb in "ef" else spec.precision
    text = format_float(value, verb, precision)
    return spec.pad_number(text.upper() if spec.verb in "GE" else text)


def _binary_float(value: float, spec: _Spec) -> str:
    """A finite float to the base of two: `%b` is 4503599627370496p-52, `%x` 0x1p+00."""
    sign, (fraction, exponent) = "-" if math.copysign(1, value) < 0 else "", math.frexp(abs(value))
    mantissa, exponent = int(fraction * 2 ** (_MANTISSA_BITS + 1)), exponent - 1
    if spec.verb == "b":
        power = max(exponent - _MANTISSA_BITS, _SMALLEST_POWER) if mantissa else _SMALLEST_POWER
        return f"{sign}{mantissa >> (power - exponent + _MANTISSA_BITS) if mantissa else 0}p{power:+d}"
    if spec.precision is not None and spec.precision * 4 < _MANTISSA_BITS:
        step = 1 << (_MANTISSA_BITS - spec.precision * 4)
        mantissa = round(mantissa / step) * step  # to even, and exactly: both fit a float
        if mantissa >> (_MANTISSA_BITS + 1):
            mantissa, exponent = mantissa >> 1, exponent + 1
    digits = f"{mantissa & ((1 << _MANTISSA_BITS) - 1):013x}"
    digits = digits.rstrip("0") if spec.precision is None else digits[: spec.precision].ljust(spec.precision, "0")
    power = exponent if mantissa else 0
    point = "." if digits else ""
    text = f"{sign}0x{mantissa >> _MANTISSA_BITS}{point}{digits}p{'-' if power < 0 else '+'}{abs(power):02d}"
    return text.upper() if spec.verb == "X" else text


def _formatted_string(value: str, spec: _Spec) -> str | None:
    text = value if spec.precision is None else value[: spec.precision]
    match spec.verb:
        case "s" | "v":
            return spec.pad(text)
        case "q":
            if "#" in spec.flags and "`" not in text and text.isprintable():
                return spec.pad(f"`{text}`")
            return spec.pad('"' + "".join(quoted(char, to_ascii="+" in spec.flags) for char in text) + '"')
        case "x" | "X":
            data = value.encode("utf-8", "surrogatepass")[: spec.precision]
            prefix = "0x" if "#" in spec.flags and data else ""
            encoded = prefix + (data.hex(" ").replace(" ", f" {prefix}") if " " in spec.flags else data.hex())
            return spec.pad(encoded.upper() if spec.verb == "X" else encoded)
    return None
