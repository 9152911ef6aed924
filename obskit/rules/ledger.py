"""Where the rules stand, in main.db: alert_state and rule_group rows to values and back.

Every function takes the transaction of the evaluation it belongs to. What the rows mean is left to state.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from obskit.model.alerts import ActiveAlert, AlertState, ResolveReason
from obskit.model.labels import Labels
from obskit.rules.state import Active
from obskit.store.database import Transaction

_ALERT_COLUMNS: Final = (
    "labels, annotations, state, value, active_ms, fired_ms, resolved_ms, keep_firing_since_ms, resolve_reason,"
    " resolved_value, resolved_summary, missing_since_ms"
)
Series = Mapping[str, Iterable[Labels]]
"""The series that each rule of a group wrote at its last evaluation, by rule key."""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """What is known of a group: its last slot, and the series it wrote then."""

    last_slot_ms: int
    series: Mapping[str, tuple[Labels, ...]]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything that was saved: alerts by rule key, groups by group key."""

    alerts: Mapping[str, Active] = field(default_factory=dict)
    groups: Mapping[str, GroupRow] = field(default_factory=dict)


def load(tx: Transaction) -> Ledger:
    """Read everything, at start."""
    alerts: dict[str, dict[Labels, ActiveAlert]] = {}
    for rule, *row in tx.execute(f"SELECT rule, {_ALERT_COLUMNS} FROM alert_state"):  # noqa: S608 - a constant
        alert = _alert_of(row)
        alerts.setdefault(rule, {})[alert.labels] = alert
    groups = {
        name: GroupRow(last_slot_ms, _series_of(series))
        for name, last_slot_ms, series in tx.execute("SELECT name, last_slot_ms, series FROM rule_group")
    }
    return Ledger(alerts, groups)


def save_alerts(tx: Transaction, rule: str, before: Active, after: Active) -> None:
    """Write the alerts of one rule that differ from what was saved `before`."""
    gone = [(rule, labels.fingerprint()) for labels in before if labels not in after]
    if gone:
        tx.executemany("DELETE FROM alert_state WHERE rule = ? AND fingerprint = ?", gone)
    changed = [_row_of(rule, alert) for labels, alert in after.items() if not _same(before.get(labels), alert)]
    if changed:
        tx.executemany(
            f"INSERT OR REPLACE INTO alert_state (rule, fingerprint, {_ALERT_COLUMNS})"  # noqa: S608 - a constant
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            changed,
        )


def save_slot(tx: Transaction, group: str, last_slot_ms: int) -> None:
    """Write how far a group has been evaluated."""
    tx.execute(
        "INSERT INTO rule_group (name, last_slot_ms) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET last_slot_ms = excluded.last_slot_ms",
        (group, last_slot_ms),
    )


def save_series(tx: Transaction, group: str, series: Series) -> None:
    """Write what a group's series are now; after `save_slot`, which makes the row."""
    text = json.dumps({rule: [dict(labels.pairs) for labels in of_rule] for rule, of_rule in series.items()})
    tx.execute("UPDATE rule_group SET series = ? WHERE name = ?", (text, group))


def forget(tx: Transaction, *, rules: Iterable[str] = (), groups: Iterable[str] = ()) -> None:
    """Delete what was saved of rules and groups that are no more."""
    tx.executemany("DELETE FROM alert_state WHERE rule = ?", [(rule,) for rule in rules])
    tx.executemany("DELETE FROM rule_group WHERE name = ?", [(group,) for group in groups])


def _row_of(rule: str, alert: ActiveAlert) -> tuple[Any, ...]:
    return (
        rule,
        alert.labels.fingerprint(),
        json.dumps(dict(alert.labels.pairs)),
        json.dumps(dict(alert.annotations)),
        alert.state.value,
        None if math.isnan(alert.value) else alert.value,
        alert.active_ms,
        alert.fired_ms,
        alert.resolved_ms,
        alert.keep_firing_since_ms,
        alert.resolve_reason.value if alert.resolve_reason else None,
        alert.resolved_value,
        alert.resolved_summary,
        alert.missing_since_ms,
    )


def _alert_of(row: list[Any]) -> ActiveAlert:
    labels, annotations, state, value, active_ms, fired_ms, resolved_ms, keep_firing_since_ms, reason, *more = row
    resolved_value, resolved_summary, missing_since_ms = more
    return ActiveAlert(
        labels=Labels(json.loads(labels)),
        annotations=json.loads(annotations),
        state=AlertState(state),
        value=math.nan if value is None else value,  # SQLite keeps NaN as NULL
        active_ms=active_ms,
        fired_ms=fired_ms,
        resolved_ms=resolved_ms,
        keep_firing_since_ms=keep_firing_since_ms,
        resolve_reason=ResolveReason(reason) if reason else None,
        resolved_value=resolved_value,
        resolved_summary=resolved_summary,
        missing_since_ms=missing_since_ms,
    )


def _series_of(text: str) -> dict[str, tuple[Labels, ...]]:
    # Before any series is saved the column holds its default, an empty list.
    return {rule: tuple(map(Labels, of_rule)) for rule, of_rule in dict(json.loads(text)).items()}


def _same(before: ActiveAlert | None, after: ActiveAlert) -> bool:
    if before is None or before == after:
        return before is not None
    return math.isnan(before.value) and math.isnan(after.value) and _row_of("", before) == _row_of("", after)
