"""The live tail beside the query: sooner, never twice, and nothing depends on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from obskit.collect import Feed
from obskit.testing.clock import FakeClock
from obskit.testing.cloudflare import ACCOUNT, FakeCloudflare
from obskit.testing.cloudflare_live import HEARTBEAT, OPEN, FakeLiveTail
from obskit.testing.cloudflare_telemetry import READ, FakeTelemetry, log_row
from obskit.testing.http import Failure
from obskit_collectors.cloudflare import doctor
from obskit_collectors.cloudflare_account import Account
from obskit_collectors.cloudflare_events import LineMaker
from obskit_collectors.cloudflare_ledger import MOST_TAILED, Ledger
from tests.collectors.cloudflare import START_MS, Kept, collector_for, settings_for, while_running

SCRIPT = "shop-api"
MAKER = LineMaker()
S = 1_000
SECRET_TOKEN = "t"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START_MS)


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakeCloudflare]:
    with FakeCloudflare(clock) as server:
        FakeTelemetry(server)
        yield server


@pytest.fixture
def live(fake: FakeCloudflare) -> Iterator[FakeLiveTail]:
    tail = FakeLiveTail(fake)
    yield tail
    tail.close()


async def comes(fake: FakeCloudflare, clock: FakeClock, condition: Callable[[], bool], *, step_s: float = 0.5) -> None:
    """Move the clock on, with a breath for sockets each time, until it holds."""
    while not await asyncio.to_thread(fake.wait_for, condition, 0.02):
        clock.advance(step_s)


def followed(fake: FakeCloudflare, clock: FakeClock, kept: Kept, work: Any) -> None:
    async def scenario() -> None:
        feed = Feed("cloudflare", kept, clock)
        await while_running(collector_for(fake, logs={"live": [SCRIPT], "every": "10s"}), feed, work)

    asyncio.run(scenario())


def line_at(clock: FakeClock, id: str) -> dict[str, Any]:
    return log_row(clock.now_ms(), id, id)


def test_an_event_is_stored_before_the_query_shows_it(
    fake: FakeCloudflare, live: FakeLiveTail, clock: FakeClock
) -> None:
    kept, line = Kept(), line_at(clock, "a")

    async def work() -> None:
        await comes(fake, clock, lambda: bool(live.heartbeats.get(SCRIPT)) and len(fake.requests) >= 3)
        await comes(fake, clock, lambda: live.send(SCRIPT, line) > 0 and "a" in kept.lines)

    followed(fake, clock, kept, work())
    assert kept.lines == ["a"]
    assert dict(kept.records[0].stream) == {"source": "cloudflare", "app": SCRIPT}


def test_heartbeats_go_on_and_three_that_fail_open_the_socket_anew(
    fake: FakeCloudflare, live: FakeLiveTail, clock: FakeClock
) -> None:
    async def work() -> None:
        await comes(fake, clock, lambda: len(live.heartbeats.get(SCRIPT, [])) >= 3, step_s=3)
        fake.plan(*[Failure(500)] * 3, route=f"/client/v4/accounts/{ACCOUNT}{HEARTBEAT}")
        await comes(fake, clock, lambda: len(live.opened) >= 2, step_s=3)

    followed(fake, clock, Kept(), work())
    first, second, third, *_ = live.heartbeats[SCRIPT]
    assert second - first >= 30 * S
    assert third - second >= 30 * S


@pytest.mark.parametrize("code", [1000, 1011])
def test_a_socket_that_ends_is_opened_anew(
    fake: FakeCloudflare, live: FakeLiveTail, clock: FakeClock, code: int
) -> None:
    async def work() -> None:
        await comes(fake, clock, lambda: live.send(SCRIPT) > 0)
        await asyncio.to_thread(live.hang_up, code)
        await comes(fake, clock, lambda: len(live.opened) >= 2)

    followed(fake, clock, Kept(), work())


def test_messages_of_any_form_end_nothing(fake: FakeCloudflare, live: FakeLiveTail, clock: FakeClock) -> None:
    kept, line = Kept(), line_at(clock, "a")

    async def work() -> None:
        await comes(fake, clock, lambda: len(fake.requests) >= 3 and live.send(SCRIPT, "{", "[" * 5000, "7", {}) > 0)
        await comes(fake, clock, lambda: live.send(SCRIPT, line) > 0 and "a" in kept.lines)

    followed(fake, clock, kept, work())
    assert len(live.opened) == 1


def test_what_fails_never_shows_the_sockets_token(
    fake: FakeCloudflare, live: FakeLiveTail, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        await comes(fake, clock, lambda: live.send(SCRIPT) > 0)
        await asyncio.to_thread(live.hang_up, 1011)
        await comes(fake, clock, lambda: len(live.opened) >= 2)

    followed(fake, clock, Kept(), work())
    assert "the socket failed: ConnectionClosedError" in caplog.text
    assert live.secret not in caplog.text


def test_the_doctor_tries_each_tail(fake: FakeCloudflare, live: FakeLiveTail, clock: FakeClock) -> None:
    settings = settings_for(fake, logs={"live": [SCRIPT]})
    fake.permissions = frozenset({READ})
    assert [check.ok for check in asyncio.run(doctor(settings, clock))] == [False, True]
    fake.permissions = frozenset()
    checks = asyncio.run(doctor(settings, clock))
    assert [check.ok for check in checks] == [False, False]
    assert '"Workers Observability: Read"' in checks[1].fix
    fake.plan(
        Failure(200, body='{"success":true,"result":{"wsUrl":"file:///etc"}}'),
        route=f"/client/v4/accounts/{ACCOUNT}{OPEN}",
    )
    fake.permissions = frozenset({READ})
    assert "no wsUrl" in asyncio.run(doctor(settings, clock))[1].what


class Story:
    """A ledger whose batches are stored, and which can die."""

    def __init__(self) -> None:
        self.kept = Kept()
        self.clock = FakeClock(START_MS)
        self.ledger = self._new()

    def _new(self) -> Ledger:
        from obskit.model.settings import Secret

        return Ledger(Account(ACCOUNT, Secret(SECRET_TOKEN)))

    def die(self) -> None:
        """A new process goes on where the store says."""
        self.ledger = self._new()
        asyncio.run(self.ledger.resume(Feed("cloudflare", self.kept, self.clock)))

    def poll(self, *ids: tuple[str, int]) -> list[str]:
        batch = self.ledger.polled(self._lines(ids), self.clock.now_ns())
        self.ledger.passed(self.clock.now_ms())
        return self._store(batch)

    def tail(self, *ids: tuple[str, int]) -> list[str]:
        return self._store(self.ledger.tailed(self._lines(ids), self.clock.now_ms()))

    def _lines(self, ids: Any) -> list[Any]:
        found = [MAKER.line(log_row(t_ms, name, name)) for name, t_ms in ids]
        assert all(found)
        return found

    def _store(self, batch: Any) -> list[str]:
        asyncio.run(self.kept.append(batch))
        return [record.line for record in batch.records]


T = START_MS - 1000


def test_whoever_brings_a_line_first_stores_it() -> None:
    story = Story()
    assert story.poll(("a", T)) == ["a"]
    assert story.tail(("a", T), ("b", T)) == ["b"]
    assert story.poll(("a", T), ("b", T), ("c", T)) == ["c"]
    assert story.tail(("c", T), ("b", T)) == []


def test_after_a_death_nothing_is_doubled() -> None:
    story = Story()
    story.poll(("a", T))
    story.tail(("b", T))
    story.die()
    assert story.tail(("b", T)) == [], "left to the query until it has come to the present"
    assert story.poll(("a", T), ("b", T)) == []
    assert story.tail(("b", T), ("c", T)) == ["c"]


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_with_any_deaths_each_line_is_stored_once(seed: int) -> None:
    dice, story = random.Random(seed), Story()
    shown: list[tuple[str, int]] = []
    for number in range(60):
        story.clock.advance(dice.choice([0, 1, 30]))
        shown.append((f"line {number}", story.clock.now_ms() - dice.randrange(1000)))
        step = dice.random()
        if step < 0.5:
            story.tail(*shown[-dice.randrange(1, 4) :])
        elif step < 0.8:
            story.poll(*(line for line in shown if line[1] >= (story.ledger.since_ms or 0)))
        else:
            story.die()
    story.poll(*(line for line in shown if line[1] >= (story.ledger.since_ms or 0)))
    assert sorted(story.kept.lines) == sorted(line for line, _ in shown)


def test_a_tail_far_ahead_of_the_query_leaves_its_lines_to_it() -> None:
    story = Story()
    story.poll(("a", T))
    story.clock.advance(121)
    late = story.clock.now_ms()
    assert story.tail(("b", late)) == []
    assert story.poll(("b", late)) == ["b"]


def test_under_load_the_tail_remembers_few_lines_and_comes_back_later() -> None:
    story = Story()
    story.poll(("a", T))
    assert len(story.tail(*((f"b{n}", T) for n in range(MOST_TAILED)))) == MOST_TAILED
    assert story.tail(("c", T)) == []
    story.clock.advance(400)
    story.poll(*((f"b{n}", T) for n in range(MOST_TAILED)), ("c", T))
    now = story.clock.now_ms()
    story.tail(("d", now))
    assert story.tail(("e", now)) == ["e"]


def test_lines_from_before_the_tail_began_are_the_querys() -> None:
    story = Story()
    story.poll()
    story.tail(("new", T))
    assert story.poll(("old", T - 3600 * S), ("new", T)) == ["old"]
