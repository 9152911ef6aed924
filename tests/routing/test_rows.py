"""What the tables of routing keep of an alert."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

from obskit.model.alerts import Alert, ResolveReason
from obskit.model.labels import Labels
from obskit.routing import rows
from obskit.store.schema import MIGRATIONS


def test_an_alert_is_read_as_it_was_saved_last() -> None:
    alert = Alert(
        Labels({"alertname": "A"}), {"summary": "s"}, starts_ms=1, value=97.0, generator_url="u", source="x:A"
    )
    over = replace(
        alert, ends_ms=2, resolve_reason=ResolveReason.RECOVERED, resolved_value=12.0, resolved_summary="12 %"
    )
    with closing(sqlite3.connect(":memory:")) as tx:
        tx.executescript("".join(MIGRATIONS))
        for saved in (alert, over, alert):
            rows.save_alert(tx, saved, 5)
            assert list(rows.load_alerts(tx, [alert.fingerprint])) == [saved]
