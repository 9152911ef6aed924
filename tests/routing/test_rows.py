"""What the tables of routing keep of an alert, and what is left of one that nobody knows after a start."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from obskit.model.alerts import Alert, ResolveReason
from obskit.model.labels import Labels
from obskit.routing import rows
from obskit.routing.groups import Groups
from obskit.store.schema import MIGRATIONS
from tests.routing.fakes import tree


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


@pytest.mark.parametrize("again", [False, True])
def test_an_alert_that_fires_again_while_the_rows_are_read_keeps_its_row(*, again: bool) -> None:
    over = Alert(Labels({"alertname": "A"}), {}, starts_ms=1, ends_ms=2, value=1.0)
    on = replace(over, starts_ms=3, ends_ms=None)
    with closing(sqlite3.connect(":memory:")) as tx:
        tx.executescript("".join(MIGRATIONS))
        rows.save_alert(tx, over, 2)  # the process died before it was found to be in no group
        groups = Groups(tree().route, {})
        assert groups.load_more(tx, 5) == [over]
        if again:
            rows.save_alert(tx, on, 5)
        while groups.load_more(tx, 5) is not None:
            pass
        assert list(rows.load_alerts(tx, [on.fingerprint])) == ([on] if again else [])
