"""Which destinations have taken nothing for a while though something waits for them; read from the rows.

So it holds across a restart, and a destination that takes some of what it gets is not one of them: then an action is at
fault, not the way there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from obskit.outbox.rows import BEHIND
from obskit.store.database import Transaction

OUTAGE_MS: Final = 120_000
"""So long a destination takes nothing before it counts as one that fails."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A destination that fails: since when something waits for it (Unix milliseconds), and what it says."""

    destination: str
    since_ms: int
    trouble: str


def outages(tx: Transaction, destinations: Iterable[str], now_ms: int) -> list[Outage]:
    """Those of `destinations` that fail."""
    return [found for each in destinations if (found := _outage(tx, each, now_ms)) is not None]


def _outage(tx: Transaction, destination: str, now_ms: int) -> Outage | None:
    waits = tx.execute(
        "SELECT created_ms, reason, detail FROM outbox WHERE state = 'waiting' AND destination = ? AND due_ms < ?"
        " AND attempts > 0 AND reason <> '' ORDER BY created_ms LIMIT 1",
        (destination, BEHIND),
    ).fetchone()
    if waits is None or now_ms - waits[0] < OUTAGE_MS:
        return None
    since_ms, reason, detail = waits
    answered = tx.execute(
        "SELECT 1 FROM outbox WHERE state = 'sent' AND destination = ? AND done_ms > ? LIMIT 1",
        (destination, now_ms - OUTAGE_MS),
    ).fetchone()
    return None if answered else Outage(destination, since_ms, detail or reason)


def waiting_lanes(tx: Transaction, destination: str) -> set[str]:
    """The lanes in which something waits for it."""
    found = tx.execute("SELECT DISTINCT lane FROM outbox WHERE state = 'waiting' AND destination = ?", (destination,))
    return {lane for (lane,) in found}
