"""How every alert stands for people and programs that ask: who hears of it, and what keeps it quiet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from obskit.model.alerts import Alert
from obskit.routing import rows
from obskit.routing.inhibit import Inhibitor
from obskit.routing.maintenance import open_windows
from obskit.routing.policy import Policy
from obskit.routing.silences import Silences
from obskit.store.database import Database


@dataclass(frozen=True, slots=True)
class AlertView:
    """One alert that is on. `silenced_by` are ids of silences, `inhibited_by` fingerprints; times Unix milliseconds."""

    alert: Alert
    receivers: tuple[str, ...]
    silenced_by: tuple[str, ...]
    inhibited_by: tuple[str, ...]
    updated_ms: int

    @property
    def suppressed(self) -> bool:
        """Whether nobody is told of it now."""
        return bool(self.silenced_by or self.inhibited_by)


def view_alerts(database: Database, policy: Policy, silences: Silences, now_ms: int) -> dict[str, AlertView]:
    """Every alert that is on, by its fingerprint."""
    with database.snapshot() as connection:
        dated = connection.execute(rows.DATED_ALERTS)
        found = [(alert, updated_ms) for alert, updated_ms in _read(dated) if _on(alert, now_ms)]
    inhibitor = Inhibitor(policy.inhibit_rules, (alert for alert, _ in found))
    active = silences.active(now_ms).plus(open_windows(policy.maintenance, policy.intervals, now_ms))
    return {
        alert.fingerprint: AlertView(
            alert=alert,
            receivers=tuple(route.receiver for route in policy.route.match(alert.labels)),
            silenced_by=tuple(each.id for each in active.covering(alert.labels)),
            inhibited_by=inhibitor.inhibiting(alert.labels),
            updated_ms=updated_ms,
        )
        for alert, updated_ms in found
    }


def _read(found: Iterable[tuple[object, ...]]) -> Iterable[tuple[Alert, int]]:
    for updated_ms, *row in found:
        assert isinstance(updated_ms, int)
        yield rows.read_alert(row), updated_ms


def _on(alert: Alert, now_ms: int) -> bool:
    return alert.firing and (alert.expires_ms is None or alert.expires_ms > now_ms)
