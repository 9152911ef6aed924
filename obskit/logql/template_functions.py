"""The functions that Loki gives `line_format` and `label_format`, beside Go's own: its own ones and a part of sprig.

Facts: Loki's docs/sources/query/template_functions.md and sprig's docs. Numbers are converted as sprig does it: what is
no number is 0.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, localcontext
from functools import partial
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote_plus

from obskit.gotemplate.functions import GO_FUNCTIONS, Function, query_escape
from obskit.gotemplate.problems import ValueProblem
from obskit.gotemplate.text import replace_all, title, to_lower, to_upper
from obskit.gotemplate.times import NS_PER_S, Instant, parse_time
from obskit.gotemplate.values import is_true, type_name
from obskit.logql.units import byte_size, go_duration_ns
from obskit.model.patterns import compile_pattern

MAX_TEXT: Final = 2 * 1024 * 1024
"""The longest text that a template, or a value in it, may become: above the longest line the store takes."""

_MOST_MATCHES: Final = 100_000
_MAX_INT64: Final = (1 << 63) - 1
_UNIX_DIGITS: Final = {5: 86_400 * NS_PER_S, 10: NS_PER_S, 13: 1_000_000, 16: 1_000, 19: 1}


@dataclass(frozen=True, slots=True)
class LineData:
    """What functions may ask about the line: its text, its time, and the time of the query."""

    line: str
    t_ns: int
    now_ns: int


def _int(value: Any) -> int:
    """Sprig's toInt64: what is not a number is 0."""
    if isinstance(value, str):
        text = value
        if "." in text and not text.partition(".")[2].strip("0"):
            text = text.partition(".")[0]
        try:
            digits = text.lstrip("+-")
            number = int(text, 8) if digits[:1] == "0" and digits.isdigit() else int(text, 0)
        except ValueError:
            return 0
        return number if -_MAX_INT64 - 1 <= number <= _MAX_INT64 else 0
    if isinstance(value, bool | int | float):
        return int(value) if math.isfinite(value) and abs(value) <= _MAX_INT64 else 0
    return 0


def _float(value: Any) -> float:
    """Sprig's toFloat64."""
    if isinstance(value, str):
        try:
            return float(value) if value == value.strip() and "_" not in value else 0.0
        except ValueError:
            return 0.0
    return float(value) if isinstance(value, bool | int | float) else 0.0


def _wrapped(number: int) -> int:
    """An int64, overflow and all."""
    return (number + _MAX_INT64 + 1) % (1 << 64) - _MAX_INT64 - 1


def _add(*values: Any) -> int:
    return _wrapped(sum(map(_int, values)))


def _mul(*values: Any) -> int:
    product = 1
    for value in values:
        product = _wrapped(product * _int(value))
    return product


def _div(left: Any, right: Any) -> int:
    dividend, divisor = _int(left), _int(right)
    if not divisor:
        raise ValueProblem("runtime error: integer divide by zero")
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def _mod(left: Any, right: Any) -> int:
    return _int(left) - _div(left, right) * _int(right)


def _decimals(combine: Callable[[Decimal, Decimal], Decimal], *values: Any) -> float:
    """Sprig counts floats in decimals, so that 0.1 and 0.2 are 0.3."""
    numbers = [_float(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        raise ValueProblem("cannot count with an infinite number")
    with localcontext() as context:
        context.prec = 40
        try:
            result, *others = [Decimal(repr(number)) for number in numbers]
            for other in others:
                result = combine(result, other)
        except (ArithmeticError, InvalidOperation):
            raise ValueProblem("decimal division by 0") from None
    return float(result)


def _round(value: Any, places: int, *turn: Any) -> float:
    scale = 10.0 ** max(-300, min(places, 300))
    shifted = _float(value) * scale
    if not math.isfinite(shifted):
        return shifted
    fraction, _ = math.modf(shifted)
    return float(math.ceil(shifted) if fraction >= (_float(turn[0]) if turn else 0.5) else math.floor(shifted)) / scale


def _extreme(convert: Callable[[Any], Any], choose: Callable[..., Any], *values: Any) -> Any:
    return choose(convert(value) for value in values)


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        raise ValueProblem("not valid JSON") from None


def _trunc(count: int, text: str) -> str:
    if count < 0 and len(text) + count > 0:
        return text[len(text) + count :]
    return text[:count] if 0 <= count < len(text) else text


def _substr(start: int, end: int, text: str) -> str:
    if start < 0:
        return text[:end] if end >= 0 else ""
    return text[start:] if end < 0 else text[start:end]


def _indent(spaces: int, text: str) -> str:
    pad = " " * _bounded(spaces)
    if len(pad) * (text.count("\n") + 1) + len(text) > MAX_TEXT:
        raise ValueProblem("the text becomes too long")
    return pad + text.replace("\n", "\n" + pad)


def _bounded(count: int, size: int = 1) -> int:
    if count < 0:
        raise ValueProblem("negative Repeat count")
    if count * size > MAX_TEXT:
        raise ValueProblem("the text becomes too long")
    return count


def _replaced(text: str, old: str, new: str, count: int = -1) -> str:
    if len(new) > len(old) and (text.count(old) if old else len(text) + 1) * len(new) + len(text) > MAX_TEXT:
        raise ValueProblem("the text becomes too long")
    return text.replace(old, new, count)


def _align(text: str, count: int, *, left: bool) -> str:
    if count < 0 or count == len(text):
        return text
    if count > len(text):
        pad = " " * (_bounded(count) - len(text))
        return text + pad if left else pad + text
    return text[:count] if left else text[len(text) - count :]


def _default(fallback: Any, *given: Any) -> Any:
    return given[0] if given and is_true(given[0]) else fallback


def _literally(pattern: str, text: str, replacement: str) -> str:
    return replace_all(pattern, replacement.replace("$", "$$"), text, room=MAX_TEXT)


def _count(pattern: str, text: str) -> int:
    matches = compile_pattern(pattern).finditer(text)
    found = sum(1 for _ in islice(matches, _MOST_MATCHES + 1))
    if found > _MOST_MATCHES:
        raise ValueProblem(f"more than {_MOST_MATCHES} matches to count")
    return found


def _decoded(text: str) -> str:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        return f"illegal base64 data: {error}"
    return data.decode(errors="replace")


def _unescaped(text: str) -> str:
    if any(not set(piece[:2]) <= set("0123456789abcdefABCDEF") or len(piece) < 2 for piece in text.split("%")[1:]):
        raise ValueProblem(f"invalid URL escape in {text[:100]!r}")
    return unquote_plus(text, errors="replace")


def _instant(value: Any, data: LineData) -> Instant:
    if isinstance(value, Instant):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Instant(value * NS_PER_S)
    return Instant(data.now_ns)


def _to_date(layout: str, text: str, zone: str = "Local") -> Instant:
    """Sprig gives Go's zero time for a text that is none."""
    try:
        return parse_time(layout, text, zone)
    except ValueProblem:
        return parse_time("2006", "0001")


def _unix_to_time(text: str) -> Instant:
    unit = _UNIX_DIGITS.get(len(text))
    if unit is None or not text.isdecimal():
        raise ValueProblem(f"unable to parse time '{text[:40]}'")
    return Instant(int(text) * unit)


def _time(value: Any) -> Instant:
    if not isinstance(value, Instant):
        raise ValueProblem(f"a time is wanted here, not a {type_name(value)}")
    return value


_TEXT: Final[Mapping[str, Function]] = {
    "lower": Function(to_lower, "s"),
    "upper": Function(to_upper, "s"),
    "title": Function(title, "s"),
    "trunc": Function(_trunc, "is"),
    "substr": Function(_substr, "iis"),
    "contains": Function(lambda part, text: part in text, "ss"),
    "hasPrefix": Function(lambda part, text: text.startswith(part), "ss"),
    "hasSuffix": Function(lambda part, text: text.endswith(part), "ss"),
    "indent": Function(_indent, "is"),
    "nindent": Function(lambda spaces, text: "\n" + _indent(spaces, text), "is"),
    "replace": Function(lambda old, new, text: _replaced(text, old, new), "sss"),
    "repeat": Function(lambda count, text: text * _bounded(count, len(text)), "is"),
    "trim": Function(str.strip, "s"),
    "trimAll": Function(lambda chars, text: text.strip(chars), "ss"),
    "trimSuffix": Function(lambda part, text: text.removesuffix(part), "ss"),
    "trimPrefix": Function(lambda part, text: text.removeprefix(part), "ss"),
    "alignLeft": Function(lambda count, text: _align(text, count, left=True), "is"),
    "alignRight": Function(lambda count, text: _align(text, count, left=False), "is"),
    "regexReplaceAll": Function(lambda p, text, new: replace_all(p, new, text, room=MAX_TEXT), "sss"),
    "regexReplaceAllLiteral": Function(_literally, "sss"),
    "count": Function(_count, "ss"),
    "default": Function(_default, "aa*"),
    "b64enc": Function(lambda text: base64.b64encode(text.encode(errors="surrogatepass")).decode(), "s"),
    "b64dec": Function(_decoded, "s"),
    "urlencode": Function(query_escape, "s"),
    "urldecode": Function(_unescaped, "s"),
    "fromJson": Function(_from_json, "s"),
    # Names from before sprig: the arguments in Go's order
    "ToLower": Function(to_lower, "s"),
    "ToUpper": Function(to_upper, "s"),
    "Replace": Function(_replaced, "sssi"),
    "Trim": Function(str.strip, "ss"),
    "TrimLeft": Function(str.lstrip, "ss"),
    "TrimRight": Function(str.rstrip, "ss"),
    "TrimPrefix": Function(str.removeprefix, "ss"),
    "TrimSuffix": Function(str.removesuffix, "ss"),
    "TrimSpace": Function(str.strip, "s"),
}
_NUMBERS: Final[Mapping[str, Function]] = {
    "int": Function(_int, "a"),
    "float64": Function(_float, "a"),
    "add": Function(_add, "a*"),
    "sub": Function(lambda left, right: _wrapped(_int(left) - _int(right)), "aa"),
    "mul": Function(_mul, "aa*"),
    "div": Function(_div, "aa"),
    "mod": Function(_mod, "aa"),
    "addf": Function(partial(_decimals, Decimal.__add__), "aa*"),
    "subf": Function(partial(_decimals, Decimal.__sub__), "aa*"),
    "mulf": Function(partial(_decimals, Decimal.__mul__), "aa*"),
    "divf": Function(partial(_decimals, Decimal.__truediv__), "aa*"),
    "max": Function(partial(_extreme, _int, max), "aa*"),
    "min": Function(partial(_extreme, _int, min), "aa*"),
    "maxf": Function(partial(_extreme, _float, max), "aa*"),
    "minf": Function(partial(_extreme, _float, min), "aa*"),
    "ceil": Function(lambda value: float(math.ceil(_finite(value))), "a"),
    "floor": Function(lambda value: float(math.floor(_finite(value))), "a"),
    "round": Function(_round, "aia*"),
    "bytes": Function(byte_size, "s"),
    "duration": Function(lambda text: go_duration_ns(text) / NS_PER_S, "s"),
    "duration_seconds": Function(lambda text: go_duration_ns(text) / NS_PER_S, "s"),
}
_TIMES: Final[Mapping[str, Function]] = {
    "now": Function(lambda data: Instant(data.now_ns), "", asks=True),
    "date": Function(lambda data, layout, value: _instant(value, data).format(layout), "sa", asks=True),
    "toDate": Function(_to_date, "ss"),
    "toDateInZone": Function(lambda layout, zone, text: _to_date(layout, text, zone), "sss"),
    "unixEpoch": Function(lambda value: str(_time(value).ns // NS_PER_S), "a"),
    "unixEpochMillis": Function(lambda value: str(_time(value).ns // 1_000_000), "a"),
    "unixEpochNanos": Function(lambda value: str(_time(value).ns), "a"),
    "unixToTime": Function(_unix_to_time, "s"),
    "__line__": Function(lambda data: data.line, "", asks=True),
    "__timestamp__": Function(lambda data: Instant(data.t_ns), "", asks=True),
}


def _finite(value: Any) -> float:
    number = _float(value)
    return number if math.isfinite(number) else 0.0


LOKI_FUNCTIONS: Final[Mapping[str, Function]] = {**GO_FUNCTIONS, **_TEXT, **_NUMBERS, **_TIMES}
