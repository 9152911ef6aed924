"""Issues: what became of a group of errors. A state machine; pure, the time is given.

    state      seen again                                           asked to
    open       open                                                 resolve → resolved, mute → muted
    resolved   in a release after that it was resolved in,          open → open, mute → muted
               or of none: → regressed; else resolved
    regressed  regressed                                            resolve → resolved, mute → muted
    muted      after its time → open; else muted                    resolve → resolved, open → open

What a person or a rule should know of is an Event: new, regressed, unmuted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

HOUR_MS: Final = 3_600_000
MAX_HOURS: Final = 24 * 14
MAX_SAMPLES: Final = 5
MAX_SAMPLE: Final = 4_096
FOREVER: Final = 2**62


class State(StrEnum):
    """Where an issue stands."""

    OPEN = "open"
    RESOLVED = "resolved"
    REGRESSED = "regressed"
    MUTED = "muted"


class Event(StrEnum):
    """What happened to an issue."""

    NEW = "new"
    REGRESSED = "regressed"
    UNMUTED = "unmuted"


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the lines of an issue. `number` is which of them it was."""

    number: int
    t_ns: int
    stream: Mapping[str, str]
    line: str


@dataclass(slots=True)
class Issue:
    """Errors of one program that are the same. Times in Unix milliseconds; `hours` counts lines by hour."""

    id: str
    app: str
    kind: str
    """`exception` or `message`."""
    fingerprint: str
    title: str
    culprit: str = ""
    level: str = "error"
    state: State = State.OPEN
    count: int = 0
    first_ms: int = FOREVER
    last_ms: int = 0
    first_release: str = ""
    last_release: str = ""
    changed_ms: int = 0
    resolved_release: str = ""
    muted_until_ms: int = 0
    untold: str = ""
    """The event that was saved and may not have been told yet."""
    hours: dict[int, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def see(self, sample: Sample, release: str, *, is_later_release: bool, now_ms: int) -> Event | None:
        """One line more. `is_later_release`: its release was first seen after the issue was resolved."""
        t_ms = sample.t_ns // 1_000_000
        event = Event.NEW if self.count == 0 else self._wake(t_ms, release, is_later_release, now_ms)
        self.count += 1
        hour = t_ms // HOUR_MS
        self.hours[hour] = self.hours.get(hour, 0) + 1
        if len(self.hours) > MAX_HOURS:
            del self.hours[min(self.hours)]
        if t_ms < self.first_ms:
            self.first_ms, self.first_release = t_ms, release or self.first_release
        if t_ms >= self.last_ms:
            self.last_ms, self.last_release = t_ms, release or self.last_release
        self._keep(sample)
        return event

    def count_since(self, since_ms: int) -> int:
        """The lines of the hour that `since_ms` is in, and after it."""
        return sum(count for hour, count in self.hours.items() if hour >= since_ms // HOUR_MS)

    def _wake(self, t_ms: int, release: str, is_later_release: bool, now_ms: int) -> Event | None:
        if self.state is State.RESOLVED and t_ms > self.changed_ms:
            if not release or not self.resolved_release or (is_later_release and release != self.resolved_release):
                self.state, self.changed_ms = State.REGRESSED, now_ms
                return Event.REGRESSED
        elif self.state is State.MUTED and t_ms >= self.muted_until_ms:
            self.state, self.changed_ms = State.OPEN, now_ms
            return Event.UNMUTED
        return None

    def _keep(self, sample: Sample) -> None:
        """The first, the last, and of those between the ones whose numbers are powers of ten."""
        if self.samples and not _is_power_of_ten(self.samples[-1].number):
            self.samples.pop()
        elif len(self.samples) >= MAX_SAMPLES:
            del self.samples[1]
        self.samples.append(sample)

    def resolve(self, now_ms: int) -> None:
        """Done, as of the release it was last seen in."""
        self.state, self.changed_ms, self.resolved_release = State.RESOLVED, now_ms, self.last_release

    def mute(self, now_ms: int, until_ms: int) -> None:
        """Not to be told of until then."""
        self.state, self.changed_ms, self.muted_until_ms = State.MUTED, now_ms, until_ms

    def reopen(self, now_ms: int) -> None:
        """As if it had not been resolved or muted."""
        self.state, self.changed_ms = State.OPEN, now_ms

    def absorb(self, other: Issue) -> None:
        """Lines of another turned out to be of this one: their templates were merged."""
        self.count += other.count
        for hour, count in other.hours.items():
            self.hours[hour] = self.hours.get(hour, 0) + count
        for hour in sorted(self.hours)[:-MAX_HOURS]:
            del self.hours[hour]
        if other.first_ms < self.first_ms:
            self.first_ms, self.first_release = other.first_ms, other.first_release
        if other.last_ms > self.last_ms:
            self.last_ms, self.last_release = other.last_ms, other.last_release
        ordered = sorted([*self.samples, *other.samples], key=lambda sample: sample.t_ns)
        self.samples = [*ordered[: MAX_SAMPLES - 1], ordered[-1]] if len(ordered) > MAX_SAMPLES else ordered


def _is_power_of_ten(number: int) -> bool:
    return str(number).strip("0") == "1"
