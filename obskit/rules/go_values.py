"""The values Go templates know, as Python objects: what they are called, when they are true, what they can be asked.

bool, int, float and str stand for themselves, None for nil, Labels for a map of strings, dict for any other map,
list for a slice; a time and a duration are the two types here. How values print is go_format's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.model.results import Element

NS_PER_S: Final = 1_000_000_000
MAX_INT64: Final = (1 << 63) - 1

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SMALL_UNITS: Final = (("s", NS_PER_S), ("ms", 1_000_000), ("µs", 1_000), ("ns", 1))

# The parts of Go's reference time, longest first, and what strftime calls them (or how we print them).
_LAYOUT: Final[tuple[tuple[str, Callable[[datetime], str]], ...]] = (
    ("January", lambda t: t.strftime("%B")),
    ("Monday", lambda t: t.strftime("%A")),
    ("-07:00", lambda _: "+00:00"),
    ("Z07:00", lambda _: "Z"),
    ("-0700", lambda _: "+0000"),
    ("2006", lambda t: f"{t.year:04d}"),
    (".000", lambda t: f".{t.microsecond // 1000:03d}"),
    ("Jan", lambda t: t.strftime("%b")),
    ("Mon", lambda t: t.strftime("%a")),
    ("MST", lambda _: "UTC"),
    ("01", lambda t: f"{t.month:02d}"),
    ("02", lambda t: f"{t.day:02d}"),
    ("03", lambda t: f"{(t.hour + 11) % 12 + 1:02d}"),
    ("04", lambda t: f"{t.minute:02d}"),
    ("05", lambda t: f"{t.second:02d}"),
    ("06", lambda t: f"{t.year % 100:02d}"),
    ("15", lambda t: f"{t.hour:02d}"),
    ("PM", lambda t: "PM" if t.hour >= 12 else "AM"),
    ("_2", lambda t: f"{t.day:2d}"),
    ("1", lambda t: str(t.month)),
    ("2", lambda t: str(t.day)),
    ("3", lambda t: str((t.hour + 11) % 12 + 1)),
    ("4", lambda t: str(t.minute)),
    ("5", lambda t: str(t.second)),
)


class ValueProblem(Exception):  # noqa: N818 - not an error of ours yet: the evaluator turns it into a TemplateError
    """A value cannot be used this way. The message is for the person who wrote the template."""


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


@dataclass(frozen=True, slots=True)
class Instant:
    """A time in milliseconds since the epoch, always UTC (Go's time.Time as Prometheus makes it)."""

    ms: int

    @property
    def _time(self) -> datetime:
        try:
            return _EPOCH + timedelta(milliseconds=self.ms)
        except OverflowError:
            raise ValueProblem(f"the time {self.ms / 1000:g} is outside the years 1 to 9999") from None

    def format(self, layout: str) -> str:
        """The time in a layout written with Go's reference time, `Mon Jan 2 15:04:05 MST 2006`."""
        time, parts, at = self._time, [], 0
        while at < len(layout):
            for token, render in _LAYOUT:
                if layout.startswith(token, at):
                    parts.append(render(time))
                    at += len(token)
                    break
            else:
                parts.append(layout[at])
                at += 1
        return "".join(parts)

    def __str__(self) -> str:
        part = f".{self.ms % 1000:03d}".rstrip("0").rstrip(".")
        return self.format("2006-01-02 15:04:05") + part + " +0000 UTC"

    @property
    def weekday(self) -> str:
        """The English name of the day."""
        return self._time.strftime("%A")

    @property
    def year_day(self) -> int:
        """The day of the year, from 1."""
        return self._time.timetuple().tm_yday


class Struct(dict[str, Any]):
    """Named fields. Other than in a map, a field that is not there is an error."""


def _add(instant: Instant, span: Any) -> Instant:
    if not isinstance(span, Span):
        raise ValueProblem(f"Add wants a duration, not {type_name(span)}")
    return Instant(instant.ms + span.ns // 1_000_000)


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
    "UTC": (0, lambda t: t),
    "Unix": (0, lambda t: t.ms // 1000),
    "UnixMilli": (0, lambda t: t.ms),
    "Weekday": (0, lambda t: t.weekday),
    "Year": (0, lambda t: int(t.format("2006"))),
    "YearDay": (0, lambda t: t.year_day),
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
    methods = _TIME_METHODS if isinstance(value, Instant) else _SPAN_METHODS if isinstance(value, Span) else {}
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


def type_name(value: Any) -> str:
    """The name Go gives the type of a value."""
    names = (
        (bool, "bool"),
        (int, "int"),
        (float, "float64"),
        (str, "string"),
        (Labels, "map[string]string"),
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
