from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from obskit.clock import SystemClock
from obskit.errors import StoreFull
from obskit.model.actions import Action, Notice, Outcome, OutcomeReason
from obskit.model.alerts import Alert, Transition, TransitionKind
from obskit.model.labels import Labels
from obskit.model.telemetry import REGISTRY
from obskit.outbox import Outbox
from obskit.routing.dispatch import Dispatcher
from obskit.store.database import Database
from obskit.testing.clock import FakeClock, run
from tests.outbox.fakes import play
from tests.routing.fakes import Ears, FakeDestination, desk, tree

FIRST, NEW, SOME, ALL, REPEAT = (
    "first notification",
    "new alerts added",
    "some alerts resolved",
    "all alerts resolved",
    "repeat interval elapsed",
)


def test_a_group_waits_then_tells_what_is_new_at_its_interval(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a")
            await clock.sleep(5)
            await ops.fire("b")
            await clock.sleep(10)
            await ops.fire("c")
            await clock.sleep(65)
            await ops.resolve("a")
            await clock.sleep(60)
            await ops.resolve("b", "c")
            await clock.sleep(600)
            assert ears.lines == [
                (10.0, "slack", FIRST, "AB"),
                (70.0, "slack", NEW, "ABC"),
                (130.0, "slack", SOME, "aBC"),
                (190.0, "slack", ALL, "bc"),
            ]
            assert ops.dispatcher.snapshot() == []
            for table in ("alert", "alert_group", "notification"):
                assert ops.database.read(f"SELECT * FROM {table}") == []

    play(scenario)


def test_a_notice_says_everything(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(group_by=["team"], routes=[{"matchers": ["team=db"]}])) as ops:
            await ops.fire("a", "b", team="db")
            await clock.sleep(20)
            await ops.resolve("a", team="db")
            await clock.sleep(60)
            first, second = (told.notice for told in ears.heard)
            assert (first.receiver, first.group_key) == ("ops", '{}/{team="db"}:{team="db"}')
            assert (first.group_labels, first.external_url) == (Labels({"team": "db"}), "http://obs")
            assert first.changed == {alert.fingerprint for alert in first.alerts}
            assert second.changed == {alert.fingerprint for alert in second.resolved}
            assert first.incident == second.incident
            assert second.decided_ms - first.decided_ms == 60_000

    play(scenario)


def test_each_episode_is_an_incident_of_its_own(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            for _ in range(2):
                await ops.fire("a")
                await clock.sleep(100)
                await ops.resolve("a")
                await clock.sleep(100)
            incidents = [told.notice.incident for told in ears.heard]
            assert [told.notice.reason.value for told in ears.heard] == [FIRST, ALL, FIRST, ALL]
            assert incidents[0] == incidents[1] != incidents[2] == incidents[3]

    play(scenario)


def test_it_sends_again_after_the_repeat_interval(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(repeat_interval="1h")) as ops:
            await ops.fire("a")
            await clock.sleep(2.5 * 3600)
            assert ears.lines == [
                (10.0, "slack", FIRST, "A"),
                (3610.0, "slack", REPEAT, "A"),
                (7210.0, "slack", REPEAT, "A"),
            ]

    play(scenario)


def test_what_fired_and_ended_before_the_first_flush_is_never_told(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a")
            await clock.sleep(5)
            await ops.resolve("a")
            await clock.sleep(600)
            assert ears.lines == []
            assert ops.database.read("SELECT * FROM alert") == []

    play(scenario)


def test_an_end_that_nobody_heard_the_beginning_of_is_forgotten(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        async with desk(tmp_path, clock, Ears(clock), tree()) as ops:
            await ops.resolve("a")
            await clock.sleep(1)
            assert ops.database.read("SELECT * FROM alert") == []
            assert ops.dispatcher.snapshot() == []

    play(scenario)


def test_an_alert_that_comes_back_before_its_end_was_told_goes_on(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a")
            await clock.sleep(20)
            await ops.resolve("a")
            await clock.sleep(5)
            await ops.fire("a")
            await clock.sleep(600)
            assert ears.lines == [(10.0, "slack", FIRST, "A")]

    play(scenario)


def test_without_send_resolved_the_end_is_noted_but_not_sent(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        quiet = {"ops": [FakeDestination("slack", send_resolved=False), FakeDestination("pd")]}
        async with desk(tmp_path, clock, ears, tree(), quiet) as ops:
            await ops.fire("a", "b")
            await clock.sleep(20)
            await ops.resolve("a")
            await clock.sleep(60)
            await ops.fire("c")
            await clock.sleep(60)
            await ops.resolve("b", "c")
            await clock.sleep(60)
            assert [line[1:] for line in ears.lines if line[1] == "slack"] == [
                ("slack", FIRST, "AB"),
                ("slack", NEW, "BC"),
            ]
            assert [line[3] for line in ears.lines if line[1] == "pd"] == ["AB", "aB", "BC", "bc"]
            assert ops.database.read("SELECT * FROM notification") == []

    play(scenario)


def test_an_alert_may_be_in_the_groups_of_several_receivers(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        route = tree(
            routes=[
                {"receiver": "pages", "matchers": ["severity=critical"], "group_wait": "0s", "continue": True},
                {"receiver": "chat", "matchers": ["severity=critical"]},
            ]
        )
        reach = {"pages": [FakeDestination("pd")], "chat": [FakeDestination("slack")], "ops": []}
        async with desk(tmp_path, clock, ears, route, reach) as ops:
            await ops.fire("a", severity="critical")
            await clock.sleep(15)
            await ops.resolve("a", severity="critical")
            await clock.sleep(200)
            assert ears.lines == [
                (0.0, "pd", FIRST, "A"),
                (10.0, "slack", FIRST, "A"),
                (60.0, "pd", ALL, "a"),
                (70.0, "slack", ALL, "a"),
            ]
            assert ops.database.read("SELECT * FROM alert") == []

    play(scenario)


def test_a_receiver_without_destinations_hears_nothing(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(), {}) as ops:
            await ops.fire("a")
            await clock.sleep(100)
            assert len(ops.dispatcher.snapshot()) == 1
            await ops.resolve("a")
            await clock.sleep(100)
            assert (ears.lines, ops.dispatcher.snapshot()) == ([], [])

    play(scenario)


def test_an_alert_older_than_the_wait_is_told_at_once(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("new")
            await clock.sleep(1)
            old = Alert(Labels({"alertname": "old"}), {}, clock.now_ms() - 11_000)
            await ops.hand_over(Transition(TransitionKind.FIRED, old))
            await clock.sleep(1)
            assert ears.lines == [(1.0, "slack", FIRST, "NEWOLD")]

    play(scenario)


@pytest.mark.parametrize("stop_at", [3, 30, 65, 75, 100])
def test_a_restart_changes_nothing(tmp_path: Path, stop_at: int) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        for end in (stop_at, 200):
            async with desk(tmp_path, clock, ears, tree(repeat_interval="2m")) as ops:
                for at, name, fires in ((0, "a", True), (20, "b", True), (72, "a", False), (80, "b", False)):
                    if clock.monotonic() <= at < end:
                        await clock.sleep(at - clock.monotonic())
                        await (ops.fire(name) if fires else ops.resolve(name))
                await clock.sleep(end - clock.monotonic())
                incidents = {group.incident for group in ops.dispatcher.snapshot()}
        assert ears.lines == [(10.0, "slack", FIRST, "A"), (70.0, "slack", NEW, "AB"), (130.0, "slack", ALL, "ab")]
        assert len({told.notice.incident for told in ears.heard}) == 1
        assert incidents == set()

    play(scenario)


def test_a_flush_that_was_missed_is_made_up_at_the_start(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a")
            await clock.sleep(1)
        await clock.sleep(3600)
        async with desk(tmp_path, clock, ears, tree()):
            await clock.sleep(1)
        assert ears.lines == [(3601.0, "slack", FIRST, "A")]

    play(scenario)


@pytest.mark.parametrize("jump_ms", [-86_400_000, 86_400_000])
def test_a_wall_clock_that_jumps_moves_no_flush(tmp_path: Path, jump_ms: int) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a")
            await clock.sleep(20)
            clock.set_wall(clock.now_ms() + jump_ms)
            await ops.fire("b")
            await clock.sleep(100)
            assert ears.lines == [(10.0, "slack", FIRST, "A"), (70.0, "slack", NEW, "AB")]

    play(scenario)


def test_a_wall_clock_that_was_set_back_before_the_start_delays_no_longer_than_an_interval(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a")
            await clock.sleep(20)
            await ops.resolve("a")
        clock.set_wall(clock.now_ms() - 86_400_000)
        async with desk(tmp_path, clock, ears, tree()):
            await clock.sleep(61)
            assert ears.lines == [(10.0, "slack", FIRST, "A"), (80.0, "slack", ALL, "a")]

    play(scenario)


def test_a_reload_that_takes_the_route_away_still_tells_the_end(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        reach = {"ops": [FakeDestination("slack"), FakeDestination("pd")], "new": [FakeDestination("mail")]}
        async with desk(tmp_path, clock, ears, tree(), reach) as ops:
            await ops.fire("a")
            await clock.sleep(20)
            left = {"ops": [FakeDestination("slack"), FakeDestination("late")], "new": [FakeDestination("mail")]}
            ops.dispatcher.reload(tree(receiver="new", repeat_interval="1m"), left)
            await clock.sleep(100)
            assert {group.receiver for group in ops.dispatcher.snapshot()} == {"ops", "new"}
            await ops.resolve("a")
            await clock.sleep(100)
            assert sorted(line[1:] for line in ears.lines if line[1] != "mail") == [
                ("pd", FIRST, "A"),
                ("slack", ALL, "a"),
                ("slack", FIRST, "A"),
            ]
            assert [line[2] for line in ears.lines if line[1] == "mail"] == [FIRST, REPEAT, ALL]
            assert ops.database.read("SELECT * FROM alert") == []
            assert ops.dispatcher.snapshot() == []

    play(scenario)


def test_a_reload_forgets_the_groups_of_a_receiver_that_is_gone(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a")
            await clock.sleep(20)
            ops.dispatcher.reload(tree(receiver="new"), {"new": [FakeDestination("mail")]})
            await clock.sleep(20)
            assert [group.receiver for group in ops.dispatcher.snapshot()] == ["new"]

    play(scenario)


def test_a_destination_that_is_added_hears_of_what_fires(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a")
            await clock.sleep(20)
            ops.dispatcher.reload(tree(), {"ops": [FakeDestination("slack"), FakeDestination("pd")]})
            await clock.sleep(60)
            assert ears.lines == [(10.0, "slack", FIRST, "A"), (70.0, "pd", FIRST, "A")]

    play(scenario)


def test_a_destination_that_cannot_be_told_holds_up_nobody_and_is_told_later(tmp_path: Path) -> None:
    class Broken(FakeDestination):
        broken = True

        def actions(self, notice: Notice) -> Sequence[Action]:
            if self.broken:
                raise KeyError("template")
            return super().actions(notice)

    async def scenario(clock: FakeClock) -> None:
        ears, broken = Ears(clock), Broken("broken")
        async with desk(tmp_path, clock, ears, tree(), {"ops": [broken, FakeDestination("pd")]}) as ops:
            await ops.fire("a", "b")
            await clock.sleep(20)
            broken.broken = False
            await clock.sleep(60)
            broken.broken = True
            await ops.resolve("a", "b")
            await clock.sleep(120)
            broken.broken = False
            await clock.sleep(60)
            assert [line[1:] for line in ears.lines] == [
                ("pd", FIRST, "AB"),
                ("broken", FIRST, "AB"),
                ("pd", ALL, "ab"),
                ("broken", ALL, "ab"),
            ]
            assert ops.dispatcher.snapshot() == []

    play(scenario)


def test_alerting_goes_on_from_the_rows_when_a_flush_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a")
            await clock.sleep(5)
            attempt = ops.database._attempt

            def refuse(work: object) -> object:
                raise StoreFull("no space left")

            ops.database._attempt = refuse  # type: ignore[method-assign,assignment]
            await clock.sleep(20)
            ops.database._attempt = attempt  # type: ignore[method-assign]
            await clock.sleep(2)
            assert ears.lines == [(25.0, "slack", FIRST, "A")]

    play(scenario)
    assert [record.getMessage() for record in caplog.records] == ["groups could not be flushed, trying again"]


def test_a_process_that_looks_once_flushes_what_is_due(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        database = Database.open(tmp_path, reserve_bytes=0)
        reach = {"ops": [FakeDestination("slack")]}
        dispatcher = Dispatcher(database, clock, tree(group_wait="0s", group_by=["..."]), reach)
        fired = [Transition(TransitionKind.FIRED, Alert(Labels({"n": str(n)}), {}, 0)) for n in range(60)]
        await database.write(lambda tx: dispatcher.accept(tx, fired))
        await dispatcher.flush_due()
        assert database.read("SELECT COUNT(*) FROM outbox") == [(60,)]
        await database.close()

    play(scenario)


def test_transitions_that_were_rolled_back_are_not_told(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(group_wait="0s")) as ops:

            def evaluation(tx: sqlite3.Connection) -> None:
                alert = Alert(Labels({"alertname": "a"}), {}, clock.now_ms())
                ops.dispatcher.accept(tx, [Transition(TransitionKind.FIRED, alert)])
                raise StoreFull("no space left")

            with pytest.raises(StoreFull):
                await ops.database.write(evaluation)
            ops.dispatcher.wake()
            await clock.sleep(10)
            assert ears.lines == []

    play(scenario)


def test_the_429_experiment(tmp_path: Path) -> None:
    """Slack answers 429 once, and the alert is over before the next group_interval.

    Alertmanager never tells Slack of it, neither firing nor resolved (delivery.md §6.4).
    """

    async def scenario(clock: FakeClock) -> None:
        limited = Outcome.retry(OutcomeReason.RATE_LIMITED, "429", after_s=3)
        ears = Ears(clock, refused={"slack": [limited]})
        reach = {"ops": [FakeDestination("slack"), FakeDestination("hook"), FakeDestination("pd")]}
        async with desk(tmp_path, clock, ears, tree(group_wait="1s", group_interval="5s"), reach) as ops:
            await ops.fire("a")
            await clock.sleep(2)
            await ops.resolve("a")
            await clock.sleep(60)
            assert sorted(ears.lines, key=lambda line: (line[1], line[0])) == [
                (1.0, "hook", FIRST, "A"),
                (6.0, "hook", ALL, "a"),
                (1.0, "pd", FIRST, "A"),
                (6.0, "pd", ALL, "a"),
                (4.0, "slack", FIRST, "A"),
                (6.0, "slack", ALL, "a"),
            ]

    play(scenario)


def test_the_429_experiment_for_an_hour_with_coalescing_ends_in_the_newest_state(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        limited = Outcome.retry(OutcomeReason.RATE_LIMITED, "429", after_s=60)
        ears = Ears(clock, refused={"slack": [limited] * 60})
        reach = {"ops": [FakeDestination("slack", coalesce=True)]}
        async with desk(tmp_path, clock, ears, tree(group_wait="1s", group_interval="5s"), reach) as ops:
            await ops.fire("a")
            await clock.sleep(2)
            await ops.resolve("a")
            await clock.sleep(7200)
            assert ears.lines == [(3601.0, "slack", ALL, "a")]

    play(scenario)


def test_a_storm_of_groups_is_flushed_in_bounded_transactions(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(group_by=["..."])) as ops:
            await ops.fire(*(f"alert{n}" for n in range(120)))
            await clock.sleep(11)
            assert len(ears.heard) == 120
            assert REGISTRY.get_sample_value("obskit_alert_groups") == 120

    play(scenario)


def test_notices_are_counted_by_reason(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        labels = {"receiver": "counted", "reason": FIRST}
        async with desk(
            tmp_path, clock, Ears(clock), tree(receiver="counted"), {"counted": [FakeDestination("x")]}
        ) as ops:
            await ops.fire("a")
            await clock.sleep(11)
            assert REGISTRY.get_sample_value("obskit_notices_total", labels) == 1

    play(scenario)


def test_with_no_group_wait_the_receiver_is_asked_within_milliseconds(tmp_path: Path) -> None:
    async def scenario() -> list[float]:
        clock, waits = SystemClock(), []

        async def ears(_: object) -> Outcome:
            waits.append(clock.monotonic() - committed)
            heard.set()
            return Outcome.sent()

        heard = asyncio.Event()
        database = Database.open(tmp_path, reserve_bytes=0)
        outbox = Outbox(database, clock, {"notify": ears})
        route, reach = tree(group_wait="0s", group_by=["..."]), {"ops": [FakeDestination("slack")]}
        dispatcher = Dispatcher(database, clock, route, reach, decided=outbox.wake)
        running = [asyncio.ensure_future(outbox.run()), asyncio.ensure_future(dispatcher.run())]
        for n in range(40):
            await clock.sleep(0.002)
            heard.clear()
            alert = Alert(Labels({"alertname": f"a{n}"}), {}, clock.now_ms())
            fired = [Transition(TransitionKind.FIRED, alert)]
            await database.write(lambda tx, fired=fired: dispatcher.accept(tx, fired))
            committed = clock.monotonic()
            dispatcher.wake()
            await heard.wait()
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await database.close()
        return sorted(waits)

    assert run(scenario())[20] < 0.010
