"""Time intervals: whether a moment is inside the hours, days, months and years that a person wrote; pure.

Keys and meaning are Alertmanager's (timeinterval/): the fields of one interval must all hold, of each field one range
must. What a route makes of it (`mute_time_intervals`, `active_time_intervals`) is decided by `muted_by`.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any, Final

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from obskit.model.settings import Settings

MONTHS: Final = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_CLOCK: Final = re.compile(r"(?:([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00))")


@dataclass(frozen=True, slots=True)
class Range:
    """From `begin` to `end`, both included."""

    begin: int
    end: int

    def holds(self, value: int) -> bool:
        """Whether the value is in it."""
        return self.begin <= value <= self.end


@dataclass(frozen=True, slots=True)
class Interval:
    """One set of conditions. None is "any"; an empty list holds for nothing, as in Alertmanager.

    `times` are minutes of the day, `weekdays` count from 0 (Sunday), negative `days_of_month` from the month's end.
    `location` None is this machine's zone.
    """

    times: tuple[Range, ...] | None = None
    weekdays: tuple[Range, ...] | None = None
    days_of_month: tuple[Range, ...] | None = None
    months: tuple[Range, ...] | None = None
    years: tuple[Range, ...] | None = None
    location: tzinfo | None = UTC

    def contains(self, now_ms: int) -> bool:
        """Whether the moment (Unix milliseconds) is inside."""
        now = datetime.fromtimestamp(now_ms // 1000, UTC).astimezone(self.location)
        return (
            _any(self.times, now.hour * 60 + now.minute)
            and _any(self.days_of_month and _in_month(self.days_of_month, now), now.day)
            and _any(self.months, now.month)
            and _any(self.weekdays, now.isoweekday() % 7)
            and _any(self.years, now.year)
        )


def _any(ranges: Sequence[Range] | None, value: int) -> bool:
    return ranges is None or any(each.holds(value) for each in ranges)


def _in_month(ranges: Iterable[Range], now: datetime) -> list[Range]:
    """The ranges with the days that count from the end of this month turned round."""
    _, days = monthrange(now.year, now.month)
    return [Range(*(day if day > 0 else days + day + 1 for day in (each.begin, each.end))) for each in ranges]


Intervals = Mapping[str, Sequence[Interval]]
"""What each name stands for: one of its intervals must hold."""


def muted_by(mutes: Iterable[str], actives: Sequence[str], intervals: Intervals, now_ms: int) -> tuple[str, ...]:
    """The names that keep a route quiet now: those it is muted in, or, outside all it is active in, all of those."""

    def inside(name: str) -> bool:
        return any(each.contains(now_ms) for each in intervals.get(name, ()))

    if actives and not any(inside(name) for name in actives):
        return tuple(actives)
    return tuple(name for name in mutes if inside(name))


# What a person writes


def _range(text: Any, member: Callable[[str], int]) -> Range:
    """`begin:end` or one member alone."""
    if not isinstance(text, (str, int)):
        raise ValueError("must be text such as 1:5")
    parts = str(text).lower().split(":")
    if len(parts) > 2:
        raise ValueError(f"couldn't parse range {text}, invalid format")
    return Range(member(parts[0]), member(parts[-1]))


def _ascending(found: Range, text: Any) -> Range:
    if found.begin > found.end:
        raise ValueError(f"{text}: the end is before the start")
    return found


def _weekdays(text: Any) -> Range:
    return _ascending(_range(text, _weekday), text)


def _weekday(text: str) -> int:
    if text not in WEEKDAYS:
        raise ValueError(f"{text} is not a valid weekday")
    return WEEKDAYS.index(text)


def _months(text: Any) -> Range:
    return _ascending(_range(text, _month), text)


def _month(text: str) -> int:
    if text in MONTHS:
        return MONTHS.index(text) + 1
    if not text.isdigit() or not 1 <= int(text) <= len(MONTHS):
        raise ValueError(f"{text} is not a valid month")
    return int(text)


def _years(text: Any) -> Range:
    return _ascending(_range(text, _number), text)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text} is not a number") from None


def _days(text: Any) -> Range:
    found = _range(text, _day)
    if found.begin < 0 < found.end:
        raise ValueError("end day must be negative if start day is negative")
    # The shortest month has 28 days: what is the wrong way round there is so in no month right.
    begin, end = (day if day > 0 else 28 + day for day in (found.begin, found.end))
    if begin > end:
        raise ValueError(f"end day {found.end} is always before start day {found.begin}")
    return found


def _day(text: str) -> int:
    day = _number(text)
    if day == 0 or not -31 <= day <= 31:
        raise ValueError(f"{day} is not a valid day of the month: out of range")
    return day


def _minute(text: Any) -> int:
    match = _CLOCK.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text} is not a time of day such as 09:30 (24:00 is the day's end)")
    hour, minute = (int(part) for part in match.groups() if part is not None)
    return hour * 60 + minute


def _location(text: Any) -> tzinfo | None:
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - a config without places never needs the zones

    name = str(text)
    if name in ("", "UTC"):
        return UTC
    if name == "Local":
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"{name} is not a time zone such as Europe/Berlin") from None


def _text(read: Callable[[Any], Any], form: str) -> Any:
    """How pydantic reads a text of this form, which is also its name in the docs."""
    return PlainValidator(read), WithJsonSchema({"type": "string", "format": form})


MinuteText = Annotated[int, *_text(_minute, "time")]
WeekdaysText = Annotated[Range, *_text(_weekdays, "range")]
DaysText = Annotated[Range, *_text(_days, "range")]
MonthsText = Annotated[Range, *_text(_months, "range")]
YearsText = Annotated[Range, *_text(_years, "range")]
Location = Annotated[tzinfo | None, *_text(_location, "time zone")]


class TimesSettings(Settings):
    """Hours of the day."""

    start_time: MinuteText = Field(description="HH:MM, inside from this minute on")
    end_time: MinuteText = Field(description="HH:MM or 24:00, no longer inside from this minute on")

    @model_validator(mode="after")
    def _ordered(self) -> TimesSettings:
        if self.start_time >= self.end_time:
            raise ValueError("start time cannot be equal or greater than end time: write two ranges around midnight")
        return self


class IntervalSettings(Settings):
    """One interval of a name; every field that is given must hold."""

    times: list[TimesSettings] | None = Field(None, description="hours of the day")
    weekdays: list[WeekdaysText] | None = Field(None, description="such as `monday:friday` or `sunday`")
    days_of_month: list[DaysText] | None = Field(
        None, description="such as `1:5` or `-3:-1`, the last three days of each month"
    )
    months: list[MonthsText] | None = Field(None, description="such as `may:august` or `12`")
    years: list[YearsText] | None = Field(None, description="such as `2026:2027`")
    location: Location = Field(
        default_factory=lambda: UTC, description="a time zone such as Europe/Berlin, or `Local`, this machine's"
    )

    def interval(self) -> Interval:
        """As routing asks it."""
        times = None if self.times is None else tuple(Range(each.start_time, each.end_time - 1) for each in self.times)
        return Interval(
            times=times,
            weekdays=_tuple(self.weekdays),
            days_of_month=_tuple(self.days_of_month),
            months=_tuple(self.months),
            years=_tuple(self.years),
            location=self.location,
        )


def _tuple(ranges: list[Range] | None) -> tuple[Range, ...] | None:
    return None if ranges is None else tuple(ranges)


class TimeIntervalSettings(Settings):
    """An entry of `time_intervals:`, with Alertmanager's keys."""

    name: str = Field(min_length=1, description="what routes call it")
    time_intervals: list[IntervalSettings] = Field([], description="one of these must hold")


def build_intervals(settings: Iterable[TimeIntervalSettings]) -> dict[str, tuple[Interval, ...]]:
    """Each name with its intervals."""
    return {each.name: tuple(inner.interval() for inner in each.time_intervals) for each in settings}
