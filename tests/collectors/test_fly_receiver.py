"""The log shipper pushes: stored before it is acknowledged, known when it comes again, never refused for one bad element."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from obskit.collect import Call, Feed, Listener, Said
from obskit.store.interface import Batch, Refused
from obskit.testing.clock import FakeClock, run
from obskit.testing.fly import shipped
from obskit_collectors.fly import KIND
from obskit_collectors.fly_receiver import AT_ONCE
from obskit_collectors.fly_settings import FlySettings
from tests.collectors.fly_setting import PARTS, lines
from tests.collectors.kept import Kept

T = TypeVar("T")
SECRET = "shipper-secret"
BEARER = {"authorization": f"Bearer {SECRET}"}


def settings(**config: Any) -> FlySettings:
    return FlySettings.model_validate({**PARTS, "logs": "push", "secret": SECRET, **config})


def call(body: Any = b"", method: str = "POST", headers: dict[str, str] = BEARER) -> Call:
    return Call(method, "", headers, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def listening(work: Callable[[Listener, FakeClock], Awaitable[T]], kept: Kept | None = None, **config: Any) -> T:
    """What `work` makes of a collector that runs."""
    clock = FakeClock()

    async def scenario() -> T:
        collector = KIND.build(settings(**config))
        assert isinstance(collector, Listener)
        feed = Feed(collector.name, Kept() if kept is None else kept, clock)
        task = asyncio.create_task(collector.run(feed))
        await clock.sleep(0)
        await clock.sleep(0)
        try:
            return await work(collector, clock)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            feed.close()

    return run(scenario(), clock)


def said(one: Call, kept: Kept | None = None, **config: Any) -> Said:
    async def work(listener: Listener, _: FakeClock) -> Said:
        return await listener.receive(one)

    return listening(work, kept, **config)


def pushed(number: int, clock: FakeClock | None = None) -> dict[str, Any]:
    return shipped("shop", f"line {number}", (clock or FakeClock()).now_ns() + number)


@pytest.mark.parametrize("form", ["array", "lines"])
def test_a_batch_is_stored_before_it_is_acknowledged(form: str) -> None:
    kept = Kept()
    payloads = [pushed(number) for number in range(3)]
    body = json.dumps(payloads) if form == "array" else "\n".join(map(json.dumps, payloads))
    assert said(call(body.encode()), kept) == Said()
    assert lines(kept) == ["line 0", "line 1", "line 2"]


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("HEAD", {}, 200),
        ("HEAD", BEARER, 200),
        ("HEAD", {"authorization": "Bearer wrong"}, 401),
        ("GET", BEARER, 200),
        ("GET", {}, 401),
        ("POST", {}, 401),
        ("POST", {"authorization": "Bearer ünicode"}, 401),
        ("POST", {"authorization": f"Basic {SECRET}"}, 401),
        ("POST", BEARER, 200),
    ],
)
def test_its_health_check_is_answered_and_lines_need_the_secret(
    method: str, headers: dict[str, str], status: int
) -> None:
    kept = Kept()
    assert said(call([pushed(1)], method, headers), kept).status == status
    assert len(kept.records) == (method == "POST" and status == 200)


def test_one_bad_element_takes_nothing_from_the_others() -> None:
    kept = Kept()
    payloads = [pushed(1), None, {"message": "no app"}, {**pushed(2), "timestamp": "?"}, pushed(3)]
    assert said(call(payloads), kept).status == 200
    assert lines(kept) == ["line 1", "line 3"]


def test_a_body_that_can_never_be_read_is_not_asked_for_again() -> None:
    assert said(call(b"<html>")).status == 400


def test_what_is_sent_again_is_known_also_after_a_restart() -> None:
    kept = Kept()
    first = [pushed(number) for number in range(5)]
    assert said(call(first), kept).status == 200
    assert said(call([*first[3:], pushed(9)]), kept).status == 200
    assert lines(kept) == [f"line {number}" for number in (0, 1, 2, 3, 4, 9)]


def test_what_waited_in_the_shipper_for_hours_is_taken() -> None:
    kept = Kept()
    hour_ns = 3_600_000_000_000
    old = shipped("shop", "old", FakeClock().now_ns() - 5 * hour_ns)
    assert said(call([pushed(1)]), kept).status == 200
    assert said(call([old, pushed(2)]), kept).status == 200
    assert said(call([old | {"message": "older"}]), kept).status == 200
    assert lines(kept) == ["line 1", "old", "line 2", "older"]


def test_before_it_runs_the_shipper_is_asked_to_come_back() -> None:
    collector = KIND.build(settings())
    assert isinstance(collector, Listener)
    assert asyncio.run(collector.receive(call([pushed(1)]))).status == 503


class Slow(Kept):
    """Takes a second for each batch."""

    clock: FakeClock

    async def append(self, batch: Batch) -> Refused:
        await self.clock.sleep(1)
        return await super().append(batch)


def test_under_pressure_it_says_so_and_what_it_took_is_stored() -> None:
    kept = Slow()

    async def work(listener: Listener, clock: FakeClock) -> list[int]:
        kept.clock = clock
        calls = (listener.receive(call([pushed(number)])) for number in range(AT_ONCE + 2))
        return sorted(one.status for one in await asyncio.gather(*calls))

    assert listening(work, kept) == [200] * AT_ONCE + [429] * 2
    assert len(lines(kept)) == AT_ONCE


def test_only_the_apps_that_are_named_are_kept() -> None:
    kept = Kept()
    assert said(call([pushed(1), shipped("other", "x", 1_700_000_000_000_000_000)]), kept, apps=["shop"]).status == 200
    assert lines(kept) == ["line 1"]


@pytest.mark.parametrize(("name", "path"), [("", "/in/fly"), ("eu", "/in/fly/eu")])
def test_its_path_is_its_name(name: str, path: str) -> None:
    collector = KIND.build(settings(name=name))
    assert isinstance(collector, Listener)
    assert collector.paths == (path,)


def test_asked_once_it_has_nothing_to_read() -> None:
    kept, clock = Kept(), FakeClock()
    run(KIND.build(settings()).once(Feed("fly", kept, clock)), clock)
    assert kept.records == []
