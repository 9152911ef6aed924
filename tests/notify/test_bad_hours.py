"""Every kind behind the real outbox: a service that is down for an hour, and what a dead letter holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from obskit.notify import Integration, ReceiverSettings, build_integrations
from obskit.outbound import httpx
from obskit.outbox import Paces, RowState
from obskit.testing.clock import FakeClock, run
from obskit.testing.http import Failure
from tests.notify.stories import FIRST, GROWN, LIFE, OVER
from tests.notify.test_contract import KINDS, Kind, echo
from tests.outbox.fakes import House, house

HOUR_S = 3_600

ONE: dict[str, Callable[[Any], list[str]]] = {
    "discord": lambda server: [message.embeds[0]["title"] for message in server.messages],
    "telegram": lambda server: [message.text.partition("\n")[0] for message in server.messages],
    "ntfy": lambda server: [message["title"] for message in server.shown],
    "opsgenie": lambda server: [f"closed: {alert.closed}" for alert in server.alerts],
    "pagerduty": lambda server: [incident.state for incident in server.incidents],
    "pushover": lambda server: [push["title"] for push in server.pushes],
    "msteamsv2": lambda server: [card["body"][0]["text"] for card in server.cards],
    "webhook": lambda server: [body["status"] for body in server.bodies],
}
"""What a person finds where each kind writes to."""


class Names(httpx.AsyncBaseTransport):
    """A network whose names nobody knows for a while."""

    def __init__(self) -> None:
        self.known = True
        self._inner = httpx.AsyncHTTPTransport(verify=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.known:
            raise httpx.ConnectError("[Errno -2] Name or service not known")
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def play(
    folder: Path,
    kind: Kind,
    settings: dict[str, Any],
    story: Callable[..., Any],
    *,
    names: Names | None = None,
    patience_s: float = 0.02,
) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        receiver = ReceiverSettings.model_validate({"name": "ops", kind.key: [settings]})
        async with httpx.AsyncClient(verify=False, transport=names) as http:
            (built,) = build_integrations(receiver, http)
            async with house(folder, clock, built.deliver, paces=Paces({built.id: built.min_interval_s})) as home:
                await story(home, built, clock)

    run(scenario(), clock, patience_s=patience_s)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("discord", ["✅ RESOLVED: High5xx"]),
        ("telegram", ["✅ RESOLVED: High5xx"]),
        ("ntfy", ["RESOLVED: High5xx"]),
        ("opsgenie", ["closed: True"]),
        ("pagerduty", ["resolved"]),
        ("pushover", ["🔴 FIRING critical: High5xx", "✅ RESOLVED: High5xx"]),
        ("msteamsv2", ["🔴 FIRING critical: High5xx", "✅ RESOLVED: High5xx"]),
        ("webhook", ["firing", "resolved"]),
    ],
)
@pytest.mark.parametrize(
    "failure",
    [
        Failure(503),
        Failure(429, retry_after=30),
        Failure(drop=True),
        Failure(503, body="x" * 1_000, cut=True),
    ],
    ids=["503", "429", "dropped", "reset in the body"],
)
def test_after_an_hour_without_its_service_the_last_state_is_told_once(
    name: str, found: list[str], failure: Failure, tmp_path: Path
) -> None:
    kind = KINDS[name]
    with kind.server() as server:

        async def story(home: House, built: Integration, clock: FakeClock) -> None:
            server.break_down(failure)
            for one in (FIRST, GROWN, OVER):
                await home.put(*built.actions(one))
                await clock.sleep(60)
            await clock.sleep(HOUR_S)
            server.repair()
            await clock.sleep(2 * HOUR_S)
            assert home.outbox.rows(RowState.DEAD) == home.outbox.rows(RowState.WAITING) == []

        play(tmp_path, kind, kind.settings(server), story)
        assert ONE[name](server) == found


def test_after_an_hour_in_which_its_connections_hung_all_is_told_in_order(tmp_path: Path) -> None:
    kind = KINDS["webhook"]
    with kind.server() as server:

        async def story(home: House, built: Integration, clock: FakeClock) -> None:
            server.break_down(Failure(hang_s=60))
            for one in (FIRST, GROWN, OVER):
                await home.put(*built.actions(one))
                await clock.sleep(60)
            await clock.sleep(HOUR_S)
            assert ONE["webhook"](server) == []
            server.repair()
            await clock.sleep(2 * HOUR_S)
            assert home.outbox.rows(RowState.DEAD) == home.outbox.rows(RowState.WAITING) == []

        play(tmp_path, kind, kind.settings(server), story)
        # Here an answer has 20 ms before the clock jumps: where the machine is slow one counts as lost, and comes twice.
        assert list(dict.fromkeys(ONE["webhook"](server))) == ["firing", "resolved"]


def test_after_an_hour_in_which_nobody_knew_its_name_all_is_told_in_order(tmp_path: Path) -> None:
    kind, names = KINDS["webhook"], Names()
    with kind.server() as server:

        async def story(home: House, built: Integration, clock: FakeClock) -> None:
            names.known = False
            for one in (FIRST, GROWN, OVER):
                await home.put(*built.actions(one))
                await clock.sleep(60)
            await clock.sleep(HOUR_S)
            assert server.requests == []
            names.known = True
            await clock.sleep(HOUR_S)
            assert home.outbox.rows(RowState.DEAD) == home.outbox.rows(RowState.WAITING) == []

        play(tmp_path, kind, kind.settings(server), story, names=names)
        assert ONE["webhook"](server) == ["firing", "resolved"]


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("discord", 2),
        ("telegram", 2),
        ("pushover", 2),
        ("msteamsv2", 2),
        ("webhook", 2),
        ("ntfy", 1),
        ("opsgenie", 1),
        ("pagerduty", 1),
    ],
)
def test_how_often_a_message_is_seen_whose_answer_was_lost(name: str, seen: int, tmp_path: Path) -> None:
    """Twice is better than never; once where the service knows what it has."""
    kind = KINDS[name]
    with kind.server() as server:

        async def story(home: House, built: Integration, clock: FakeClock) -> None:
            server.plan(Failure(drop=True, after=True))
            await home.put(*built.actions(FIRST))
            await clock.sleep(20)
            assert home.outbox.rows(RowState.DEAD) == home.outbox.rows(RowState.WAITING) == []

        play(tmp_path, kind, kind.settings(server), story, patience_s=0.25)  # an answer that is only late is none
        assert len(ONE[name](server)) == seen


@pytest.mark.parametrize("name", KINDS)
def test_no_secret_is_in_the_store_whatever_the_service_says(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    with kind.server() as server:
        server.break_down(Failure(400, body=echo(kind)))

        async def story(home: House, built: Integration, clock: FakeClock) -> None:
            for one in LIFE:
                await home.put(*built.actions(one))
            await clock.sleep(HOUR_S)

        play(tmp_path, kind, kind.settings(server), story)
    with sqlite3.connect(next(tmp_path.rglob("main.db"))) as store:
        dump = "\n".join(store.iterdump())
    store.close()
    assert "outbox" in dump
    assert not [secret for secret in kind.secrets if secret in dump]
