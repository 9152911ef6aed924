"""Budgets that destinations share: attempts of one name begin an interval apart, a few of them at once at most.

A generic cell rate algorithm: a name remembers when its next attempt would be due at an even pace, and how far ahead of
that it may run. Who waits is sender.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from obskit.outbox.rows import Delivery

_FORGOTTEN: Final = 1_000


def _unlimited(_: Delivery) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Budget:
    """Attempts of one `name` begin `interval_s` apart; `burst` of them may begin at once after a pause."""

    name: str
    interval_s: float
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Paces:
    """How fast each destination may be tried.

    `intervals` are the least seconds between two attempts at one (such a destination gets one attempt at a time);
    `budget` is what an attempt comes out of, if its destination shares that with others.
    """

    intervals: Mapping[str, float] = field(default_factory=dict)
    budget: Callable[[Delivery], Budget | None] = _unlimited


class Pacer:
    """What is left of each budget. Times are milliseconds of one clock."""

    def __init__(self) -> None:
        self._even_ms: dict[str, float] = {}

    def wait_ms(self, budget: Budget, now_ms: int) -> int:
        """How long until an attempt would be within the budget."""
        slack_ms = (budget.burst - 1) * budget.interval_s * 1000
        return max(0, round(self._even_ms.get(budget.name, 0.0) - slack_ms - now_ms))

    def spend(self, budget: Budget, now_ms: int) -> int:
        """Take the next place; milliseconds until it is there."""
        wait_ms = self.wait_ms(budget, now_ms)
        if len(self._even_ms) > _FORGOTTEN:
            self._even_ms = {name: even_ms for name, even_ms in self._even_ms.items() if even_ms > now_ms}
        self._even_ms[budget.name] = max(self._even_ms.get(budget.name, 0.0), now_ms) + budget.interval_s * 1000
        return wait_ms
