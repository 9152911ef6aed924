"""Our own signs of life: they go out while trouble could be told, and never else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from obskit.config import load_config
from obskit.config.sections import SentHeartbeats
from obskit.errors import ConfigError, StoreFull
from obskit.outbound import httpx
from obskit.outbox import OutboxStats
from obskit.rules.files import load_rules
from obskit.rules.live import GroupStatus, RuleHealth, RuleStatus
from obskit.testing.clock import FakeClock, run
from obskit.testing.healthchecks import FakeHealthchecks
from obskit.testing.http import Failure
from obskit.watch import Daemon
from obskit.watch.life_signs import LifeSigns, trouble_of
from tests.watch.house import write

(GROUP,) = load_rules("groups: [{name: shop, interval: 1m, rules: [{alert: A, expr: up}]}]", "r.yaml").groups
IDLE = OutboxStats({}, {}, 0, 0)
NOW = 10_000_000


@pytest.fixture
def service() -> Iterator[FakeHealthchecks]:
    with FakeHealthchecks() as fake:
        yield fake


def group(last_ms: int | None, *health: RuleHealth) -> GroupStatus:
    rules = tuple(RuleStatus(GROUP.rules[0], each, "", None, 0.0, ()) for each in health)
    return GroupStatus(GROUP, last_ms, 0.0, rules)


TROUBLES = [
    ("evaluated lately", group(NOW - 60_000, RuleHealth.OK), IDLE, ""),
    ("late, but not long", group(NOW - 300_000, RuleHealth.OK), IDLE, ""),
    ("stuck", group(NOW - 301_000, RuleHealth.OK), IDLE, "rules of shop were not evaluated for 301 s"),
    ("never, since long", group(None, RuleHealth.UNKNOWN), IDLE, "rules of shop were not evaluated for 5000 s"),
    ("one rule fails", group(NOW, RuleHealth.OK, RuleHealth.ERR), IDLE, ""),
    ("all rules fail", group(NOW, RuleHealth.ERR, RuleHealth.ERR), IDLE, "every rule of shop fails"),
    ("messages wait a little", group(NOW), OutboxStats({"a": 3}, {"a": 600}, 0, 0), ""),
    ("messages are stuck", group(NOW), OutboxStats({"a": 3}, {"a": 601}, 0, 0), "messages to a wait for 601 s"),
]


@pytest.mark.parametrize(("state", "outbox", "trouble"), [pytest.param(*row[1:], id=row[0]) for row in TROUBLES])
def test_trouble_could_be_told_unless_rules_or_the_outbox_are_stuck(
    state: GroupStatus, outbox: OutboxStats, trouble: str
) -> None:
    assert trouble_of([state], outbox, started_ms=NOW - 5_000_000, now_ms=NOW) == trouble


def test_a_group_that_has_just_been_started_is_given_its_time() -> None:
    assert trouble_of([group(None)], IDLE, started_ms=NOW - 300_000, now_ms=NOW) == ""


class Store:
    """A database that commits, or does not."""

    error: Exception | None = None
    hangs = False

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    async def write(self, work: Any, *, essential: bool) -> None:
        assert essential
        if self.hangs:
            await self._clock.sleep(3600)
        if self.error:
            raise self.error


def test_they_are_sent_in_their_rhythm_and_withheld_while_the_store_does_not_commit(
    service: FakeHealthchecks, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    store = Store(clock)
    settings = SentHeartbeats(send=[{"url": service.ping_url, "every": "1m"}])  # type: ignore[list-item]  # as YAML has it

    async def scenario() -> list[int]:
        counts = []
        async with httpx.AsyncClient() as http:
            signs = LifeSigns(settings, http, clock, store, lambda: ([], IDLE))  # type: ignore[arg-type]  # does all it is asked
            for step in ("well", "too early", "full", "hangs", "well again"):
                store.error = StoreFull("no room") if step == "full" else None
                store.hangs = step == "hangs"
                clock.advance(30 if step == "too early" else 60)
                await signs.send_due()
                counts.append(len(service.pings))
        return counts

    with caplog.at_level(logging.INFO):
        assert run(scenario(), clock, patience_s=5) == [1, 1, 1, 1, 2]
    assert [record.message for record in caplog.records if "heartbeats" in record.message] == [
        "heartbeats are withheld: reason=the store does not commit: no room",
        "heartbeats go out again",
    ]
    assert [ping.word for ping in service.pings] == ["", ""]


def test_a_ping_that_fails_is_told_once_and_without_its_url(
    service: FakeHealthchecks, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    service.break_down(Failure(503))
    settings = SentHeartbeats(send=[{"url": service.ping_url, "every": "1m"}])  # type: ignore[list-item]  # as YAML has it

    async def scenario() -> None:
        async with httpx.AsyncClient() as http:
            signs = LifeSigns(settings, http, clock, Store(clock), lambda: ([], IDLE))  # type: ignore[arg-type]  # as above
            for _ in range(3):
                await signs.send_due()
                clock.advance(60)

    with caplog.at_level(logging.INFO):
        run(scenario(), clock, patience_s=5)
    assert [r.message for r in caplog.records if "heartbeat" in r.message] == [
        "heartbeat not sent: host=127.0.0.1 reason=HTTP 503"
    ]
    assert service.uuid not in caplog.text


def test_the_daemon_sends_them_and_a_reload_changes_where_to(tmp_path: Path, service: FakeHealthchecks) -> None:
    clock = FakeClock()
    path = write(tmp_path, heartbeats={"send": [{"url": service.ping_url}]})

    async def scenario() -> None:
        daemon, stop = Daemon(load_config(path, {}), clock), asyncio.Event()
        await daemon.start()
        running = asyncio.create_task(daemon.run(stop))
        try:
            while not service.pings:
                await clock.sleep(1)
            write(tmp_path, heartbeats={"send": [{"url": f"{service.ping_url}/log"}]})
            assert await daemon.reload() == ""
            while not any(ping.word == "log" for ping in service.pings):
                await clock.sleep(1)
        finally:
            stop.set()
            await running
            await daemon.close()

    run(scenario(), clock)


@pytest.mark.parametrize(
    ("given", "words"),
    [({"url": "ftp://x/"}, "http"), ({"url": "http://x/", "every": "5s"}, "at least 10s"), ({}, "url")],
)
def test_settings_that_cannot_be_meant_are_refused(given: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, heartbeats={"send": [given]}), {})
    assert words in str(caught.value.problems[0])
