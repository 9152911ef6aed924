"""When what still fires is told again: after `repeat_interval`, if a route says so after longer and longer; pure.

acked                                never
the worst of it is critical          after repeat_interval, as Alertmanager does
else, told again n times already     after repeat_interval * repeat_growth^n, at most max_repeat_interval
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LONGEST_MS: Final = 7 * 86_400_000
"""What grows without a limit of its own ends here."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How the interval grows with each repeat: `factor` 1 is not at all."""

    factor: float = 1.0
    longest_ms: int | None = None


NO_GROWTH: Final = Growth()


def interval_ms(base_ms: int | None, growth: Growth, repeats: int, *, critical: bool, acked: bool) -> int | None:
    """How long after it was last told the group is told again; None for never."""
    if base_ms is None or acked:
        return None
    if critical or growth.factor == 1:
        return base_ms
    longest_ms = max(base_ms, LONGEST_MS if growth.longest_ms is None else growth.longest_ms)
    # Bounded before the power is: a group that repeats for a year must not make a number that is none.
    grown = base_ms
    for _ in range(repeats):
        if grown >= longest_ms:
            break
        grown = round(grown * growth.factor)
    return min(grown, longest_ms)
