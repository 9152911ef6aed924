"""What the outbox says of itself: its metrics, and what a status page shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from obskit.model.actions import Outcome
from obskit.model.telemetry import REGISTRY, Counter, Gauge, Histogram
from obskit.outbox import rows
from obskit.outbox.rows import OutboxRow
from obskit.outbox.verdict import RowState
from obskit.store.database import Database

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600)

WAITING = Gauge(
    "obskit_outbox_waiting", "Actions that have not arrived yet.", labelnames=("destination",), registry=REGISTRY
)
OLDEST = Gauge(
    "obskit_outbox_oldest_age_seconds",
    "Age of the oldest action that has not arrived yet.",
    labelnames=("destination",),
    registry=REGISTRY,
)
DEAD = Gauge("obskit_outbox_dead", "Actions given up, until somebody retries or drops them.", registry=REGISTRY)
ATTEMPTS = Counter(
    "obskit_outbox_attempts",
    "Attempts to carry out an action, by what came of them.",
    labelnames=("destination", "result", "reason"),
    registry=REGISTRY,
)
LATENCY = Histogram(
    "obskit_outbox_delivery_seconds",
    "From the decision (of the newest content) to the receiver's yes.",
    buckets=_BUCKETS,
    registry=REGISTRY,
)


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """What waits, per destination: counts and age of the oldest in seconds; and how many are dead or in flight."""

    waiting: Mapping[str, int]
    oldest_age_s: Mapping[str, float]
    dead: int
    in_flight: int


def read_stats(database: Database, now_ms: int, *, in_flight: int = 0) -> OutboxStats:
    """Counts and ages as the store has them now."""
    waiting = database.read(rows.WAITING)
    ((dead,),) = database.read("SELECT COUNT(*) FROM outbox WHERE state = 'dead'")
    return OutboxStats(
        waiting={name: count for name, count, _ in waiting},
        oldest_age_s={name: max(0, now_ms - oldest) / 1000 for name, _, oldest in waiting},
        dead=dead,
        in_flight=in_flight,
    )


def read_rows(database: Database, state: RowState, *, limit: int = 1000) -> list[OutboxRow]:
    """The oldest actions in a state; also for a reader beside the daemon."""
    found = database.read(
        f"SELECT {rows.COLUMNS} FROM outbox WHERE state = ? ORDER BY id LIMIT ?",  # noqa: S608 - a constant
        (state.value, limit),
    )
    return [rows.read_row(row) for row in found]


def show(stats: OutboxStats, destinations: Iterable[str]) -> None:
    """Set the gauges; a destination for which nothing waits any more goes to zero."""
    for destination in destinations:
        WAITING.labels(destination).set(stats.waiting.get(destination, 0))
        OLDEST.labels(destination).set(stats.oldest_age_s.get(destination, 0.0))
    DEAD.set(stats.dead)


def count(destination: str, outcome: Outcome) -> None:
    """Count an attempt."""
    ATTEMPTS.labels(destination, outcome.status.value, outcome.reason.value).inc()
