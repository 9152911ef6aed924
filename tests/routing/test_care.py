"""What becomes of a group beside what Alertmanager tells: acks, silences shown, escalation, repeats, flapping, changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from obskit.model.actions import Action, Notice
from obskit.model.alert_matchers import parse_matchers
from obskit.model.alerts import Alert, Transition, TransitionKind
from obskit.model.context import Ack, Escalated
from obskit.model.context import Silence as SilenceShown
from obskit.model.labels import Labels
from obskit.routing.flaps import FlapSettings
from obskit.routing.intervals import TimeIntervalSettings, build_intervals
from obskit.routing.maintenance import MaintenanceSettings
from obskit.routing.silences import Silence
from obskit.store.acks import AckRow, AckState, note_ack
from obskit.testing.clock import FakeClock
from tests.outbox.fakes import play
from tests.routing.fakes import Desk, Ears, FakeDestination, Told, desk, tree

FIRST, NEW, SOME, ALL, REPEAT = (
    "first notification",
    "new alerts added",
    "some alerts resolved",
    "all alerts resolved",
    "repeat interval elapsed",
)
TENDED, ESCALATED, CHANGED, CALM = (
    "acknowledged or silenced",
    "escalated",
    "annotations changed",
    "flapping is over",
)
MINUTE = 60


def chat() -> dict[str, list[Any]]:
    """A receiver with a channel whose messages are edited and a webhook, and two more that are paged."""
    return {
        "ops": [FakeDestination("slack", edits=True), FakeDestination("hook")],
        "pagerduty": [FakeDestination("pd")],
        "boss": [FakeDestination("phone")],
    }


def lines(ears: Ears, *destinations: str) -> list[tuple[float, str, str, str]]:
    return [line for line in ears.lines if line[1] in (destinations or ("slack",))]


def last(ears: Ears, destination: str = "slack") -> Told:
    return [told for told in ears.heard if told.destination == destination][-1]


async def silence(ops: Desk, matchers: str, length_s: float) -> str:
    now_ms = ops.clock.now_ms()
    one = Silence(parse_matchers(matchers), now_ms, now_ms + round(length_s * 1000), "ann", "known")
    return await ops.dispatcher.silences.set(one)


async def ack(ops: Desk, **labels: str) -> list[str]:
    matchers = parse_matchers(",".join(f"{name}={value}" for name, value in labels.items()))
    return await ops.dispatcher.acks.ack("", matchers, by="ann", where="Slack", note="on it")


# Acks


def test_an_ack_is_shown_at_once_and_stops_repeats(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(repeat_interval="5m"), chat()) as ops:
            await ops.fire("a")
            await clock.sleep(30)
            assert await ack(ops, alertname="a") == ["{}:{}"]
            acked_ms = clock.now_ms()
            await clock.sleep(3600)
            assert lines(ears) == [(10.0, "slack", FIRST, "A"), (30.0, "slack", TENDED, "A")]
            assert last(ears).notice.care.ack == Ack("ann", acked_ms, "Slack", "on it")
            assert lines(ears, "hook") == [(10.0, "hook", FIRST, "A")]
            await ops.resolve("a")
            await clock.sleep(60)
            assert last(ears).notice.care.ack is not None  # who had it is said at the end
            assert lines(ears, "hook")[1:] == [(3670.0, "hook", ALL, "a")]
            await ops.fire("a")
            await clock.sleep(60)
            assert (last(ears).notice.reason.value, last(ears).notice.care.ack) == (FIRST, None)

    play(scenario)


def test_an_ack_that_is_taken_back_is_over(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(repeat_interval="5m"), chat()) as ops:
            await ops.fire("a")
            await clock.sleep(30)
            await ack(ops, alertname="a")
            await clock.sleep(600)
            (incident,) = {told.notice.incident for told in ears.heard}
            assert await ops.dispatcher.acks.unack(incident, (), by="ann") == ["{}:{}"]
            await clock.sleep(60)
            assert [line[:3] for line in lines(ears)[2:]] == [(630.0, "slack", TENDED), (670.0, "slack", REPEAT)]
            assert last(ears).notice.care.ack is None

    play(scenario)


def test_something_worse_ends_an_ack(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(), chat()) as ops:
            await ops.fire("a", severity="warning")
            await clock.sleep(30)
            await ack(ops, alertname="a")
            await ops.fire("b", severity="warning")
            await clock.sleep(60)
            assert (last(ears).notice.reason.value, last(ears).notice.care.ack is None) == (NEW, False)
            await ops.fire("c", severity="critical")
            await clock.sleep(60)
            assert (last(ears).notice.reason.value, last(ears).notice.care.ack) == (NEW, None)
            await ack(ops, alertname="a")
            await clock.sleep(60)
            assert last(ears).notice.care.ack is not None

    play(scenario)


@pytest.mark.parametrize(("acked", "shown"), [("a", False), ("ab", True)])
def test_a_group_is_acked_when_each_of_its_alerts_is(tmp_path: Path, acked: str, shown: bool) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(), chat()) as ops:
            await ops.fire("a", "b")
            await clock.sleep(30)
            first = last(ears).notice
            said = [
                AckRow(first.incident, "g", AckState.ACKED, "bob", "PagerDuty", clock.now_ms(), each.fingerprint)
                for each in first.alerts
                if each.name in acked
            ]
            await ops.database.write(lambda tx: [note_ack(tx, row) for row in said])
            ops.dispatcher.tend([first.incident])
            await clock.sleep(1)
            assert (last(ears).notice.care.ack is not None) is shown

    play(scenario)


def test_an_ack_covers_the_same_trouble_on_other_routes_and_nothing_more(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        routes = [{"receiver": "pagerduty", "matchers": ["alertname=a"], "continue": True}, {}]
        async with desk(tmp_path, clock, ears, tree(group_by=["alertname"], routes=routes), chat()) as ops:
            await ops.fire("a", "b")
            await clock.sleep(30)
            paged = last(ears, "pd").notice
            keys = await ops.dispatcher.acks.ack(paged.incident, (), by="ann")
            assert sorted(keys) == ['{}/{alertname="a"}:{alertname="a"}', '{}/{}:{alertname="a"}']
            await clock.sleep(1)
            assert lines(ears)[2:] == [(30.0, "slack", TENDED, "A")]

    play(scenario)


def test_what_nobody_was_told_of_cannot_be_acked(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        async with desk(tmp_path, clock, Ears(clock), tree(), chat()) as ops:
            await ops.fire("a")
            await clock.sleep(5)
            assert await ack(ops, alertname="a") == []

    play(scenario)


# Silences


def test_a_silenced_group_says_so_and_when_it_is_heard_again(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(group_by=["alertname"]), chat()) as ops:
            await ops.fire("a", "b")
            await clock.sleep(20)
            its_id = await silence(ops, "alertname=a", 7_200)
            until_ms = clock.now_ms() + 7_200_000
            await clock.sleep(1)
            assert lines(ears)[2:] == [(20.0, "slack", TENDED, "A")]
            assert last(ears).notice.care.silence == SilenceShown("ann", until_ms, "known")
            await ops.dispatcher.silences.expire(its_id)
            await clock.sleep(60)
            assert lines(ears)[3:] == [(21.0, "slack", TENDED, "A")]
            assert last(ears).notice.care.silence is None
            assert len(lines(ears, "hook")) == 2

    play(scenario)


def test_a_group_of_which_something_is_heard_still_is_not_called_silenced(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(), chat()) as ops:
            await ops.fire("a", "b")
            await clock.sleep(20)
            await silence(ops, "alertname=a", 7_200)
            await clock.sleep(5)
            assert last(ears).notice.care.silence is None

    play(scenario)


# Escalation

STEPS = [{"after": "5m", "to": "pagerduty"}, {"after": "20m", "unless": "resolved", "to": ["boss", "pagerduty"]}]


def test_what_nobody_takes_on_is_told_to_others_and_its_end_too(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(escalate=STEPS), chat()) as ops:
            await ops.fire("a")
            await clock.sleep(30 * MINUTE)
            await ops.resolve("a")
            await clock.sleep(600)
            assert lines(ears, "pd", "phone") == [
                (310.0, "pd", FIRST, "A"),
                (1210.0, "phone", FIRST, "A"),
                (1810.0, "pd", ALL, "a"),
                (1810.0, "phone", ALL, "a"),
            ]
            assert lines(ears) == [
                (10.0, "slack", FIRST, "A"),
                (310.0, "slack", ESCALATED, "A"),
                (1210.0, "slack", ESCALATED, "A"),
                (1810.0, "slack", ALL, "a"),
            ]
            steps = (Escalated("pagerduty", 300_000), Escalated("boss, pagerduty", 1_200_000))
            assert last(ears).notice.care.escalated == steps
            assert {told.notice.receiver for told in ears.heard if told.destination == "pd"} == {"pagerduty"}
            assert ops.database.read("SELECT * FROM notification") == []

    play(scenario)


def test_an_ack_holds_back_the_steps_that_heed_it(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(escalate=STEPS), chat()) as ops:
            await ops.fire("a")
            await clock.sleep(60)
            await ack(ops, alertname="a")
            await clock.sleep(10 * MINUTE)
            assert lines(ears, "pd", "phone") == []
            await clock.sleep(10 * MINUTE)
            assert sorted(line[1:3] for line in lines(ears, "pd", "phone")) == [("pd", FIRST), ("phone", FIRST)]

    play(scenario)


def test_what_is_silenced_wakes_nobody_later(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(escalate=STEPS), chat()) as ops:
            await ops.fire("a")
            await clock.sleep(60)
            await silence(ops, "alertname=a", 600)
            await clock.sleep(9 * MINUTE)
            assert lines(ears, "pd") == []
            assert last(ears).notice.care.escalated == ()
            await clock.sleep(120)
            assert lines(ears, "pd") == [(670.0, "pd", FIRST, "A")]

    play(scenario)


def test_an_escalation_outlives_the_process_and_is_told_once(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        policy = tree(escalate=STEPS, group_interval="1h")
        async with desk(tmp_path, clock, ears, policy, chat()) as ops:
            await ops.fire("a")
            await clock.sleep(100)
        await clock.sleep(1000)
        for _ in range(3):
            async with desk(tmp_path, clock, ears, policy, chat()):
                await clock.sleep(10)
        assert lines(ears, "pd", "phone") == [(1100.0, "pd", FIRST, "A")]
        async with desk(tmp_path, clock, ears, replace(policy, route=tree(group_interval="1h").route), chat()) as ops:
            await ops.resolve("a")
            await clock.sleep(3600)
        assert lines(ears, "pd")[1:] == [(3610.0, "pd", ALL, "a")]  # though no route escalates any more

    play(scenario)


# Repeats


def test_repeats_of_warnings_may_come_later_and_later(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        growing = tree(repeat_interval="1h", repeat_growth=2, max_repeat_interval="3h", group_by=["alertname"])
        async with desk(tmp_path, clock, ears, growing) as ops:
            await ops.fire("a", severity="warning")
            await ops.fire("b", severity="critical")
            await clock.sleep(10 * 3600)
            repeats = [(round((at - 10) / 3600), names) for at, _, reason, names in ears.lines if reason == REPEAT]
            assert [at for at, names in repeats if names == "A"] == [1, 3, 6, 9]
            assert [at for at, names in repeats if names == "B"] == list(range(1, 10))

    play(scenario)


# Changes


def test_a_message_is_edited_when_what_it_says_has_changed(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)

        async def says(summary: str, value: float) -> None:
            alert = Alert(Labels({"alertname": "a"}), {"summary": summary}, 0, value=value)
            await ops.hand_over(Transition(TransitionKind.CHANGED, alert))

        async with desk(tmp_path, clock, ears, tree(), chat()) as ops:
            await says("7.41 % failed", 7.41)
            await clock.sleep(30)
            await says("7.44 % failed", 7.44)
            await clock.sleep(60)
            assert len(lines(ears)) == 1
            for failed in (8, 9, 10):
                await says(f"{failed} % failed", failed)
                await clock.sleep(20)
            await clock.sleep(120)
            assert [line[:3] for line in lines(ears)[1:]] == [(120.0, "slack", CHANGED), (180.0, "slack", CHANGED)]
            assert last(ears).notice.alerts[0].annotations == {"summary": "10 % failed"}
            assert len(lines(ears, "hook")) == 1

    play(scenario)


@pytest.mark.parametrize("muted", [False, True])
def test_an_alert_that_turns_back_after_an_ack_has_shown_it_is_shown_again(tmp_path: Path, *, muted: bool) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        minute = clock.now_ms() // 60_000 % 1_440
        hours = {"start_time": at(minute + 1), "end_time": at(minute + 3)}  # after 40 s, for two minutes
        interval = TimeIntervalSettings.model_validate({"name": "soon", "time_intervals": [{"times": [hours]}]})
        route = {"matchers": ["alertname=~.+"], "mute_time_intervals": ["soon"] if muted else []}
        policy = replace(tree(routes=[route]), intervals=build_intervals([interval]))
        async with desk(tmp_path, clock, ears, policy, chat()) as ops:
            await ops.fire("a", "b")
            await clock.sleep(20)
            await ops.resolve("b")
            await ack(ops, alertname="a")
            await clock.sleep(5)
            await ops.fire("b")
            await clock.sleep(235)
            shown_again_s = 190.0 if muted else 70.0
            assert lines(ears)[1:] == [(20.0, "slack", TENDED, "Ab"), (shown_again_s, "slack", CHANGED, "AB")]
            await ops.resolve("b")
            await clock.sleep(60)
            assert lines(ears)[-1][2:] == (SOME, "Ab")
            await ops.fire("b")
            await ops.dispatcher.acks.unack("", parse_matchers("alertname=a"), by="ann")
            await clock.sleep(5)
            assert lines(ears)[-1][2:] == (TENDED, "AB")
            await ops.resolve("b")
            await clock.sleep(60)
            assert lines(ears)[-1][2:] == (CHANGED, "Ab")

    play(scenario)


# Flapping


def test_a_group_that_flaps_is_edited_until_it_is_calm(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(group_interval="30s"), chat()) as ops:
            for _ in range(3):
                await ops.fire("a", severity="warning")
                await clock.sleep(60)
                await ops.resolve("a", severity="warning")
                await clock.sleep(60)
            await ops.fire("a", severity="warning")
            await clock.sleep(2 * 3600)
            heard = [told.notice for told in ears.heard if told.destination == "slack"]
            assert [one.care.flaps for one in heard] == [0, 0, 0, 4, 5, 6, 7, 0]
            assert [one.reason.value for one in heard] == [FIRST, ALL] * 3 + [FIRST, CALM]
            second = heard[2].incident
            assert [one.care.home for one in heard] == ["", "", "", "", second, second, second, second]
            assert ears.heard[-1].at == pytest.approx(heard[6].decided_ms / 1000 - heard[0].decided_ms / 1000 + 3610)
            assert all(told.notice.care.flaps == 0 for told in ears.heard if told.destination == "hook")

    play(scenario)


@pytest.mark.parametrize(("critical", "flaps"), [(False, 0), (True, 5)])
def test_a_critical_group_flaps_only_if_the_config_says_so(tmp_path: Path, critical: bool, flaps: int) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        policy = replace(tree(group_interval="30s"), flapping=FlapSettings(critical=critical))
        async with desk(tmp_path, clock, ears, policy, chat()) as ops:
            for _ in range(2):
                await ops.fire("a", severity="critical")
                await clock.sleep(60)
                await ops.resolve("a", severity="critical")
                await clock.sleep(60)
            await ops.fire("a", severity="critical")
            await clock.sleep(60)
            assert last(ears).notice.care.flaps == flaps

    play(scenario)


# Maintenance


def test_what_begins_in_a_maintenance_window_is_told_at_its_end(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        minute = clock.now_ms() // 60_000 % 1_440
        hours = {"start_time": at(minute - 30), "end_time": at(minute + 30)}
        interval = TimeIntervalSettings.model_validate({"name": "now", "time_intervals": [{"times": [hours]}]})
        window = MaintenanceSettings.model_validate({"name": "backup", "matchers": ["a=b"], "time_intervals": ["now"]})
        policy = replace(tree(), intervals=build_intervals([interval]), maintenance=(window.window(),))
        async with desk(tmp_path, clock, ears, policy, chat()) as ops:
            await ops.fire("a", a="b")
            await ops.fire("c")
            await clock.sleep(60)
            assert lines(ears) == [(10.0, "slack", FIRST, "C")]
            (view,) = (view for view in ops.dispatcher.alerts().values() if view.alert.name == "a")
            assert view.silenced_by == ("maintenance:backup",)
            await clock.sleep(40 * 60)
            ((told_at, _, reason, names),) = lines(ears)[1:]
            assert (reason, names) == (NEW, "CA")
            assert 29 * 60 < told_at < 32 * 60

    play(scenario)


def at(minute: int) -> str:
    assert 0 < minute < 1_440
    return f"{minute // 60:02}:{minute % 60:02}"


# What goes wrong meanwhile


def test_a_muted_time_wakes_nobody_and_is_caught_up(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        minute = clock.now_ms() // 60_000 % 1_440
        hours = {"start_time": at(minute + 2), "end_time": at(minute + 30)}
        interval = TimeIntervalSettings.model_validate({"name": "soon", "time_intervals": [{"times": [hours]}]})
        route = {"matchers": ["alertname=a"], "mute_time_intervals": ["soon"]}
        policy = replace(tree(escalate=STEPS[:1], routes=[route]), intervals=build_intervals([interval]))
        async with desk(tmp_path, clock, ears, policy, chat()) as ops:
            await ops.fire("a")
            await clock.sleep(20 * MINUTE)
            assert lines(ears, "slack", "pd") == [(10.0, "slack", FIRST, "A")]
            await clock.sleep(20 * MINUTE)
            assert sorted(line[1:3] for line in lines(ears, "slack", "pd")[1:]) == [("pd", FIRST), ("slack", ESCALATED)]

    play(scenario)


class Defective(FakeDestination):
    """Cannot make actions of its first notice."""

    failed = False

    def actions(self, notice: Notice) -> Sequence[Action]:
        if not self.failed:
            self.failed = True
            raise RuntimeError("a defect")
        return super().actions(notice)


def test_a_step_whose_destination_fails_is_taken_at_the_next_flush(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        policy = tree(escalate=[{"after": "90s", "to": "pagerduty"}])
        async with desk(tmp_path, clock, ears, policy, {**chat(), "pagerduty": [Defective("pd")]}) as ops:
            await ops.fire("a")
            await clock.sleep(300)
            assert lines(ears, "pd") == [(130.0, "pd", FIRST, "A")]

    play(scenario)


def test_after_an_upgrade_no_message_is_edited_for_what_it_says_already(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree(), chat()) as ops:
            await ops.fire("a")
            await clock.sleep(20)
            await ops.database.write(lambda tx: tx.execute("UPDATE notification SET content = ''"))
        async with desk(tmp_path, clock, ears, tree(), chat()) as ops:
            await clock.sleep(200)
            assert len(lines(ears)) == 1
            assert [bool(content) for (content,) in ops.database.read("SELECT content FROM notification")] == [
                False,
                True,
            ]

    play(scenario)


def test_a_group_that_flaps_does_so_across_restarts(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        for _ in range(3):
            async with desk(tmp_path, clock, ears, tree(), chat()) as ops:
                await ops.fire("a", severity="warning")
                await clock.sleep(70)
                await ops.resolve("a", severity="warning")
                await clock.sleep(70)
        async with desk(tmp_path, clock, ears, tree(), chat()) as ops:
            await ops.fire("a", severity="warning")
            await clock.sleep(1800)
        assert last(ears).notice.care.flaps == 7
        async with desk(tmp_path, clock, ears, tree(), chat()):
            await clock.sleep(3600)
        assert last(ears).notice.reason.value == CALM

    play(scenario)


def test_a_receiver_without_destinations_is_escalated_to_in_vain(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        steps = [{"after": "20s", "to": "nobody"}, {"after": "30s", "to": "ops"}]
        async with desk(tmp_path, clock, ears, tree(escalate=steps), chat()) as ops:
            await ops.fire("a")
            await clock.sleep(600)
            assert [line[2] for line in lines(ears)] == [FIRST, ESCALATED]  # whoever has it is told louder

    play(scenario)
