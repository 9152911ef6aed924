"""A storm of groups does not hold up the other writers: it is taken in and flushed in many small transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from obskit.model.actions import Notice
from obskit.model.alerts import Alert, Transition, TransitionKind
from obskit.model.labels import Labels
from obskit.routing.dispatch import TAKEN_AT_ONCE, TOLD_AT_ONCE, Dispatcher
from obskit.routing.groups import LOADED_AT_ONCE
from obskit.store.database import Database, Transaction
from obskit.testing.clock import FakeClock, run
from tests.routing.fakes import FakeDestination, tree

GROUPS = 1_200


class CountingDatabase(Database):
    """Notes how many rows each transaction changed."""

    changes: list[int]

    def _attempt(self, work: Callable[[Transaction], Any]) -> Any:
        before = self._writer.total_changes
        result = super()._attempt(work)
        self.changes.append(self._writer.total_changes - before)
        return result


def test_many_groups_are_many_transactions(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        database = CountingDatabase(tmp_path, reserve_bytes=0)
        database.changes = []
        route = tree(group_wait="0s", group_by=["n"])
        dispatcher = Dispatcher(database, clock, route, {"ops": [FakeDestination("slack")]})
        await dispatcher.flush_due()
        alerts = [Alert(Labels({"alertname": "A", "n": str(n)}), {}, clock.now_ms()) for n in range(GROUPS)]
        fired = [Transition(TransitionKind.FIRED, alert) for alert in alerts]
        await database.write(lambda tx: dispatcher.accept(tx, fired))
        database.changes.clear()
        await dispatcher.flush_due()
        assert len(dispatcher.snapshot()) == GROUPS
        assert database.read("SELECT COUNT(*) FROM outbox") == [(GROUPS,)]
        assert len(database.changes) >= GROUPS / TAKEN_AT_ONCE + GROUPS / TOLD_AT_ONCE - 2
        assert max(database.changes) <= 2 * TAKEN_AT_ONCE
        await database.close()

    run(scenario(), clock)


def test_a_group_is_flushed_when_all_its_alerts_are_in(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        database = Database.open(tmp_path, reserve_bytes=0)
        destination = FakeDestination("slack")
        dispatcher = Dispatcher(database, clock, tree(group_wait="0s"), {"ops": [destination]})
        await dispatcher.flush_due()
        alerts = [Alert(Labels({"alertname": "A", "n": str(n)}), {}, clock.now_ms()) for n in range(GROUPS)]
        fired = [Transition(TransitionKind.FIRED, alert) for alert in alerts]
        await database.write(lambda tx: dispatcher.accept(tx, fired))
        await dispatcher.flush_due()
        ((payload,),) = database.read("SELECT payload FROM outbox")
        assert payload.count('"starts_ms"') == GROUPS
        await database.close()

    run(scenario(), clock)


def test_stored_alerts_are_loaded_in_many_transactions_and_what_comes_meanwhile_is_heard(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        database = CountingDatabase(tmp_path, reserve_bytes=0)
        database.changes = []
        route, destination = tree(group_wait="0s"), FakeDestination("slack")
        alerts = [Alert(Labels({"alertname": "A", "n": str(n)}), {}, clock.now_ms()) for n in range(GROUPS)]
        before = Dispatcher(database, clock, route, {"ops": [destination]})
        await database.write(
            lambda tx: before.accept(tx, [Transition(TransitionKind.FIRED, alert) for alert in alerts])
        )
        after = Dispatcher(database, clock, route, {"ops": [destination]})
        over = replace(alerts[0], ends_ms=clock.now_ms())
        late = Alert(Labels({"alertname": "A", "n": "late"}), {}, clock.now_ms())
        database.changes.clear()
        loading = asyncio.ensure_future(after.flush_due())
        more = [Transition(TransitionKind.RESOLVED, over), Transition(TransitionKind.FIRED, late)]
        await database.write(lambda tx: after.accept(tx, more))
        await loading
        await after.flush_due()
        assert len(database.changes) >= GROUPS / LOADED_AT_ONCE
        payload = database.read("SELECT payload FROM outbox ORDER BY id DESC LIMIT 1")[0][0]
        firing = {alert.labels["n"] for alert in Notice.from_json(payload).firing}
        assert firing == {str(n) for n in range(1, GROUPS)} | {"late"}
        await database.close()

    run(scenario(), clock)


def test_an_alert_whose_transaction_is_undone_was_never_there(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        database = Database.open(tmp_path, reserve_bytes=0)
        dispatcher = Dispatcher(database, clock, tree(group_wait="0s"), {"ops": [FakeDestination("slack")]})
        await dispatcher.flush_due()

        def broken(tx: Transaction) -> None:
            alert = Alert(Labels({"alertname": "A"}), {}, clock.now_ms())
            dispatcher.accept(tx, [Transition(TransitionKind.FIRED, alert)])
            raise RuntimeError

        with pytest.raises(RuntimeError):
            await database.write(broken)
        await dispatcher.flush_due()
        assert dispatcher.snapshot() == []
        assert database.read("SELECT * FROM outbox") == []
        await database.close()

    run(scenario(), clock)
