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


def play(folder: Path, kind: Kind, settings: dict[str, Any], story: Callable[..., Any]) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        receiver = ReceiverSettings.model_validate({"name": "ops", kind.key: [settings]})
        async with httpx.AsyncClient(verify=False) as http:
            (built,) = build_integrations(receiver, http)
            async with house(folder, clock, built.deliver, paces=Paces({built.id: built.min_interval_s})) as home:
                await story(home, built, clock)

    run(scenario(), clock)


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
    "failure", [Failure(503), Failure(429, retry_after=30), Failure(drop=True)], ids=["503", "429", "dropped"]
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
