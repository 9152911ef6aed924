"""Escalation: who else is told of a group that nobody takes on, and when; pure.

That a step was taken is not kept by itself: it is in what its destinations were told, which is written in the
transaction that tells them. So each is told once, and hears of the rest of the incident, its end too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field, field_validator

from obskit.model.context import Escalated
from obskit.model.settings import Duration, Settings
from obskit.routing.flush import Told


class Unless(StrEnum):
    """What keeps a step from being taken; that all is over does so too."""

    ACKED = "acked"
    RESOLVED = "resolved"


class EscalationSettings(Settings):
    """A step of a route's `escalate:`."""

    after: Duration = Field(gt=0, description="how long after the first message about the incident")
    unless: Unless = Field(
        Unless.ACKED, description="`acked`: not while somebody has taken it on; `resolved`: only not when it is over"
    )
    to: list[str] | str = Field(min_length=1, description="the receiver that is told then, or several")

    @field_validator("to")
    @classmethod
    def _named(cls, to: list[str] | str) -> list[str]:
        return [to] if isinstance(to, str) else to

    def step(self) -> Step:
        """As routing asks it."""
        return Step(self.after, self.unless, tuple(self.to))


@dataclass(frozen=True, slots=True)
class Step:
    """So long after the incident was first told, these receivers are told too."""

    after_ms: int
    unless: Unless
    to: tuple[str, ...]


Destinations = Mapping[str, Collection[str]]
"""The ids of each receiver's destinations."""


def first_told_ms(told: Iterable[Told | None]) -> int | None:
    """When the first of these was told of what fires; None when nobody was."""
    return min((each.since_ms for each in told if each is not None and each.firing), default=None)


def due(steps: Sequence[Step], since_ms: int | None, now_ms: int, *, acked: bool) -> list[Step]:
    """The steps whose time has come, whether they were taken already or not."""
    if since_ms is None:
        return []
    return [
        step for step in steps if since_ms + step.after_ms <= now_ms and not (acked and step.unless is Unless.ACKED)
    ]


def next_due_ms(steps: Sequence[Step], since_ms: int | None, now_ms: int) -> int | None:
    """When the next step's time comes."""
    if since_ms is None:
        return None
    return min((at for step in steps if (at := since_ms + step.after_ms) > now_ms), default=None)


def taken(steps: Iterable[Step], destinations: Destinations, told: Collection[str]) -> tuple[Escalated, ...]:
    """The steps all of whose destinations are told, for people."""
    reached = ((step, {each for name in step.to for each in destinations.get(name, ())}) for step in steps)
    return tuple(Escalated(", ".join(step.to), step.after_ms) for step, ids in reached if ids and ids.issubset(told))
