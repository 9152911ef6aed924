"""Machines of a whole organisation: what is said of them, what is not known, and every event told once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from obskit.collect import TargetStatus
from obskit.model.samples import is_stale
from obskit.testing.clock import FakeClock, run
from obskit.testing.fly import FakeFly
from obskit.testing.http import Failure
from obskit_collectors.fly_machine import Exit, ExitReason
from tests.collectors.fly_setting import last_values, named, run_for, settings
from tests.collectors.kept import Kept
from tests.collectors.patient import patient_clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    return patient_clock(monkeypatch)


@pytest.fixture
def fly(clock: FakeClock) -> Iterator[FakeFly]:
    with FakeFly(clock) as server:
        server.machine("shop", "m1")
        yield server


def watching(
    fly: FakeFly,
    clock: FakeClock,
    work: Callable[[], Awaitable[None]] | None = None,
    kept: Kept | None = None,
    **config: Any,
) -> tuple[Kept, Sequence[TargetStatus]]:
    """The machines are read for 70 s, then `work` happens, then again for 70 s."""
    kept = kept or Kept()

    async def scenario() -> Sequence[TargetStatus]:
        task = asyncio.create_task(run_for(140, settings(fly, machines=True, **config), kept, clock))
        await clock.sleep(70)
        if work is not None:
            await work()
        return await task

    return kept, run(scenario(), clock)


def states(kept: Kept) -> dict[tuple[str, ...], float]:
    """The last value of each state that did not end."""
    found = last_values(kept, "fly_machine_state", "machine", "state")
    return {key: value for key, value in found.items() if not is_stale(value)}


def exits(kept: Kept) -> dict[tuple[str, ...], float]:
    return last_values(kept, "fly_machine_exits_total", "app", "reason")


def test_each_machine_has_a_state_and_exits_begin_at_zero(fly: FakeFly, clock: FakeClock) -> None:
    fly.machine("worker", "m2", state="stopped", region="ams")
    kept, rows = watching(fly, clock)
    assert states(kept) == {("m1", "started"): 1.0, ("m2", "stopped"): 1.0}
    assert exits(kept) == {(app, reason.value): 0.0 for app in ("shop", "worker") for reason in ExitReason}
    assert last_values(kept, "fly_machine_host_up", "machine", "process_group")["m1", "app"] == 1.0
    assert [(row.target, row.up) for row in rows] == [("machines", True)]


@pytest.mark.parametrize("monitor", [False, True])
@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"exit_code": 137, "oom_killed": True}, "oom"),
        ({"exit_code": 1, "guest_signal": -1}, "crash"),
        ({"guest_exit_code": 3}, "crash"),
        ({"signal": 9}, "crash"),
        ({"exit_code": 143, "requested_stop": True}, "requested"),
        ({"guest_signal": -1, "signal": -1}, "clean"),
        ({}, "clean"),
    ],
)
def test_an_exit_is_counted_by_reason_and_told_as_an_event(
    fly: FakeFly, clock: FakeClock, told: dict[str, Any], reason: str, monitor: bool
) -> None:
    async def happens() -> None:
        fly.exit("m1", monitor=monitor, exited_at="2026-10-02T08:16:52.300Z", **told)

    kept, _ = watching(fly, clock, happens)
    assert exits(kept)["shop", reason] == 1.0
    (event,) = named(kept, "machine.exit")
    assert event.metadata["reason"] == reason
    assert event.metadata["url"] == "https://fly.io/apps/shop/machines/m1"
    assert str(event.stream) == '{app="shop", event="machine", source="event"}'
    assert event.metadata.get("level") == ("error" if reason in ("oom", "crash") else None)


def test_a_line_tells_how_it_ended(fly: FakeFly, clock: FakeClock) -> None:
    async def happens() -> None:
        fly.exit("m1", exit_code=137, oom_killed=True, restart_count=3)
        fly.exit("m1", exit_code=2, signal=6)

    kept, _ = watching(fly, clock, happens)
    assert [event.line for event in named(kept, "machine.exit")] == [
        "machine m1 (app, fra): exit, out of memory, restart 3",
        "machine m1 (app, fra): exit, crashed with code 2, signal 6",
    ]


def test_events_are_told_once_however_often_it_is_killed_and_exits_go_on_counting(
    fly: FakeFly, clock: FakeClock
) -> None:
    kept = Kept()
    for number in range(4):
        fly.exit("m1", exit_code=number + 1)
        fly.event("m1", "start")
        run(run_for(45, settings(fly, machines=True), kept, clock), clock)
    assert len(named(kept, "machine.exit")) == len(named(kept, "machine.start")) == 4
    assert exits(kept)["shop", "crash"] == 4.0


def test_at_the_first_start_old_events_are_no_news(fly: FakeFly, clock: FakeClock) -> None:
    fly.event("m1", "start", t_ms=clock.now_ms() - 2 * 3_600_000)
    fly.event("m1", "restart", t_ms=clock.now_ms() - 60_000)
    kept, _ = watching(fly, clock)
    assert [event.metadata["name"] for event in kept.records] == ["machine.restart"]


def test_what_the_short_list_of_events_leaves_out_is_asked_for(fly: FakeFly, clock: FakeClock) -> None:
    fly.event("m1", "start")

    async def happens() -> None:
        for _ in range(9):
            fly.exit("m1", exit_code=1)
            await clock.sleep(0.01)

    kept, _ = watching(fly, clock, happens)
    assert exits(kept)["shop", "crash"] == 9.0


def test_events_without_ids_times_or_known_words_do_no_harm(fly: FakeFly, clock: FakeClock) -> None:
    async def happens() -> None:
        fly.machine("shop", "m1", events=[
            {"type": "exit", "status": "stopped", "timestamp": clock.now_ms(), "request": "?"},
            {"type": "exit", "status": "stopped", "timestamp": clock.now_ms(), "request": "?"},
            {"type": "levitate", "timestamp": clock.now_ms(), "source": 7},
            {"type": "start"},
            None,
        ])  # fmt: skip

    kept, _ = watching(fly, clock, happens)
    assert sorted(event.metadata["name"] for event in kept.records) == ["machine.exit", "machine.levitate"]


def test_a_machine_that_fails_again_and_again_is_a_crash_loop_until_it_is_old_news(
    fly: FakeFly, clock: FakeClock
) -> None:
    kept = Kept()

    async def happens() -> None:
        fly.exit("m1", exit_code=1, restarting=True, restart_count=4)

    watching(fly, clock, happens, kept)
    assert last_values(kept, "fly_machine_crash_loop", "machine")["m1",] == 1.0
    run(run_for(700, settings(fly, machines=True), kept, clock), clock)
    assert last_values(kept, "fly_machine_crash_loop", "machine")["m1",] == 0.0


@pytest.mark.parametrize(
    ("state", "told", "policy", "given_up"),
    [
        ("stopped", {"exit_code": 1}, "on-failure", 1.0),
        ("stopped", {"oom_killed": True}, "", 1.0),
        ("stopped", {"exit_code": 1}, "no", 0.0),
        ("stopped", {"exit_code": 1, "restarting": True}, "on-failure", 0.0),
        ("stopped", {"exit_code": 1, "requested_stop": True}, "on-failure", 0.0),
        ("stopped", {}, "on-failure", 0.0),
        ("started", {"exit_code": 1}, "on-failure", 0.0),
    ],
)
def test_a_machine_whose_restarts_are_used_up_is_down_for_good(
    fly: FakeFly, clock: FakeClock, *, state: str, told: dict[str, Any], policy: str, given_up: float
) -> None:
    config = {**fly.machines["m1"]["config"], "restart": {"policy": policy}}
    fly.machine("shop", "m1", state=state, config=config)
    fly.exit("m1", **told)
    kept, _ = watching(fly, clock)
    assert last_values(kept, "fly_machine_given_up", "machine")["m1",] == given_up


def test_checks_are_read_again_although_the_listing_says_nothing_of_them(fly: FakeFly, clock: FakeClock) -> None:
    fly.machine("shop", "m1", checks=[{"name": "http", "status": "passing"}, {"name": "bg_deployments_compat_1"}])

    async def happens() -> None:
        fly.machines["m1"]["checks"] = [{"name": "http", "status": "critical", "output": "timeout"}, {"name": ""}, 5]

    kept, _ = watching(fly, clock, happens)
    checks = last_values(kept, "fly_machine_check", "check", "status")
    assert checks["http", "critical"] == 1.0
    assert is_stale(checks["http", "passing"])


def test_a_machine_that_is_destroyed_or_vanishes_ends(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.machine("shop", "m2")
    fly.machine("shop", "m3")

    async def happens() -> None:
        fly.machine("shop", "m2", state="destroyed")
        del fly.machines["m3"]

    watching(fly, clock, happens, kept)
    assert ("m2", "started") not in states(kept)
    run(run_for(5, settings(fly, machines=True), kept, clock), clock)
    clock.advance(600)
    run(run_for(60, settings(fly, machines=True), kept, clock), clock)
    ended = {key for key, value in last_values(kept, "fly_machine_state", "machine").items() if is_stale(value)}
    assert ("m2",) in ended
    assert ("m1",) not in ended


def test_what_vanished_ends_with_the_next_look_at_everything(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.machine("shop", "m3")

    async def scenario() -> None:
        task = asyncio.create_task(run_for(800, settings(fly, machines=True), kept, clock))
        await clock.sleep(70)
        del fly.machines["m3"]
        await task

    run(scenario(), clock)
    assert states(kept) == {("m1", "started"): 1.0}


def test_a_region_that_does_not_answer_is_partial_and_nothing_of_it_is_gone(fly: FakeFly, clock: FakeClock) -> None:
    fly.machine("worker", "m2", region="ams")
    kept = Kept()

    async def scenario() -> Sequence[TargetStatus]:
        task = asyncio.create_task(run_for(800, settings(fly, machines=True), kept, clock))
        await clock.sleep(70)
        fly.error_regions = ["ams"]
        return await task

    (row,) = run(scenario(), clock)
    assert states(kept) == {("m1", "started"): 1.0, ("m2", "started"): 1.0}
    assert (row.up, row.error) == (False, "regions that did not answer: ams")


def test_a_host_that_cannot_be_reached_hides_the_config_and_the_group_is_remembered(
    fly: FakeFly, clock: FakeClock
) -> None:
    async def happens() -> None:
        fly.machine("shop", "m1", host_status="unreachable", config=None, incomplete_config=True)

    kept, _ = watching(fly, clock, happens)
    assert last_values(kept, "fly_machine_host_up", "machine", "process_group") == {("m1", "app"): 0.0}


def test_an_unknown_host_status_is_no_zero(fly: FakeFly, clock: FakeClock) -> None:
    fly.unknown_fields = True
    fly.machine("shop", "m1", state="dreaming")
    kept, _ = watching(fly, clock)
    assert last_values(kept, "fly_machine_host_up", "machine") == {}
    assert states(kept) == {("m1", "dreaming"): 1.0}


def test_machines_of_one_command_have_events_and_no_series(fly: FakeFly, clock: FakeClock) -> None:
    metadata = {"fly_process_group": "fly_app_release_command"}
    fly.machine("shop", "m9", config={"metadata": metadata}, state="failed")
    fly.exit("m9", exit_code=1)
    kept, _ = watching(fly, clock)
    assert states(kept) == {("m1", "started"): 1.0}
    assert len(named(kept, "machine.exit")) == 1


def test_the_listing_has_pages_and_later_only_what_changed(fly: FakeFly, clock: FakeClock) -> None:
    fly.machines_page = 2
    for number in range(2, 6):
        fly.machine("shop", f"m{number}")
    clock.advance(3600)
    kept, _ = watching(fly, clock)
    assert len(states(kept)) == 5
    listings = [request.path for request in fly.requests if fly.route(request) == "machines"]
    assert [("updated_after" in path) for path in listings[:4]] == [False, False, False, True]
    assert sum(fly.route(request) == "machine" for request in fly.requests) == 1


def test_one_app_that_cannot_be_read_takes_nothing_from_the_others(fly: FakeFly, clock: FakeClock) -> None:
    fly.machine("worker", "m2")
    fly.plan(Failure(500), route="machine")
    kept = Kept()
    (row,) = run(run_for(10, settings(fly, machines=True), kept, clock), clock)
    assert (row.up, row.errors) == (False, 1)
    assert len(states(kept)) == 2


def test_an_app_that_could_not_be_read_is_looked_at_again_although_nothing_changed_since(
    fly: FakeFly, clock: FakeClock
) -> None:
    async def happens() -> None:
        fly.plan(Failure(500), route="machine")
        fly.exit("m1", exit_code=1)

    kept, (row,) = watching(fly, clock, happens)
    assert (row.up, row.errors) == (True, 1)
    assert exits(kept)["shop", "crash"] == 1.0


@pytest.mark.parametrize(
    "failure",
    [
        Failure(429, retry_after=5),
        Failure(502),
        Failure(drop=True),
        Failure(200, body='{"machines":[{"id":"m1","st'),
        Failure(200, body='{"machines":"none"}'),
        Failure(200, body="[]", cut=True),
    ],
)
def test_a_bad_answer_says_nothing_of_machines(fly: FakeFly, clock: FakeClock, failure: Failure) -> None:
    async def happens() -> None:
        fly.break_down(failure, route="machines")

    kept, (row,) = watching(fly, clock, happens)
    assert (row.up, row.errors >= 1) == (False, True)
    assert states(kept) == {("m1", "started"): 1.0}


def test_a_wrong_token_stops_the_asking(fly: FakeFly, clock: FakeClock) -> None:
    _, rows = watching(fly, clock, token="fm2_wrong")
    (row,) = [row for row in rows if row.up is not None]
    assert (row.target, row.up, row.errors) == ("token", False, 1)
    assert "fly tokens create readonly acme" in row.error
    assert len(fly.requests) == 1


def test_named_apps_are_all_that_is_read(fly: FakeFly, clock: FakeClock) -> None:
    fly.machine("worker", "m2")
    kept, _ = watching(fly, clock, apps=["worker"])
    assert states(kept) == {("m2", "started"): 1.0}


def test_releases_may_be_read_off_the_machines(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()

    async def happens() -> None:
        config = fly.machines["m1"]["config"]
        metadata = {**config["metadata"], "fly_release_version": "2"}
        fly.machine("shop", "m1", config={**config, "metadata": metadata})

    watching(fly, clock, happens, kept, releases="machines")
    run(run_for(45, settings(fly, machines=True, releases="machines"), kept, clock), clock)
    (deploy,) = named(kept, "deploy")
    assert (deploy.metadata["version"], deploy.metadata["vendor"]) == ("2", "fly")


def test_both_forms_of_an_exit_may_come_and_the_monitors_wins() -> None:
    request = {"exit_event": {"exit_code": 1}, "MonitorEvent": {"exit_event": {"exit_code": 7}}}
    assert Exit.of(request) == Exit(exit_code=7)
    assert Exit.of({"exit_event": None}) is None
