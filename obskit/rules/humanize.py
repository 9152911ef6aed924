"""Numbers for people, digit for digit as Prometheus' template functions print them (prometheus template/template.go)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from obskit.clock import NS_PER_MS
from obskit.gotemplate.printing import format_float
from obskit.gotemplate.problems import ValueProblem
from obskit.gotemplate.times import NS_PER_S, Instant
from obskit.gotemplate.values import MAX_INT64, Span

_LARGE: Final = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_BINARY: Final = ("", "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_SMALL: Final = ("", "m", "u", "n", "p", "f", "a", "z", "y")


def _four_digits(value: float) -> str:
    return format_float(value, "g", 4)


def _scaled_down(value: float, base: float, prefixes: Sequence[str]) -> str:
    step = 0
    while abs(value) >= base and step < len(prefixes) - 1:
        value, step = value / base, step + 1
    return _four_digits(value) + prefixes[step]


def _scaled_up(value: float) -> str:
    step = 0
    while abs(value) < 1 and step < len(_SMALL) - 1:
        value, step = value * 1000, step + 1
    return _four_digits(value) + _SMALL[step]


def humanize(value: float) -> str:
    """Four digits and an SI prefix: 123456.789 is `123.5k`."""
    if value == 0 or not math.isfinite(value):
        return _four_digits(value)
    return _scaled_down(value, 1000, _LARGE) if abs(value) >= 1 else _scaled_up(value)


def humanize1024(value: float) -> str:
    """Four digits and a binary prefix: 1000000 is `976.6ki`."""
    if abs(value) <= 1 or not math.isfinite(value):
        return _four_digits(value)
    return _scaled_down(value, 1024, _BINARY)


def humanize_percentage(value: float) -> str:
    """A ratio as per cent: 0.25 is `25%`."""
    return _four_digits(value * 100) + "%"


def humanize_duration(seconds: float) -> str:
    """Days to seconds, or a fraction of a second: 95.5 is `1m 35s`, 0.0123 is `12.3ms`."""
    if not math.isfinite(seconds):
        return _four_digits(seconds)
    if seconds == 0:
        return _four_digits(seconds) + "s"
    if abs(seconds) < 1:
        return _scaled_up(seconds) + "s"
    sign, whole = ("-" if seconds < 0 else ""), int(abs(seconds))
    if whole < 60:
        return f"{sign}{_four_digits(abs(seconds))}s"
    parts = [(whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    while not parts[0][0]:
        parts.pop(0)
    return sign + " ".join(f"{count}{unit}" for count, unit in parts)


def humanize_timestamp(seconds: float) -> str:
    """A Unix time as text: `2015-07-01 16:10:51.781 +0000 UTC`."""
    return str(to_time(seconds)) if math.isfinite(seconds) else _four_digits(seconds)


def to_time(seconds: float) -> Instant:
    """The moment of a Unix time; ValueProblem where Go's nanoseconds would not hold it."""
    ns = _nanoseconds(seconds)
    ms = (abs(ns) // NS_PER_MS) * (1 if ns > 0 else -1)  # to the millisecond towards 1970, as Go divides
    return Instant(ms * NS_PER_MS)


def to_span(seconds: float) -> Span:
    """The duration of a number of seconds; ValueProblem where Go's nanoseconds would not hold it."""
    return Span(_nanoseconds(seconds))


def _nanoseconds(seconds: float) -> int:
    if not abs(seconds * NS_PER_S) <= MAX_INT64:
        raise ValueProblem(f"{format_float(seconds)} seconds are beyond what nanoseconds in 64 bits can say")
    return int(seconds * NS_PER_S)
