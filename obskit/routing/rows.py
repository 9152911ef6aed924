"""The tables of routing: the alerts it knows, the groups that wait for a flush, what each destination was told.

Every function runs inside a transaction of the database; none decides anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from obskit.model.alerts import Alert, ResolveReason
from obskit.model.labels import Labels
from obskit.routing.flush import Told
from obskit.store.database import Transaction

SEPARATOR: Final = "\n"
"""Between the two parts of a group's key."""
_PAGE: Final = 500
_COLUMNS: Final = (
    "fingerprint, labels, annotations, starts_ms, ends_ms, value, generator_url, source, resolve_reason,"
    " resolved_value, resolved_summary, expires_ms, timed_out"
)
ALERTS: Final = f"SELECT {_COLUMNS} FROM alert"  # noqa: S608 - a constant
DATED_ALERTS: Final = f"SELECT updated_ms, {_COLUMNS} FROM alert"  # noqa: S608 - a constant
"""The same with when each was last heard of in front."""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A stored group. `key` is its receiver and Alertmanager's group key, for two routes may share the latter."""

    key: str
    labels: Labels
    incident: str
    created_ms: int
    next_flush_ms: int


def save_alert(tx: Transaction, alert: Alert, now_ms: int) -> None:
    """The alert as it is now, in place of what it was."""
    tx.execute(
        "INSERT INTO alert (fingerprint, labels, annotations, starts_ms, ends_ms, value, generator_url, source,"
        " resolve_reason, resolved_value, resolved_summary, expires_ms, timed_out, updated_ms)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
        " ON CONFLICT (fingerprint) DO UPDATE SET annotations = excluded.annotations, starts_ms = excluded.starts_ms,"
        " ends_ms = excluded.ends_ms, value = excluded.value, generator_url = excluded.generator_url,"
        " source = excluded.source, resolve_reason = excluded.resolve_reason,"
        " resolved_value = excluded.resolved_value, resolved_summary = excluded.resolved_summary,"
        " expires_ms = excluded.expires_ms, timed_out = excluded.timed_out, updated_ms = excluded.updated_ms",
        (
            alert.fingerprint,
            _json(alert.labels),
            _json(alert.annotations),
            alert.starts_ms,
            alert.ends_ms,
            None if math.isnan(alert.value) else alert.value,
            alert.generator_url,
            alert.source,
            alert.resolve_reason.value if alert.resolve_reason else None,
            alert.resolved_value,
            alert.resolved_summary,
            alert.expires_ms,
            alert.timed_out,
            now_ms,
        ),
    )


def read_alert(row: Iterable[Any]) -> Alert:
    """A row of ALERTS."""
    fingerprint, labels, annotations, starts_ms, ends_ms, value, generator_url, source, resolve_reason, *more = row
    resolved_value, resolved_summary, expires_ms, timed_out = more
    return Alert(
        labels=Labels(json.loads(labels)),
        annotations=json.loads(annotations),
        starts_ms=starts_ms,
        ends_ms=ends_ms,
        value=math.nan if value is None else value,
        generator_url=generator_url,
        source=source,
        resolve_reason=ResolveReason(resolve_reason) if resolve_reason else None,
        resolved_value=resolved_value,
        resolved_summary=resolved_summary,
        expires_ms=expires_ms,
        timed_out=bool(timed_out),
        fingerprint=fingerprint,
    )


def extend_alerts(tx: Transaction, alerts: Iterable[Alert], now_ms: int) -> None:
    """These are as they were, only on for longer."""
    tx.executemany(
        "UPDATE alert SET expires_ms = ?, updated_ms = ? WHERE fingerprint = ?",
        [(alert.expires_ms, now_ms, alert.fingerprint) for alert in alerts],
    )


def page_of_alerts(tx: Transaction, after: str, limit: int) -> list[Alert]:
    """The next alerts after a fingerprint."""
    found = tx.execute(f"{ALERTS} WHERE fingerprint > ? ORDER BY fingerprint LIMIT ?", (after, limit))
    return [read_alert(row) for row in found]


def load_alerts(tx: Transaction, fingerprints: Collection[str]) -> Iterator[Alert]:
    """Those of these alerts that exist."""
    wanted = sorted(fingerprints)
    for start in range(0, len(wanted), _PAGE):
        page = wanted[start : start + _PAGE]
        yield from map(read_alert, tx.execute(f"{ALERTS} WHERE fingerprint IN ({','.join('?' * len(page))})", page))


def load_expired(tx: Transaction, now_ms: int, limit: int) -> list[Alert]:
    """The first of the alerts that were to be over by now, and are still on."""
    found = tx.execute(f"{ALERTS} WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?", (now_ms, limit))
    return [read_alert(row) for row in found]


def delete_alert(tx: Transaction, fingerprint: str) -> None:
    """No group holds it any more."""
    tx.execute("DELETE FROM alert WHERE fingerprint = ?", (fingerprint,))


def delete_ended(tx: Transaction, fingerprint: str) -> None:
    """As delete_alert, unless it is on."""
    tx.execute("DELETE FROM alert WHERE fingerprint = ? AND ends_ms IS NOT NULL", (fingerprint,))


def load_group(tx: Transaction, key: str) -> GroupRow | None:
    """The stored group with this key."""
    return next(_group_rows(tx, "WHERE group_key = ?", key), None)


def page_of_groups(tx: Transaction, after: str, limit: int) -> list[GroupRow]:
    """The next groups after a key."""
    return list(_group_rows(tx, "WHERE group_key > ? ORDER BY group_key LIMIT ?", after, limit))


def _group_rows(tx: Transaction, which: str, *values: str | int) -> Iterator[GroupRow]:
    columns = "group_key, labels, incident, created_ms, next_flush_ms"
    found = tx.execute(f"SELECT {columns} FROM alert_group {which}", values)  # noqa: S608 - constants
    for key, labels, *rest in found:
        yield GroupRow(key, Labels(json.loads(labels)), *rest)


def save_group(tx: Transaction, row: GroupRow) -> None:
    """A group that has opened."""
    tx.execute(
        "INSERT INTO alert_group (group_key, labels, incident, created_ms, next_flush_ms) VALUES (?,?,?,?,?)",
        (row.key, _json(row.labels), row.incident, row.created_ms, row.next_flush_ms),
    )


def move_flush(tx: Transaction, key: str, next_flush_ms: int) -> None:
    """When the group is flushed next."""
    tx.execute("UPDATE alert_group SET next_flush_ms = ? WHERE group_key = ?", (next_flush_ms, key))


def delete_group(tx: Transaction, key: str) -> None:
    """The group, and what was told of it."""
    tx.execute("DELETE FROM alert_group WHERE group_key = ?", (key,))
    tx.execute("DELETE FROM notification WHERE group_key = ?", (key,))


def load_told(tx: Transaction, key: str) -> dict[str, Told]:
    """What each destination was last told of the group."""
    found = tx.execute(
        "SELECT destination, firing, resolved, t_ms, since_ms, repeats, care, content FROM notification"
        " WHERE group_key = ?",
        (key,),
    )
    return {
        destination: Told(frozenset(json.loads(firing)), frozenset(json.loads(resolved)), *rest)
        for destination, firing, resolved, *rest in found
    }


def save_told(tx: Transaction, key: str, destination: str, incident: str, told: Told) -> None:
    """What a destination is told now."""
    tx.execute(
        "INSERT OR REPLACE INTO notification (group_key, destination, incident, firing, resolved, t_ms, since_ms, repeats,"
        " care, content) VALUES (?,?,?,?,?,?,?,?,?,?)",
        (key, destination, incident, json.dumps(sorted(told.firing)), json.dumps(sorted(told.resolved)), told.t_ms,
         told.since_ms, told.repeats, told.care, told.content),
    )  # fmt: skip


def _json(pairs: Any) -> str:
    return json.dumps(dict(pairs), sort_keys=True, separators=(",", ":"))
