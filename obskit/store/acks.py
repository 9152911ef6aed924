"""Who has taken an incident on: one durable row, noted by whoever hears of it first (an on-call service, a chat, a
command) and read by whatever shows it. What follows from it is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from obskit.store.database import Database, Transaction

KEPT_MS: Final = 30 * 86_400_000
_OF_INCIDENT: Final = (
    "SELECT incident, group_key, state, by_whom, said_where, t_ms, fingerprint, note, rank FROM ack WHERE incident = ?"
    " ORDER BY fingerprint"
)
WHOLE: Final = ""
"""The `fingerprint` of a row that is about the whole group, not one alert of it."""


class AckState(StrEnum):
    """What was last said of it."""

    ACKED = "acked"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class AckRow:
    """One saying: of which incident (and alert), who said it (empty: nobody in person), where, when (Unix milliseconds).

    `CLOSED` is said by a person who ended the incident elsewhere; here it may fire on. `rank` is how bad it was when it
    was acked, 0 until somebody has looked.
    """

    incident: str
    group_key: str
    state: AckState
    by: str
    where: str
    t_ms: int
    fingerprint: str = WHOLE
    note: str = ""
    rank: int = 0


def note_ack(tx: Transaction, row: AckRow) -> bool:
    """Keep what was said, unless something later was said already; whether it changed anything.

    Services deliver twice, and late: the same saying again, or an older one, changes nothing.
    """
    tx.execute("DELETE FROM ack WHERE t_ms < ?", (row.t_ms - KEPT_MS,))
    done = tx.execute(
        "INSERT INTO ack (incident, fingerprint, group_key, state, by_whom, said_where, t_ms, note, rank)"
        " VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (incident, fingerprint) DO UPDATE SET state = excluded.state,"
        " by_whom = excluded.by_whom, said_where = excluded.said_where, t_ms = excluded.t_ms, note = excluded.note,"
        " rank = excluded.rank WHERE excluded.t_ms > ack.t_ms",
        (
            row.incident,
            row.fingerprint,
            row.group_key,
            row.state.value,
            row.by,
            row.where,
            row.t_ms,
            row.note,
            row.rank,
        ),
    )
    return done.rowcount > 0


def note_rank(tx: Transaction, row: AckRow, rank: int) -> None:
    """How bad the incident is as the ack is first seen: what is worse later is not what was acked."""
    tx.execute("UPDATE ack SET rank = ? WHERE incident = ? AND fingerprint = ?", (rank, row.incident, row.fingerprint))


def read_acks(database: Database, incident: str) -> list[AckRow]:
    """What was last said of an incident (the row of the whole group first), and of single alerts of it."""
    return _rows(database.read(_OF_INCIDENT, (incident,)))


def load_acks(tx: Transaction, incident: str) -> list[AckRow]:
    """The same, inside a transaction."""
    return _rows(tx.execute(_OF_INCIDENT, (incident,)))


def _rows(found: Iterable[tuple[Any, ...]]) -> list[AckRow]:
    return [AckRow(one, group, AckState(state), *rest) for one, group, state, *rest in found]
