"""The values Go templates know, as Python objects: what they are called, when they are true, what they can be asked.

bool, int, float and str stand for themselves, None for nil, Labels for a map of strings, dict for any other map,
list for a slice; a time is times.Instant, a duration is the Span here. How values print is printing's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from obskit.gotemplate.problems import ValueProblem
from obskit.gotemplate.times import NS_PER_S, Instant
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.model.results import Element

MAX_INT64: Final = (1 << 63) - 1

_SMALL_UNITS: Final = (("s", NS_PER_S), ("ms", 1_000_000), ("µs", 1_000), ("ns", 1))


@dataclass(frozen=True, slots=True)
class Span:
    """A duration in nanoseconds (Go's time.Duration)."""

    ns: int

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return self.ns / NS_PER_S

    def __str__(self) -> str:
        if self.ns == 0:
            return "0s"
        rest, text = abs(self.ns), "-" if self.ns < 0 else ""
        if rest < NS_PER_S:
            unit, size = next(pair for pair in _SMALL_UNITS if rest >= pair[1])
            return text + _decimal(rest, size) + unit
        minutes, rest = divmod(rest, 60 * NS_PER_S)
        if minutes >= 60:
            text += f"{minutes // 60}h"
        if minutes:
            text += f"{minutes % 60}m"
        return text + _decimal(rest, NS_PER_S) + "s"


def _decimal(amount: int, size: int) -> str:
    """`amount / size` exactly, without trailing zeros."""
    whole, part = divmod(amount, size)
    if not part:
        return str(whole)
    return f"{whole}." + str(part).zfill(len(str(size)) - 1).rstrip("0")


class Struct(dict[str, Any]):
    """Named fields. Other than in a map, a field that is not there is an error."""


class StringMap(dict[str, str]):
    """A map of strings: a key that is not there has the value "", as with Go's `missingkey=zero`."""

    def __missing__(self, key: str) -> str:
        return ""

    def get(self, key: str, default: Any = "") -> Any:
        """The value of a key, or ""."""
        return super().get(key, default)


class Subject:
    """A value with methods of its own, by name: how many arguments each takes, and what it does with the value."""

    METHODS: ClassVar[Mapping[str, tuple[int, Callable[..., Any]]]] = {}


def _add(instant: Instant, span: Any) -> Instant:
    if not isinstance(span, Span):
        raise ValueProblem(f"Add wants a duration, not {type_name(span)}")
    return Instant(instant.ns + span.ns, instant.zone)


def _format(instant: Instant, layout: Any) -> str:
    if not isinstance(layout, str):
        raise ValueProblem(f"Format wants a string, not {type_name(layout)}")
    return instant.format(layout)


# Method name → (how many arguments, what it does).
_TIME_METHODS: Final[Mapping[str, tuple[int, Callable[..., Any]]]] = {
    "Add": (1, _add),
    "Day": (0, lambda t: int(t.format("2"))),
    "Format": (1, _format),
    "Hour": (0, lambda t: int(t.format("15"))),
    "Minute": (0, lambda t: int(t.format("4"))),
    "Month": (0, lambda t: t.format("January")),
    "Second": (0, lambda t: int(t.format("5"))),
    "String": (0, str),
    "UTC": (0, lambda t: Instant(t.ns)),
    "Unix": (0, lambda t: t.ns // NS_PER_S),
    "UnixNano": (0, lambda t: t.ns),
    "UnixMilli": (0, lambda t: t.ns // 1_000_000),
    "Weekday": (0, lambda t: t.format("Monday")),
    "Year": (0, lambda t: int(t.format("2006"))),
    "YearDay": (0, lambda t: t.local.timetuple().tm_yday),
}
_SPAN_METHODS: Final[Mapping[str, tuple[int, Callable[..., Any]]]] = {
    "Hours": (0, lambda d: d.seconds / 3600),
    "Milliseconds": (0, lambda d: math.trunc(d.ns / 1_000_000)),
    "Minutes": (0, lambda d: d.seconds / 60),
    "Nanoseconds": (0, lambda d: d.ns),
    "Seconds": (0, lambda d: d.seconds),
    "String": (0, str),
}


def member(value: Any, name: str, arguments: list[Any]) -> Any:
    """`value.name`, with the arguments that follow it when it is a method."""
    methods = _methods(value)
    if name in methods:
        wanted, call = methods[name]
        if len(arguments) != wanted:
            raise ValueProblem(
                f"{name} wants {wanted} {'argument' if wanted == 1 else 'arguments'}, not {len(arguments)}"
            )
        return call(value, *arguments)
    if arguments:
        raise ValueProblem(f"{name} is not a method but has arguments")
    if isinstance(value, Struct) and name not in value:
        raise ValueProblem(f"there is no .{name} (there are .{', .'.join(value)})")
    if isinstance(value, Mapping):
        return value.get(name)
    if isinstance(value, Element) and name in ("Labels", "Value"):
        if name == "Labels":
            return value.labels
        return value.value if value.histogram is None else value.histogram
    if value is None:
        raise ValueProblem(f"there is no {name} in nothing (nil)")
    raise ValueProblem(f"there is no {name} in a {type_name(value)}")


def _methods(value: Any) -> Mapping[str, tuple[int, Callable[..., Any]]]:
    if isinstance(value, Instant):
        return _TIME_METHODS
    if isinstance(value, Span):
        return _SPAN_METHODS
    return value.METHODS if isinstance(value, Subject) else {}


def type_name(value: Any) -> str:
    """The name Go gives the type of a value."""
    names = (
        (bool, "bool"),
        (int, "int"),
        (float, "float64"),
        (str, "string"),
        (Labels | StringMap, "map[string]string"),
        (Struct, "struct"),
        (Mapping, "map[string]interface {}"),
        (list, "template.queryResult"),
        (Element, "*template.sample"),
        (Instant, "*time.Time"),
        (Span, "*time.Duration"),
        (NativeHistogram, "*histogram.FloatHistogram"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "nil")


def is_true(value: Any) -> bool:
    """Go templates' truth: false, zero, nil and whatever is empty are not; NaN is."""
    if isinstance(value, Element | Instant):
        return True
    if isinstance(value, Span):
        return value.ns != 0
    return bool(value)


def to_float(value: Any) -> float:
    """The number in a value, as Prometheus' functions read it: a number, a duration or a string that holds one."""
    if isinstance(value, Span):
        return value.seconds
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            if value != value.strip() or not value.isascii():
                raise ValueError
            return float(value)
        except ValueError:
            raise ValueProblem(f"{value[:50]!r} is not a number") from None
    raise ValueProblem(f"cannot make a number of a {type_name(value)}")
