"""When a rule may fire: hours of some weekdays in a time zone, as `during:` says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import field_validator

from obskit.model.settings import Settings

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_STEP_MS: Final = 15 * 60_000


class DuringSettings(Settings):
    """`days` such as `mon-fri` or `sat, sun`; `hours` such as `09:00-17:30`; `zone` such as `Europe/Berlin`."""

    days: str = "mon-sun"
    hours: str = "00:00-24:00"
    zone: str = "UTC"

    @field_validator("days")
    @classmethod
    def _are_days(cls, text: str) -> str:
        days_of(text)
        return text

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, text: str) -> str:
        begin, end = hours_of(text)
        if begin >= end or end > 24 * 60:
            raise ValueError("hours end after they begin, at 24:00 at the latest: 09:00-17:30")
        return text

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, text: str) -> str:
        zone_of(text)
        return text


def days_of(text: str) -> frozenset[int]:
    """Weekdays, Monday is 0; ValueError for what is none."""
    found: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        first, _, last = part.partition("-")
        try:
            begin, end = _DAYS.index(first[:3]), _DAYS.index((last or first)[:3])
        except ValueError:
            raise ValueError(f"not a day or days: {part!r} (like mon-fri or sat,sun)") from None
        found |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
    return frozenset(found)


def hours_of(text: str) -> tuple[int, int]:
    """Minutes of the day."""
    match = _HOURS.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ValueError(f"not hours: {text!r} (like 09:00-17:30)")
    begin_h, begin_m, end_h, end_m = map(int, match.groups())
    return begin_h * 60 + begin_m, end_h * 60 + end_m


def zone_of(text: str) -> tzinfo:
    """A time zone by its name; ValueError when this machine does not know it."""
    if text == "UTC":
        return UTC
    try:
        return ZoneInfo(text)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError, and says nothing of use
        raise ValueError(f"not a time zone that is known here: {text!r}") from None
    except KeyError:
        raise ValueError(f"not a time zone that is known here: {text!r} (like Europe/Berlin)") from None


@dataclass(frozen=True, slots=True)
class ActiveHours:
    """The hours in which a rule may fire, once they have lasted for `lasting_ms`."""

    days: frozenset[int]
    minutes: tuple[int, int]
    zone: tzinfo
    lasting_ms: int = 0

    @classmethod
    def of(cls, settings: DuringSettings, lasting_ms: int) -> ActiveHours:
        """What a file says. A rule about silence needs its whole window to lie in the hours."""
        return cls(days_of(settings.days), hours_of(settings.hours), zone_of(settings.zone), lasting_ms)

    def cover(self, t_ms: int) -> bool:
        """Whether a rule may fire at a time (Unix milliseconds)."""
        times = [t_ms, t_ms - self.lasting_ms, *range(t_ms - self.lasting_ms, t_ms, _STEP_MS)]
        return all(self._holds(at_ms) for at_ms in times)

    def _holds(self, t_ms: int) -> bool:
        local = datetime.fromtimestamp(t_ms / 1000, self.zone)
        minute = local.hour * 60 + local.minute
        return local.weekday() in self.days and self.minutes[0] <= minute < self.minutes[1]
