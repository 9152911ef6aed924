"""Times as Go has them: nanoseconds with a zone, written and read by layouts (`Mon Jan 2 15:04:05 MST 2006`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final

from obskit.gotemplate.problems import ValueProblem

NS_PER_S: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_PADDING: Final = 64

_TOKEN: Final = re.compile(
    r"January|Jan|Monday|Mon|MST|2006|002|01|02|03|04|05|06|15|__2|_2(?!006)|PM|pm"
    r"|[Z-]07(?::00:00|:00|0000|00)?|[.,]0+(?![0-9])|[.,]9+(?![0-9])|1|2|3|4|5"
)
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Instant:
    """A time in nanoseconds since the epoch, seen in a zone (Go's time.Time)."""

    ns: int
    zone: str = "UTC"

    @property
    def local(self) -> datetime:
        """The time in its zone, down to the microsecond."""
        try:
            return (
                (_EPOCH + timedelta(seconds=self.ns // NS_PER_S))
                .astimezone(zone_named(self.zone))
                .replace(microsecond=self.ns % NS_PER_S // 1000)
            )
        except OverflowError:
            raise ValueProblem(f"the time {self.ns / NS_PER_S:g} is outside the years 1 to 9999") from None

    def format(self, layout: str) -> str:
        """The time in a layout."""
        local, fraction = self.local, self.ns % NS_PER_S
        return _TOKEN.sub(lambda token: _written(token[0], local, fraction), layout)

    def __str__(self) -> str:
        return self.format("2006-01-02 15:04:05.999999999 -0700 MST")


def parse_time(layout: str, text: str, zone: str = "UTC") -> Instant:
    """The time that a text says in a layout; in `zone` where it names none. ValueProblem when it is none."""
    form, tokens = _form(layout)
    match = form.fullmatch(text)
    if match is None:
        raise ValueProblem(f"{text[:100]!r} is not a time like {layout[:100]!r}")
    parts = _Parts()
    for token, part in zip(tokens, match.groups(), strict=True):
        _READ[token](parts, part)
    return parts.instant(zone)


@lru_cache(maxsize=64)
def zone_named(name: str) -> tzinfo:
    """A time zone of the IANA database; `Local` is UTC, as in a container. ValueProblem when there is none."""
    if name in ("", "UTC", "Local"):
        return UTC
    if match := re.fullmatch(r"([+-])(\d\d):?(\d\d)", name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - few templates name a zone

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueProblem(f"unknown time zone {name[:60]}") from None


def _written(token: str, time: datetime, fraction: int) -> str:
    if token[0] in ".,":
        digits = f"{fraction:09d}"[: len(token) - 1].ljust(len(token) - 1, "0")
        if token[1] == "9":
            digits = digits.rstrip("0")
        return token[0] + digits if digits else ""
    if token[0] in "Z-":
        return _offset(token, time)
    return _WRITE[token](time)


def _offset(token: str, time: datetime) -> str:
    """`Z07:00`, `-0700` and their like: `Z` for UTC where the layout has one."""
    seconds = int((time.utcoffset() or timedelta()).total_seconds())
    if token[0] == "Z" and not seconds:
        return "Z"
    minutes, rest = divmod(abs(seconds), 60)
    colon = ":" if ":" in token else ""
    parts = [f"{minutes // 60:02d}", f"{minutes % 60:02d}", f"{rest:02d}"]
    return ("-" if seconds < 0 else "+") + colon.join(parts[: (len(token.replace(":", "")) - 1) // 2])


_WRITE: Final[Mapping[str, Callable[[datetime], str]]] = {
    "January": lambda t: _MONTHS[t.month - 1],
    "Jan": lambda t: _MONTHS[t.month - 1][:3],
    "1": lambda t: str(t.month),
    "01": lambda t: f"{t.month:02d}",
    "Monday": lambda t: _DAYS[t.weekday()],
    "Mon": lambda t: _DAYS[t.weekday()][:3],
    "2": lambda t: str(t.day),
    "02": lambda t: f"{t.day:02d}",
    "_2": lambda t: f"{t.day:2d}",
    "002": lambda t: f"{t.timetuple().tm_yday:03d}",
    "__2": lambda t: f"{t.timetuple().tm_yday:3d}",
    "15": lambda t: f"{t.hour:02d}",
    "3": lambda t: str((t.hour + 11) % 12 + 1),
    "03": lambda t: f"{(t.hour + 11) % 12 + 1:02d}",
    "4": lambda t: str(t.minute),
    "04": lambda t: f"{t.minute:02d}",
    "5": lambda t: str(t.second),
    "05": lambda t: f"{t.second:02d}",
    "2006": lambda t: f"{t.year:04d}",
    "06": lambda t: f"{t.year % 100:02d}",
    "PM": lambda t: "PM" if t.hour >= 12 else "AM",
    "pm": lambda t: "pm" if t.hour >= 12 else "am",
    "MST": lambda t: t.tzname() or "UTC",
}


@dataclass(slots=True)
class _Parts:
    """What was read of a time so far."""

    year: int = 0
    month: int = 1
    day: int = 1
    hour: int = 0
    minute: int = 0
    second: int = 0
    fraction: int = 0
    afternoon: bool | None = None
    offset: str = ""

    def instant(self, zone: str) -> Instant:
        hour = self.hour
        if self.afternoon is not None:
            hour = hour % 12 + 12 * self.afternoon
        zone = self.offset or zone
        try:
            time = datetime(self.year, self.month, self.day, hour, self.minute, self.second, tzinfo=zone_named(zone))
            seconds = (time - _EPOCH) // timedelta(seconds=1)
        except (ValueError, OverflowError) as error:
            raise ValueProblem(f"not a time: {error}") from None
        return Instant(seconds * NS_PER_S + self.fraction, zone)


def _set(name: str) -> Callable[[_Parts, str], None]:
    return lambda parts, text: setattr(parts, name, int(text))


def _month(parts: _Parts, text: str) -> None:
    parts.month = next(at for at, month in enumerate(_MONTHS, 1) if month[:3].lower() == text[:3].lower())


def _short_year(parts: _Parts, text: str) -> None:
    parts.year = int(text) + (1900 if int(text) >= 69 else 2000)


def _fraction(parts: _Parts, text: str) -> None:
    parts.fraction = int((text[1:] + "000000000")[:9]) if len(text) > 1 else 0


def _half(parts: _Parts, text: str) -> None:
    parts.afternoon = text.lower() == "pm"


def _zone(parts: _Parts, text: str) -> None:
    if text in ("Z", "UTC"):
        parts.offset = "UTC"
    elif text[0] in "+-":
        digits = text.replace(":", "").ljust(5, "0")
        parts.offset = f"{digits[:3]}:{digits[3:5]}"


def _ignore(_parts: _Parts, _text: str) -> None:
    """A weekday, a day of the year or a zone's abbreviation says nothing that is not said elsewhere."""


_DIGITS: Final = r"(\d{1,2})"
_READ_FORMS: Final[Mapping[str, tuple[str, Callable[[_Parts, str], None]]]] = {
    "January": (f"(?i:({'|'.join(_MONTHS)}))", _month),
    "Jan": (f"(?i:({'|'.join(month[:3] for month in _MONTHS)}))", _month),
    "Monday": (f"(?i:({'|'.join(_DAYS)}))", _ignore),
    "Mon": (f"(?i:({'|'.join(day[:3] for day in _DAYS)}))", _ignore),
    "2006": (r"(\d{4})", _set("year")),
    "06": (r"(\d{2})", _short_year),
    "1": (_DIGITS, _set("month")),
    "01": (r"(\d{2})", _set("month")),
    "2": (_DIGITS, _set("day")),
    "02": (r"(\d{2})", _set("day")),
    "_2": (r" ?(\d{1,2})", _set("day")),
    "002": (r"(\d{3})", _ignore),
    "__2": (r" {0,2}(\d{1,3})", _ignore),
    "15": (r"(\d{1,2})", _set("hour")),
    "3": (_DIGITS, _set("hour")),
    "03": (r"(\d{2})", _set("hour")),
    "4": (_DIGITS, _set("minute")),
    "04": (r"(\d{2})", _set("minute")),
    "5": (_DIGITS, _set("second")),
    "05": (r"(\d{2})", _set("second")),
    "PM": (r"([AP]M)", _half),
    "pm": (r"([ap]m)", _half),
    "MST": (r"([A-Z]{3,5}|[+-]\d{2,4})", _zone),
}
_READ: Final[dict[str, Callable[[_Parts, str], None]]] = {
    **{token: read for token, (_, read) in _READ_FORMS.items()},
    ".": _fraction,
    "Z": _zone,
}


@lru_cache(maxsize=256)
def _form(layout: str) -> tuple[re.Pattern[str], list[str]]:
    """The pattern of a layout's times and what its groups hold. A fraction may follow the seconds unasked, as in Go."""
    if len(layout) > _MAX_PADDING * 4:
        raise ValueProblem("the layout is too long")
    pattern, tokens, at = "", [], 0
    for match in _TOKEN.finditer(layout):
        pattern += re.escape(layout[at : match.start()])
        token, at = match[0], match.end()
        if token[0] in ".,":
            pattern += rf"([.,]\d{{{len(token) - 1}}})" if token[1] == "0" else r"((?:[.,]\d*)?)"
            tokens.append(".")
        elif token[0] in "Z-":
            colon = ":" if ":" in token else ""
            count = (len(token.replace(":", "")) - 1) // 2
            digits = colon.join([r"\d\d"] * count)
            pattern += rf"(Z|[+-]{digits})" if token[0] == "Z" else rf"([+-]{digits})"
            tokens.append("Z")
        else:
            pattern += _READ_FORMS[token][0]
            tokens.append(token)
            if token in ("05", "5") and not re.match(r"[.,][09]", layout[at:]):
                pattern += r"((?:[.,]\d+)?)"
                tokens.append(".")
    return re.compile(pattern + re.escape(layout[at:]), re.ASCII), tokens
