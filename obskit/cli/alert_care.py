"""Who has taken an alert on, and what keeps it quiet: for `obskit alerts`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from obskit.cli.tables import age_text

if TYPE_CHECKING:
    from obskit.config import Config
    from obskit.store.database import Database


def with_care(
    alerts: Iterable[dict[str, Any]], config: Config, database: Database, now_ms: int
) -> list[dict[str, Any]]:
    """Each alert with its `ack`, and with the `silences` and `inhibited_by` that keep it quiet."""
    from obskit.clock import SystemClock
    from obskit.model.labels import Labels
    from obskit.routing.acks import acked_alerts
    from obskit.routing.maintenance import open_windows
    from obskit.routing.silences import Silences
    from obskit.routing.views import view_alerts

    silences = Silences(database, SystemClock())
    policy = config.policy
    known = {
        each.id: {"id": each.id, "by": each.created_by, "until_ms": each.ends_ms, "comment": each.comment}
        for each in silences.active(now_ms).plus(open_windows(policy.maintenance, policy.intervals, now_ms)).all
    }
    views, acks = view_alerts(database, policy, silences, now_ms), acked_alerts(database)
    found = []
    for alert in alerts:
        fingerprint = Labels(alert["labels"]).fingerprint()
        view, ack = views.get(fingerprint), acks.get(fingerprint)
        held = {
            "ack": asdict(ack) if ack else None,
            "silences": [known[its_id] for its_id in view.silenced_by if its_id in known] if view else [],
            "inhibited_by": list(view.inhibited_by) if view else [],
        }
        found.append(alert | held)
    return found


def care_text(alert: Mapping[str, Any], now_ms: int) -> str:
    """`acked by ann 10m ago, silenced by bob for 2h`; `-` when nobody did anything."""
    said = []
    if ack := alert["ack"]:
        said.append(f"acked by {ack['by']} {age_text(now_ms - ack['t_ms'])} ago")
    if alert["silences"]:
        longest = max(alert["silences"], key=lambda each: int(each["until_ms"]))
        said.append(f"silenced by {longest['by'] or 'somebody'} for {age_text(longest['until_ms'] - now_ms)}")
    elif alert["inhibited_by"]:
        said.append("inhibited")
    return ", ".join(said) or "-"
