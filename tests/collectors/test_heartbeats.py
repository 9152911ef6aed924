"""Jobs that ping: the protocol, what follows from silence, and that a restart neither forgets nor invents anything."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.collect import Call, Captured, Feed, Source, find_kind, run_once
from obskit.errors import StoreFull
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore
from obskit.store.interface import Batch, Refused
from obskit.store.settings import StoreSettings
from obskit.testing.clock import FakeClock, run
from obskit_collectors.heartbeats import LARGEST_BODY, Heartbeats, HeartbeatsSettings
from obskit_collectors.heartbeats_state import Beat, Kind, Ping, Plan, State, packed, unpacked

UUID = "6f1c9c1e-32a5-4d3b-9a51-1f7d0ad6a1de"
RUN = "b3f7f7a8-0a37-4c39-9c8c-7a0d2b5c8a11"
OTHER = "0d6f24b2-6d5c-4e5c-8d1c-3c0f1f0b7a22"
KEY = "a-ping-key-of-20-chars"
MINUTE, HOUR = 60_000, 3_600_000


class Remembering(Captured):
    """Keeps the newest cursor, as a store does."""

    def __init__(self) -> None:
        super().__init__()
        self.cursors: dict[str, str] = {}

    async def append(self, batch: Batch) -> Refused:
        if batch.cursor is not None:
            self.cursors[batch.cursor.owner] = batch.cursor.value
        return await super().append(batch)

    async def cursor(self, owner: str) -> str | None:
        return self.cursors.get(owner)


def settings(**check: Any) -> HeartbeatsSettings:
    given = {"name": "backup", "uuid": UUID, "period": "1h", "grace": "10m", **check}
    return HeartbeatsSettings(ping_key=KEY, checks=[given])  # type: ignore[arg-type]  # as YAML has it


Scene = Callable[[Heartbeats, FakeClock], Awaitable[None]]


def play(scene: Scene, store: Remembering, clock: FakeClock, **check: Any) -> None:
    """One life of the collector, with a scene in it."""

    async def life() -> None:
        collector = Heartbeats(settings(**check))
        task = asyncio.create_task(collector.run(Feed(collector.name, store, clock)))
        await clock.sleep(1)
        await scene(collector, clock)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(life(), clock)


async def ping(
    collector: Heartbeats, path: str = f"/{UUID}", body: bytes = b"", method: str = "POST"
) -> tuple[int, str]:
    path, _, query = path.partition("?")
    pairs = dict(part.split("=") for part in query.split("&") if part)
    said = await collector.receive(Call(method, path, {}, pairs, body))
    return said.status, said.text


def state(store: Remembering) -> str:
    """The state as it was told last."""
    samples = [
        s for s in store.batches[-1].samples if s.labels["__name__"] == "obskit_heartbeat_state" and s.value == 1
    ]
    (sample,) = samples
    return sample.labels["state"]


def value(store: Remembering, name: str) -> float | None:
    for sample in store.batches[-1].samples:
        if sample.labels["__name__"] == f"obskit_heartbeat_{name}":
            return None if math.isnan(sample.value) else sample.value  # a stale marker
    return None


# The protocol

ANSWERS = [
    ("GET", f"/{UUID}", 200, "OK"),
    ("HEAD", f"/{UUID}", 200, "OK"),
    ("POST", f"/{UUID}/start", 200, "OK"),
    ("POST", f"/{UUID}/fail", 200, "OK"),
    ("POST", f"/{UUID}/log", 200, "OK"),
    ("POST", f"/{UUID}/0", 200, "OK"),
    ("POST", f"/{UUID}/255", 200, "OK"),
    ("POST", f"/{UUID.upper()}/", 200, "OK"),
    ("POST", f"/{UUID}/256", 400, "invalid url format"),
    ("POST", f"/{UUID}/99999999999999999999", 400, "invalid url format"),
    ("POST", f"/{UUID}/-1", 400, "invalid url format"),
    ("POST", f"/{UUID}/²", 400, "invalid url format"),
    ("POST", f"/{UUID}/stop", 400, "invalid url format"),
    ("POST", f"/{UUID}/fail/1", 400, "invalid url format"),
    ("POST", f"/{UUID}?rid={RUN}", 200, "OK"),
    ("POST", f"/{UUID}?rid=7", 400, "invalid uuid format"),
    ("POST", f"/{KEY}/backup", 200, "OK"),
    ("POST", f"/{KEY}/backup/1", 200, "OK"),
    ("POST", f"/{KEY}/other", 404, "not found"),
    ("POST", f"/{KEY}", 404, "not found"),
    ("POST", f"/{KEY[:-1]}/backup", 404, "not found"),
    ("POST", f"/{OTHER}", 404, "not found"),
    ("POST", "/backup", 404, "not found"),
    ("POST", "/", 404, "not found"),
    ("POST", "/é/backup", 404, "not found"),
    ("PUT", f"/{UUID}", 405, "GET, HEAD or POST\n"),
]


@pytest.mark.parametrize(("method", "path", "status", "text"), ANSWERS)
def test_pings_are_answered_as_healthchecks_does(method: str, path: str, status: int, text: str) -> None:
    store = Remembering()

    async def scene(collector: Heartbeats, clock: FakeClock) -> None:
        before = len(store.records)
        assert await ping(collector, path, method=method) == (status, text)
        assert len([r for r in store.records[before:] if r.stream["source"] == "heartbeat"]) == (status == 200)

    play(scene, store, FakeClock())


def test_before_it_runs_and_while_the_store_is_full_the_sender_is_asked_to_come_again() -> None:
    class Full(Remembering):
        full = False

        async def append(self, batch: Batch) -> Refused:
            if self.full:
                raise StoreFull("no room")
            return await super().append(batch)

    store, clock = Full(), FakeClock()

    async def scene(collector: Heartbeats, clock: FakeClock) -> None:
        assert (await ping(Heartbeats(settings())))[0] == 503
        store.full = True
        assert (await ping(collector))[0] == 503
        store.full = False
        await clock.sleep(30)
        assert state(store) == "new"
        assert (await ping(collector))[0] == 200
        assert state(store) == "up"

    play(scene, store, clock)


def test_the_body_is_kept_up_to_a_limit_and_what_it_says_is_a_line() -> None:
    store = Remembering()

    async def scene(collector: Heartbeats, clock: FakeClock) -> None:
        await ping(collector, f"/{UUID}/3?rid={RUN}", b"x" * (LARGEST_BODY + 5))
        await ping(collector, f"/{UUID}/log", b"half \xff way\n")
        await ping(collector)

    play(scene, store, FakeClock())
    failed, logged, plain = [record for record in store.records if record.stream["source"] == "heartbeat"]
    assert failed.line == "x" * LARGEST_BODY
    assert failed.metadata == {"name": "heartbeat.fail", "level": "warning", "run_id": RUN, "exit_status": "3"}
    assert logged.line == "half \ufffd way"
    assert plain.line == "success"
    assert plain.stream["app"] == "backup"


# What follows from pings and from silence


def test_a_job_goes_from_up_to_late_to_missed_and_back() -> None:
    store, seen = Remembering(), []

    async def scene(collector: Heartbeats, clock: FakeClock) -> None:
        assert state(store) == "new"
        await clock.sleep(3 * 3600)
        assert state(store) == "new"  # nobody pinged it ever: no alarm
        await ping(collector)
        for minutes in (0, 59, 2, 8, 2):
            await clock.sleep(minutes * 60 + 1)
            seen.append(state(store))
        await ping(collector)
        seen.append(state(store))

    play(scene, store, FakeClock())
    assert seen == ["up", "up", "late", "late", "missed", "up"]
    events = [record.line for record in store.records if record.stream["source"] == "event"]
    assert events == ["heartbeat.missed: backup", "heartbeat.recovered: backup"]


def test_a_run_is_measured_and_one_that_takes_too_long_is_told() -> None:
    store, seen = Remembering(), []

    async def scene(collector: Heartbeats, clock: FakeClock) -> None:
        await ping(collector, f"/{UUID}/start")
        seen.append(state(store))
        await clock.sleep(90)
        await ping(collector)
        seen.append((state(store), value(store, "duration_seconds"), value(store, "running_seconds")))
        await ping(collector, f"/{UUID}/start")
        await clock.sleep(20 * 60)
        seen.append((state(store), value(store, "up")))
        await ping(collector, f"/{UUID}/fail")
        seen.append((state(store), value(store, "up")))
        await ping(collector, f"/{UUID}/7")
        seen.append((state(store), value(store, "exit_status")))
        await ping(collector)
        seen.append((state(store), value(store, "exit_status")))

    play(scene, store, FakeClock(), max_run="15m")
    assert seen[:2] == ["started", ("up", 90, None)]
    assert seen[2:] == [("too_long", 0), ("failed", 0), ("failed", 7), ("up", None)]


def test_runs_side_by_side_are_told_apart_by_their_ids() -> None:
    beat = Beat().heard(Ping(Kind.START, 0, RUN)).heard(Ping(Kind.START, 1000, OTHER))
    first = beat.heard(Ping(Kind.SUCCESS, 5000, RUN))
    assert (first.duration_ms, dict(first.runs)) == (5000, {OTHER: 1000})
    second = beat.heard(Ping(Kind.SUCCESS, 5000, OTHER))
    assert (second.duration_ms, dict(second.runs)) == (4000, {})  # the older one crashed: its end will not come
    unknown = beat.heard(Ping(Kind.SUCCESS, 5000))
    assert (unknown.duration_ms, dict(unknown.runs)) == (4000, {})
    stranger = beat.heard(Ping(Kind.SUCCESS, 5000, UUID))
    assert (stranger.duration_ms, dict(stranger.runs)) == (None, beat.runs)
    many = Beat()
    for number in range(100):
        many = many.heard(Ping(Kind.START, number, str(number)))
    assert len(many.runs) == 10


def test_a_schedule_in_a_time_zone_says_when_a_ping_is_due() -> None:
    store = Remembering()

    async def scene(collector: Heartbeats, clock: FakeClock) -> None:
        await ping(collector)
        assert value(store, "expected_timestamp_seconds") == 1_700_013_600  # 2023-11-15 03:00 in Berlin
        assert value(store, "deadline_timestamp_seconds") == 1_700_013_600 + 600

    play(scene, store, FakeClock(), period=None, schedule="0 3 * * *", timezone="Europe/Berlin")


# Restarts


def test_a_restart_forgets_nothing() -> None:
    store, clock = Remembering(), FakeClock()

    async def fail(collector: Heartbeats, clock: FakeClock) -> None:
        await ping(collector, f"/{UUID}/start?rid={RUN}")
        await ping(collector, f"/{UUID}/9")

    async def look(collector: Heartbeats, clock: FakeClock) -> None:
        assert state(store) == "failed"
        assert value(store, "exit_status") == 9

    play(fail, store, clock)
    known = len(store.records)
    clock.advance(30)
    play(look, store, clock)
    assert len(store.records) == known, "what was told is not told again"


def test_time_while_obskit_was_down_makes_nobody_late_and_what_was_missed_stays_so() -> None:
    store, clock, seen = Remembering(), FakeClock(), []

    async def once(collector: Heartbeats, clock: FakeClock) -> None:
        await ping(collector)

    async def watch(collector: Heartbeats, clock: FakeClock) -> None:
        seen.append(state(store))
        await clock.sleep(9 * 60)
        seen.append(state(store))
        await clock.sleep(2 * 60)
        seen.append(state(store))

    async def look(collector: Heartbeats, clock: FakeClock) -> None:
        seen.append(state(store))

    play(once, store, clock)
    clock.advance(5 * 3600)  # obskit is down; its ping may have been sent meanwhile
    play(watch, store, clock)
    clock.advance(60)
    play(look, store, clock)
    assert seen == ["late", "late", "missed", "missed"]


def test_a_run_that_may_have_ended_while_obskit_was_down_is_given_its_grace_once_more() -> None:
    plan = Plan(grace_ms=10 * MINUTE, max_run_ms=HOUR, period_ms=HOUR)
    beat = Beat().heard(Ping(Kind.START, 0))
    awake = 5 * HOUR
    assert beat.state_at(awake, plan, awake) is State.STARTED
    assert beat.state_at(awake + 10 * MINUTE, plan, awake) is State.TOO_LONG
    told = unpacked({**packed(beat), "state": "too_long"})
    assert told.state_at(awake, plan, awake) is State.TOO_LONG


def test_the_state_of_a_job_survives_the_real_store(tmp_path: Path) -> None:
    clock = FakeClock()

    async def life(action: str) -> list[str]:
        database = Database.open(tmp_path)
        store = EmbeddedStore(database, clock, StoreSettings())
        store.load()
        collector = Heartbeats(settings())
        task = asyncio.create_task(collector.run(Feed(collector.name, store, clock)))
        await clock.sleep(1)
        if action:
            assert (await ping(collector, f"/{UUID}/{action}", b"disk full"))[0] == 200
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        saved = await store.cursor("heartbeats")
        await database.close()
        return [saved or ""]

    before = run(life("fail"), clock)
    clock.advance(3600)
    assert run(life(""), clock) == before
    assert '"failed": true' in before[0]


def test_what_an_unknown_build_saved_is_read_as_far_as_it_goes() -> None:
    assert unpacked({}) == Beat()
    assert unpacked({"state": "no_such_state", "last": 5}).last_ms == 5
    beat = Beat(1, 2, {"a": 3}, failed=True, exit_status=4, duration_ms=5, state=State.FAILED)
    assert unpacked(packed(beat)) == beat


MOMENTS = st.lists(
    st.tuples(st.integers(1, 3 * HOUR), st.sampled_from(Kind), st.sampled_from(["", RUN, OTHER]), st.booleans())
)


@given(MOMENTS)
def test_a_restart_between_any_two_pings_changes_nothing_and_no_end_leaves_an_old_run(
    moments: list[tuple[int, Kind, str, bool]],
) -> None:
    plan, now_ms, beat, without = Plan(10 * MINUTE, HOUR, period_ms=HOUR), 0, Beat(), Beat()
    for pause_ms, kind, run_id, restarts in moments:
        now_ms += pause_ms
        ping = Ping(kind, now_ms, run_id)
        beat, without = beat.heard(ping), without.heard(ping)
        if restarts:
            beat = unpacked(json.loads(json.dumps(packed(beat))))
        assert beat == without
        found = beat.state_at(now_ms, plan, 0)
        assert (found is State.FAILED) == beat.failed
        if kind is Kind.SUCCESS:
            assert not found.wrong or found is State.TOO_LONG
            assert all(run_id and at_ms > 0 for at_ms in beat.runs.values())
        beat = without = replace(beat, state=found)


# Settings

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"checks": []}, "at least 1"),
    ({"checks": [{"name": "A b", "period": "1h"}]}, "pattern"),
    ({"checks": [{"name": "a"}]}, "either period or schedule"),
    ({"checks": [{"name": "a", "period": "1h", "schedule": "@daily"}]}, "either period or schedule"),
    ({"checks": [{"name": "a", "schedule": "61 * * * *"}]}, "minute"),
    ({"checks": [{"name": "a", "schedule": "@daily", "timezone": "Mars/Base"}]}, "no time zone"),
    ({"checks": [{"name": "a", "schedule": "@daily", "timezone": "../etc"}]}, "no time zone"),
    ({"checks": [{"name": "a", "period": "1h", "uuid": "7"}]}, "not a UUID"),
    ({"checks": [{"name": "a", "period": "1h", "labels": {"state": "x"}}]}, "cannot be a label"),
    ({"checks": [{"name": "a", "period": "1h"}] * 2}, "two checks are called a"),
    (
        {"checks": [{"name": "a", "period": "1h", "uuid": UUID}, {"name": "b", "period": "1h", "uuid": UUID.upper()}]},
        "same uuid",
    ),
    ({"ping_key": None, "checks": [{"name": "a", "period": "1h"}]}, "anybody could ping"),
    ({"ping_key": "short", "checks": [{"name": "a", "period": "1h"}]}, "12 letters"),
]


@pytest.mark.parametrize(("given", "words"), WRONG)
def test_settings_that_cannot_be_meant_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        HeartbeatsSettings(**{"ping_key": KEY, **given})


def test_one_of_several_has_paths_of_its_own_and_no_secret_is_printed() -> None:
    several = HeartbeatsSettings(name="eu", ping_key=KEY, checks=[{"name": "a", "period": "1h", "uuid": UUID}])  # type: ignore[arg-type,list-item]
    assert Heartbeats(several).paths == ("/ping/eu",)
    assert Heartbeats(several).name == "heartbeats/eu"
    assert KEY not in repr(several)
    assert UUID not in repr(several)


def test_a_look_without_storing_and_the_doctor_tell_how_jobs_stand() -> None:
    clock = FakeClock()
    captured = run(run_once(Source("heartbeats", settings()), clock), clock)
    assert {s.labels["heartbeat"] for s in captured.samples} == {"backup"}
    (check,) = run(find_kind("heartbeats").doctor(settings(), clock), clock)
    assert check.ok
    assert check.what == "backup pings /ping/<uuid>; after a ping now the next is due 2023-11-14 23:13 UTC"
