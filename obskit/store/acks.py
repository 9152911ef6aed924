"""Who has taken an incident on: one durable row, noted by whoever hears of it first (an on-call service, a chat, a
command) and read by whatever shows it. What follows from it is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from obskit.store.database import Database, Transaction

KEPT_MS: Final = 30 * 86_400_000
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

    `CLOSED` is said by a person who ended the incident elsewhere; here it may fire on.
    """

    incident: str
    group_key: str
    state: AckState
    by: str
    where: str
    t_ms: int
    fingerprint: str = WHOLE


def note_ack(tx: Transaction, row: AckRow) -> bool:
    """Keep what was said, unless something later was said already; whether it changed anything.

    Services deliver twice, and late: the same saying again, or an older one, changes nothing.
    """
    tx.execute("DELETE FROM ack WHERE t_ms < ?", (row.t_ms - KEPT_MS,))
    done = tx.execute(
        "INSERT INTO ack (incident, fingerprint, group_key, state, by_whom, said_where, t_ms) VALUES (?,?,?,?,?,?,?)"
        " ON CONFLICT (incident, fingerprint) DO UPDATE SET state = excluded.state, by_whom = excluded.by_whom,"
        " said_where = excluded.said_where, t_ms = excluded.t_ms WHERE excluded.t_ms > ack.t_ms",
        (row.incident, row.fingerprint, row.group_key, row.state.value, row.by, row.where, row.t_ms),
    )
    return done.rowcount > 0


def read_acks(database: Database, incident: str) -> list[AckRow]:
    """What was last said of an incident (the row of the whole group first), and of single alerts of it."""
    found = database.read(
        "SELECT incident, group_key, state, by_whom, said_where, t_ms, fingerprint FROM ack WHERE incident = ?"
        " ORDER BY fingerprint",
        (incident,),
    )
    return [AckRow(one, group, AckState(state), *rest) for one, group, state, *rest in found]
