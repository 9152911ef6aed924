"""The outbox's rows: every change of their state is a function here, run inside a transaction of the database.

What keeps order: of the waiting rows of one destination and lane only the oldest, its head, has a time at which it is
due; the others are BEHIND it. Whatever ends a head (sent, dead, dropped) makes the next one due in the same
transaction. So "due" alone finds what may be tried, however long the queues are. What is due at once is due at the
negative of its priority: so the index has it in the order in which it goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from obskit.model.actions import Action, Outcome, OutcomeStatus
from obskit.outbox.verdict import AMBIGUOUS, LONGEST_BACKOFF_MS, OUT_OF_REACH, Limits, RowState, Verdict
from obskit.store.database import Transaction

AT_ONCE: Final = 0
"""The latest time that means "now"; see above."""
BEHIND: Final = 1 << 62
PRUNE_PAGE: Final = 1_000

_ACTION: Final = "kind, destination, lane, payload, step, coalesce, handle_key, priority, hold_ms"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt, as a handler gets it.

    `id` is the action's for its whole life, so a receiver that knows idempotency keys can tell a repeated attempt.
    `handle` is what the destination last returned for the action's `handle_key`; `attempt` counts from 1. It is
    `doubtful` when an attempt before this one may have arrived all the same: its answer, or the process, was lost.
    """

    id: int
    action: Action
    attempt: int
    handle: Mapping[str, str] | None = None
    degraded: bool = False
    renewed_ms: int = 0
    created_ms: int = 0
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An action and where it stands, for people. `due_ms` is None behind another row of its lane."""

    id: int
    action: Action
    state: RowState
    created_ms: int
    due_ms: int | None
    attempts: int
    in_flight: bool
    reason: str
    detail: str
    done_ms: int | None


def put(tx: Transaction, action: Action, now_ms: int) -> int:
    """Add an action inside the caller's transaction; its row's id. Call Outbox.wake after the COMMIT.

    With `coalesce`, a waiting action of the same destination, lane and key that is not in flight takes the new content
    and keeps its place, its attempts and its back-off: newer content is no reason to knock sooner.
    """
    if action.coalesce is not None:
        replaced = _replace(tx, action, now_ms)
        if replaced is not None:
            return replaced
    behind = _lane_waits(tx, action.destination, action.lane)
    cursor = tx.execute(
        f"INSERT INTO outbox ({_ACTION}, created_ms, renewed_ms, due_ms) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608 - a constant
        (*_values(action), now_ms, now_ms, BEHIND if behind else _held_until(tx, action, now_ms)),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _held_until(tx: Transaction, action: Action, now_ms: int) -> int:
    """When a new head of its lane is due."""
    if not action.hold_ms or action.handle_key is None:
        return -action.priority
    used = tx.execute(
        "SELECT updated_ms FROM handle WHERE destination = ? AND key = ?", (action.destination, action.handle_key)
    ).fetchone()
    # Used in the future: by a wall clock that has been set back since.
    if used is None or not 0 <= now_ms - used[0] < action.hold_ms:
        return -action.priority
    return int(used[0]) + action.hold_ms


def _replace(tx: Transaction, action: Action, now_ms: int) -> int | None:
    found = tx.execute(
        "SELECT id FROM outbox WHERE state = 'waiting' AND destination = ? AND lane = ? AND coalesce = ?"
        " AND leased_until_ms = 0 ORDER BY id DESC LIMIT 1",
        (action.destination, action.lane, action.coalesce),
    ).fetchone()
    if found is None:
        return None
    tx.execute(
        "UPDATE outbox SET kind = :kind, payload = :payload, step = :step, handle_key = :handle_key, renewed_ms = :now_ms,"
        " degraded = 0,"
        " priority = MAX(priority, :priority), hold_ms = MIN(hold_ms, :hold_ms), due_ms = CASE"
        " WHEN due_ms <= 0 THEN MIN(due_ms, -:priority)"
        # Held back, and not for a failure: what cannot wait goes now.
        " WHEN attempts = 0 AND due_ms < :behind AND :hold_ms = 0 THEN -MAX(priority, :priority) ELSE due_ms END"
        " WHERE id = :id",
        {
            "kind": action.kind,
            "payload": action.payload,
            "step": action.step,
            "handle_key": action.handle_key,
            "now_ms": now_ms,
            "priority": action.priority,
            "hold_ms": action.hold_ms,
            "behind": BEHIND,
            "id": found[0],
        },
    )
    return int(found[0])


QUEUES: Final = """
    WITH RECURSIVE name (destination) AS (
        SELECT MIN(destination) FROM outbox WHERE state = 'waiting'
        UNION ALL
        SELECT (SELECT MIN(destination) FROM outbox WHERE state = 'waiting' AND destination > name.destination)
        FROM name WHERE name.destination IS NOT NULL)
    SELECT destination, (
        SELECT MIN(due_ms) FROM outbox WHERE state = 'waiting' AND outbox.destination = name.destination)
    FROM name WHERE destination IS NOT NULL
"""
"""(destination, earliest due) of every destination with waiting rows: a few index steps each, however many rows."""

WAITING: Final = "SELECT destination, COUNT(*), MIN(created_ms) FROM outbox WHERE state = 'waiting' GROUP BY 1"

PAUSED: Final = """
    SELECT destination, MAX(due_ms) FROM outbox
    WHERE state = 'waiting' AND reason = 'rate_limited' AND due_ms > ? AND due_ms < ? GROUP BY 1
"""


def recover(tx: Transaction, now_ms: int) -> None:
    """Put right what a process that died left: its leases are void, for there is one writer and it is gone."""
    tx.execute(
        "UPDATE outbox SET leased_until_ms = 0, due_ms = -priority WHERE state = 'waiting' AND leased_until_ms > 0"
    )
    bring_near(tx, now_ms)


def bring_near(tx: Transaction, now_ms: int) -> None:
    """A due time further away than any back-off was written by a wall clock that has been set back since."""
    latest = now_ms + LONGEST_BACKOFF_MS
    tx.execute(
        "UPDATE outbox SET due_ms = ? WHERE state = 'waiting' AND due_ms > ? AND due_ms < ? AND reason <> 'rate_limited'",
        (latest, latest, BEHIND),
    )


def take(tx: Transaction, slots: Mapping[str, int], now_ms: int, until_ms: int) -> list[Delivery]:
    """Lease up to so many due rows of each destination, oldest first: from here on a crash means a second attempt."""
    taken = []
    for destination, count in slots.items():
        # A back-off that is over becomes AT_ONCE: then the index has old and new rows in one order, that of their ids.
        tx.execute(
            "UPDATE outbox SET due_ms = -priority WHERE state = 'waiting' AND destination = ? AND due_ms > ? AND due_ms <= ?"
            " AND leased_until_ms = 0",
            (destination, AT_ONCE, now_ms),
        )
        rows = tx.execute(
            f"SELECT id, attempts, degraded, renewed_ms, created_ms, doubtful, {_ACTION} FROM outbox"  # noqa: S608 - a constant
            " WHERE state = 'waiting' AND destination = ? AND due_ms <= ? ORDER BY due_ms, id LIMIT ?",
            (destination, AT_ONCE, count),
        ).fetchall()
        taken += [_lease(tx, row, until_ms) for row in rows]
    return taken


def _lease(tx: Transaction, row: tuple[Any, ...], until_ms: int) -> Delivery:
    number, attempts, degraded, renewed_ms, created_ms, doubtful, *fields = row
    # Doubtful until its answer is known: a process that dies now leaves the doubt behind.
    tx.execute(
        "UPDATE outbox SET leased_until_ms = ?, due_ms = ?, attempts = attempts + 1, doubtful = 1 WHERE id = ?",
        (until_ms, until_ms, number),
    )
    action = Action(*fields)
    return Delivery(
        id=number,
        action=action,
        attempt=attempts + 1,
        handle=_handle(tx, action),
        degraded=bool(degraded),
        renewed_ms=renewed_ms,
        created_ms=created_ms,
        doubtful=bool(doubtful),
    )


def _handle(tx: Transaction, action: Action) -> Mapping[str, str] | None:
    if action.handle_key is None:
        return None
    found = tx.execute(
        "SELECT value FROM handle WHERE destination = ? AND key = ?", (action.destination, action.handle_key)
    ).fetchone()
    return json.loads(found[0]) if found else None


def settle(
    tx: Transaction, delivery: Delivery, outcome: Outcome, verdict: Verdict, *, now_ms: int, due_ms: int
) -> None:
    """Record how an attempt ended: the row, the handle and the lane's next row, together or not at all.

    `now_ms` is wall time (a receipt), `due_ms` steady time (a deadline).
    """
    _keep_handle(tx, delivery.action, outcome, verdict, now_ms)
    if verdict.state is RowState.WAITING:
        # Lost with its handle: what may have arrived is not what is looked for.
        doubtful = not verdict.forget_handle and (delivery.doubtful or outcome.reason in AMBIGUOUS)
        tx.execute(
            "UPDATE outbox SET leased_until_ms = 0, due_ms = ?, degraded = ?, reason = ?, detail = ?, doubtful = ?"
            " WHERE id = ?",
            (
                due_ms if due_ms > AT_ONCE else -delivery.action.priority,
                verdict.degraded,
                outcome.reason.value,
                outcome.detail,
                doubtful,
                delivery.id,
            ),
        )
        return
    tx.execute(
        "UPDATE outbox SET state = ?, leased_until_ms = 0, degraded = ?, reason = ?, detail = ?, done_ms = ?"
        " WHERE id = ?",
        (verdict.state.value, delivery.degraded, outcome.reason.value, outcome.detail, now_ms, delivery.id),
    )
    _advance(tx, delivery.action.destination, delivery.action.lane, now_ms)


def _keep_handle(tx: Transaction, action: Action, outcome: Outcome, verdict: Verdict, now_ms: int) -> None:
    if action.handle_key is None:
        return
    place = (action.destination, action.handle_key)
    if verdict.forget_handle:
        tx.execute("DELETE FROM handle WHERE destination = ? AND key = ?", place)
    elif outcome.status is OutcomeStatus.SENT and outcome.handle is not None:
        tx.execute(
            "INSERT INTO handle (destination, key, value, updated_ms) VALUES (?,?,?,?)"
            " ON CONFLICT (destination, key) DO UPDATE SET value = excluded.value, updated_ms = excluded.updated_ms",
            (*place, json.dumps(dict(outcome.handle)), now_ms),
        )
    elif outcome.status is OutcomeStatus.SENT:
        tx.execute("UPDATE handle SET updated_ms = ? WHERE destination = ? AND key = ?", (now_ms, *place))


def _advance(tx: Transaction, destination: str, lane: str, now_ms: int) -> None:
    """Make the lane's head due, when it was behind another."""
    found = tx.execute(
        f"SELECT id, due_ms, {_ACTION} FROM outbox WHERE state = 'waiting' AND destination = ? AND lane = ?"  # noqa: S608 - a constant
        " ORDER BY id LIMIT 1",
        (destination, lane),
    ).fetchone()
    if found is not None and found[1] == BEHIND:
        due_ms = _held_until(tx, Action(*found[2:]), now_ms)
        tx.execute("UPDATE outbox SET due_ms = ? WHERE id = ?", (due_ms, found[0]))


def hurry(tx: Transaction, destination: str) -> None:
    """The destination answers again: what backs off since it did not is due at once."""
    tx.execute(
        "UPDATE outbox SET due_ms = -priority WHERE state = 'waiting' AND destination = ? AND due_ms > ? AND due_ms < ?"
        " AND leased_until_ms = 0 AND reason IN (?, ?, ?)",
        (destination, AT_ONCE, BEHIND, *(reason.value for reason in OUT_OF_REACH)),
    )


def retry(tx: Transaction, id: int, now_ms: int) -> bool:
    """Try again: a dead or dropped row waits anew, one that backs off is due at once.

    False when there is nothing to hurry: it arrived, is in flight, waits its turn, or newer content took its place.
    """
    row = tx.execute(
        "SELECT state, destination, lane, due_ms, leased_until_ms FROM outbox WHERE id = ?", (id,)
    ).fetchone()
    if row is None or row[0] == RowState.SENT.value:
        return False
    state, destination, lane, due_ms, leased_until_ms = row
    if state == RowState.WAITING.value:
        if leased_until_ms or due_ms == BEHIND:
            return False
        tx.execute("UPDATE outbox SET due_ms = -priority WHERE id = ?", (id,))
        return True
    if _superseded(tx, id):
        return False
    # It may be older than the lane's head, which may be in flight: it goes next, not first.
    tx.execute(
        "UPDATE outbox SET state = 'waiting', due_ms = CASE WHEN ? THEN ? ELSE -priority END, attempts = 0,"
        " renewed_ms = ?, degraded = 0, done_ms = NULL WHERE id = ?",
        (_lane_waits(tx, destination, lane), BEHIND, now_ms, id),
    )
    return True


def _superseded(tx: Transaction, id: int) -> bool:
    newer = tx.execute(
        "SELECT 1 FROM outbox AS newer, outbox AS old WHERE old.id = ? AND newer.id > old.id"
        " AND newer.destination = old.destination AND newer.lane = old.lane AND newer.coalesce = old.coalesce"
        " AND newer.state IN ('waiting', 'sent') LIMIT 1",
        (id,),
    ).fetchone()
    return newer is not None


def _lane_waits(tx: Transaction, destination: str, lane: str) -> bool:
    found = tx.execute(
        "SELECT 1 FROM outbox WHERE state = 'waiting' AND destination = ? AND lane = ? LIMIT 1", (destination, lane)
    ).fetchone()
    return found is not None


def drop(tx: Transaction, id: int, now_ms: int) -> bool:
    """Give an action up. False when it is in flight, arrived, or unknown."""
    row = tx.execute("SELECT state, destination, lane, leased_until_ms FROM outbox WHERE id = ?", (id,)).fetchone()
    if row is None or row[0] not in (RowState.WAITING.value, RowState.DEAD.value) or row[3]:
        return False
    tx.execute("UPDATE outbox SET state = 'dropped', done_ms = ? WHERE id = ?", (now_ms, id))
    _advance(tx, row[1], row[2], now_ms)
    return True


THIN_PAGE: Final = 1_000


def thin(tx: Transaction, excess: int, now_ms: int) -> int:
    """Leave out up to so many waiting actions that a newer one of the same lane and step takes the place of: the least
    urgent first, of those the oldest. The newest of each always stays. How many were left out."""
    found = tx.execute(
        "SELECT id FROM outbox AS old WHERE state = 'waiting' AND leased_until_ms = 0 AND EXISTS ("
        " SELECT 1 FROM outbox AS newer WHERE newer.state = 'waiting' AND newer.destination = old.destination"
        " AND newer.lane = old.lane AND newer.id > old.id AND newer.step = old.step)"
        " ORDER BY priority, id LIMIT ?",
        (min(excess, THIN_PAGE),),
    ).fetchall()
    return sum(drop(tx, number, now_ms) for (number,) in found)


def prune(tx: Transaction, now_ms: int, limits: Limits) -> int:
    """Forget receipts, old dead letters and handles that nothing used for long, a page at a time; how many went."""
    gone = tx.execute(
        "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE state <> 'waiting' AND done_ms < ?"
        " AND (state <> 'dead' OR done_ms < ?) LIMIT ?)",
        (now_ms - limits.receipts_ms, now_ms - limits.dead_ms, PRUNE_PAGE),
    ).rowcount
    gone += tx.execute("DELETE FROM handle WHERE updated_ms < ?", (now_ms - limits.handles_ms,)).rowcount
    return gone


COLUMNS: Final = f"id, state, created_ms, due_ms, attempts, leased_until_ms, reason, detail, done_ms, {_ACTION}"


def read_row(row: tuple[Any, ...]) -> OutboxRow:
    """A row of COLUMNS."""
    number, state, created_ms, due_ms, attempts, leased_until_ms, reason, detail, done_ms, *fields = row
    return OutboxRow(
        id=number,
        action=Action(*fields),
        state=RowState(state),
        created_ms=created_ms,
        due_ms=None if due_ms == BEHIND else max(AT_ONCE, due_ms),
        attempts=attempts,
        in_flight=leased_until_ms > 0,
        reason=reason,
        detail=detail,
        done_ms=done_ms,
    )


def _values(action: Action) -> Iterable[str | int | None]:
    return (
        action.kind,
        action.destination,
        action.lane,
        action.payload,
        action.step,
        action.coalesce,
        action.handle_key,
        action.priority,
        action.hold_ms,
    )
