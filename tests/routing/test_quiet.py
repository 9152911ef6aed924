"""What is kept quiet at a flush, by silences, inhibition and time intervals, and what is told all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from obskit.model.alert_matchers import parse_matchers
from obskit.model.labels import Labels
from obskit.routing.inhibit import InhibitRuleSettings
from obskit.routing.intake import Posted
from obskit.routing.intervals import TimeIntervalSettings, build_intervals
from obskit.routing.policy import Policy
from obskit.routing.silences import Silence
from obskit.testing.clock import FakeClock
from tests.outbox.fakes import play
from tests.routing.fakes import Desk, Ears, FakeDestination, desk, tree

FIRST, NEW, SOME, ALL = (
    "first notification",
    "new alerts added",
    "some alerts resolved",
    "all alerts resolved",
)


async def silence(ops: Desk, matchers: str, length_s: float) -> str:
    now_ms = ops.clock.now_ms()
    silences = ops.dispatcher.silences
    return await silences.set(Silence(parse_matchers(matchers), now_ms, now_ms + round(length_s * 1000)))


def inhibiting(**rule: Any) -> Policy:
    return replace(tree(group_by=["alertname"]), inhibit_rules=(InhibitRuleSettings.model_validate(rule).rule(),))


def test_a_silenced_alert_is_not_told_until_the_silence_is_over(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await silence(ops, "alertname=a", 100)
            await ops.fire("a", "b")
            await clock.sleep(200)
            assert ears.lines == [(10.0, "slack", FIRST, "B"), (130.0, "slack", NEW, "AB")]

    play(scenario)


def test_a_silence_that_is_expired_is_heeded_no_longer(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            its_id = await silence(ops, "alertname=a", 10_000)
            await ops.fire("a")
            await clock.sleep(20)
            await ops.dispatcher.silences.expire(its_id)
            await clock.sleep(60)
            assert ears.lines == [(70.0, "slack", FIRST, "A")]

    play(scenario)


def test_who_was_told_that_it_fires_is_told_the_end_in_spite_of_a_silence(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a", "b")
            await clock.sleep(20)
            await silence(ops, 'alertname=~"a|b|c"', 10_000)
            await ops.fire("c")
            await clock.sleep(60)
            await ops.resolve("a", "b", "c")
            await clock.sleep(200)
            assert ears.lines == [(10.0, "slack", FIRST, "AB"), (130.0, "slack", ALL, "ab")]
            assert ops.database.read("SELECT * FROM alert") == []

    play(scenario)


def test_a_silence_outlives_the_process(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await silence(ops, "alertname=a", 1_000)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a")
            await clock.sleep(300)
            assert ears.lines == []

    play(scenario)


def test_a_target_is_quiet_while_a_source_fires(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        policy = inhibiting(source_matchers=["alertname=down"], target_matchers=["alertname=slow"])
        async with desk(tmp_path, clock, ears, policy) as ops:
            await ops.fire("down", "slow")
            await clock.sleep(40)
            await ops.resolve("down")
            await clock.sleep(100)
            assert [line[3] for line in ears.lines] == ["DOWN", "down", "SLOW"]

    play(scenario)


def test_a_silenced_source_and_one_that_nobody_hears_inhibit_all_the_same(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        policy = inhibiting(source_matchers=["alertname=~down|off"], target_matchers=["alertname=slow"])
        async with desk(tmp_path, clock, ears, policy) as ops:
            await silence(ops, "alertname=down", 10_000)
            await ops.fire("down", "slow")
            await clock.sleep(300)
            assert ears.lines == []

    play(scenario)


def test_inhibition_is_known_after_a_restart(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        policy = inhibiting(source_matchers=["alertname=down"], target_matchers=["alertname=slow"])
        async with desk(tmp_path, clock, ears, policy) as ops:
            await ops.fire("down")
            await clock.sleep(20)
        async with desk(tmp_path, clock, ears, policy) as ops:
            await ops.fire("slow")
            await clock.sleep(100)
            assert [line[3] for line in ears.lines] == ["DOWN"]

    play(scenario)


def muted(clock: FakeClock, key: str, name: str = "minute") -> Policy:
    """A route that is muted in (or active in) the minute after the next one begins."""
    from datetime import UTC, datetime, timedelta

    start = datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + timedelta(minutes=1)
    span = {"start_time": f"{start:%H:%M}", "end_time": f"{start + timedelta(minutes=5):%H:%M}"}
    settings = TimeIntervalSettings.model_validate({"name": name, "time_intervals": [{"times": [span]}]})
    policy = tree(routes=[{"matchers": ["alertname!=other"], key: [name]}])
    return replace(policy, intervals=build_intervals([settings]))


@pytest.mark.parametrize("key", ["mute_time_intervals", "active_time_intervals"])
def test_a_route_is_quiet_at_its_times(tmp_path: Path, key: str) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, muted(clock, key)) as ops:
            await clock.sleep(120)
            await ops.fire("a")
            await clock.sleep(600)
            expected = (
                [(130.0, "slack", FIRST, "A")] if key == "active_time_intervals" else [(370.0, "slack", FIRST, "A")]
            )
            assert ears.lines == expected

    play(scenario)


def test_an_end_in_a_muted_time_is_told_when_it_is_over(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, muted(clock, "mute_time_intervals")) as ops:
            await ops.fire("a")
            await clock.sleep(120)
            await ops.fire("b")
            await clock.sleep(30)
            await ops.resolve("a", "b")
            (view,) = ops.dispatcher.snapshot()
            assert view.muted_by == ("minute",)
            await clock.sleep(600)
            assert ears.lines == [(10.0, "slack", FIRST, "A"), (370.0, "slack", ALL, "a")]
            assert ops.database.read("SELECT * FROM alert") == []

    play(scenario)


def test_an_alert_of_others_is_told_and_ends_when_it_is_not_posted_again(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, replace(tree(), resolve_timeout_ms=100_000)) as ops:
            for _ in range(3):
                await ops.dispatcher.post([Posted(Labels({"alertname": "a"}), {"summary": "s"})])
                await clock.sleep(50)
            await clock.sleep(300)
            assert ears.lines == [(10.0, "slack", FIRST, "A"), (250.0, "slack", ALL, "a")]
            over = ears.heard[-1].notice.alerts[0]
            assert ((over.ends_ms or 0) - over.starts_ms) == 200_000

    play(scenario)


def test_an_alert_of_others_ends_at_their_word(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            start = clock.now_ms()
            await ops.dispatcher.post([Posted(Labels({"alertname": "a"}), {}, start, start + 10_000_000)])
            await clock.sleep(20)
            await ops.dispatcher.post([Posted(Labels({"alertname": "a"}), {}, start, clock.now_ms())])
            await clock.sleep(100)
            assert ears.lines == [(10.0, "slack", FIRST, "A"), (70.0, "slack", ALL, "a")]

    play(scenario)


def test_what_others_say_of_an_alert_of_ours_changes_nothing(tmp_path: Path) -> None:
    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        async with desk(tmp_path, clock, ears, tree()) as ops:
            await ops.fire("a")
            await clock.sleep(20)
            await ops.dispatcher.post([Posted(Labels({"alertname": "a"}), {}, None, clock.now_ms())])
            await clock.sleep(200)
            assert ears.lines == [(10.0, "slack", FIRST, "A")]

    play(scenario)


def test_each_destination_hears_the_end_of_what_it_was_told(tmp_path: Path) -> None:
    """One is new since a reload, and was never told of what a silence has kept quiet since."""

    async def scenario(clock: FakeClock) -> None:
        ears = Ears(clock)
        reach = {"ops": [FakeDestination("slack")]}
        async with desk(tmp_path, clock, ears, tree(), reach) as ops:
            await ops.fire("a")
            await clock.sleep(20)
            await silence(ops, "alertname=a", 10_000)
            ops.dispatcher.reload(tree(), {"ops": [FakeDestination("slack"), FakeDestination("pd")]})
            await clock.sleep(60)
            await ops.resolve("a")
            await clock.sleep(100)
            assert [line[1:] for line in ears.lines] == [("slack", FIRST, "A"), ("slack", ALL, "a")]

    play(scenario)
