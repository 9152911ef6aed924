"""What PagerDuty tells us, from the signed body to the row."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from obskit.notify import ReceiverSettings, build_hooks
from obskit.notify.base import Hook
from obskit.notify.pagerduty import dedup_key
from obskit.outbound import httpx
from obskit.store.acks import AckRow, AckState, read_acks
from obskit.store.database import Database
from obskit.testing.http import Failure
from obskit.testing.pagerduty import API_KEY, ROUTING_KEY, WEBHOOK_SECRET, FakePagerDuty, Incident, signed, webhook
from tests.notify.notices import alert, notice

GROUP = notice().group_key
INCIDENT = notice().incident
OTHER = "the-same-elsewhere"
OURS = Incident(dedup_key(GROUP), "PI1")
THEIRS = Incident("somebody-elses", "PI9")
T_MS = 1_795_176_000_000


class House:
    """A store with one open group, and the hook of a receiver."""

    def __init__(self, hook: Hook, database: Database) -> None:
        self._hook = hook
        self._database = database

    async def hear(self, body: bytes, *secrets: str) -> int:
        return await self._hook.receive(signed(body, *(secrets or (WEBHOOK_SECRET,))), body)

    def acks(self, incident: str = INCIDENT) -> list[AckRow]:
        return read_acks(self._database, incident)


def play(folder: Path, story: Callable[[House], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def scenario() -> None:
        written = {"routing_key": ROUTING_KEY, "webhook_secret": WEBHOOK_SECRET, **settings}
        receivers = [
            ReceiverSettings.model_validate({"name": "ops", "pagerduty_configs": [written]}),
            ReceiverSettings.model_validate({"name": "quiet", "pagerduty_configs": [{"routing_key": ROUTING_KEY}]}),
        ]
        database = Database.open(folder)
        await database.write(
            lambda tx: (
                tx.executemany(
                    "INSERT INTO alert_group (group_key, labels, incident, created_ms, next_flush_ms) VALUES (?,'{}',?,0,0)",
                    [(f"ops\n{GROUP}", INCIDENT), (f"chat\n{GROUP}", OTHER)],
                )
                and None
            )
        )
        async with httpx.AsyncClient(verify=False) as http:
            await story(House(build_hooks(receivers, http, database)["pagerduty"], database))
        await database.close()

    asyncio.run(scenario())


def test_who_acknowledged_is_noted_once(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        body = webhook("incident.acknowledged", OURS)
        assert [await house.hear(body), await house.hear(body)] == [202, 202]
        assert house.acks() == [AckRow(INCIDENT, GROUP, AckState.ACKED, "Ann", "PagerDuty", T_MS)]
        # The chat that hears of the same group has an incident of its own, and shows it too.
        assert [row.by for row in house.acks(OTHER)] == ["Ann"]

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("event", "state"),
    [
        ("incident.unacknowledged", AckState.OPEN),
        ("incident.reopened", AckState.OPEN),
        ("incident.resolved", AckState.CLOSED),
        ("incident.annotated", AckState.ACKED),
        ("incident.triggered", AckState.ACKED),
        ("incident.something.new", AckState.ACKED),
    ],
)
def test_later_events_change_it_and_others_do_not(event: str, state: AckState, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.hear(webhook("incident.acknowledged", OURS))
        assert await house.hear(webhook(event, OURS, occurred_at="2026-11-20T12:01:00Z")) == 202
        assert [row.state for row in house.acks()] == [state]

    play(tmp_path, story)


def test_what_comes_late_is_not_believed_over_what_came_after_it(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.hear(webhook("incident.unacknowledged", OURS, occurred_at="2026-11-20T12:05:00Z"))
        await house.hear(webhook("incident.acknowledged", OURS))
        assert [row.state for row in house.acks()] == [AckState.OPEN]

    play(tmp_path, story)


def test_automation_has_no_name(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.hear(webhook("incident.acknowledged", OURS, by=""))
        assert [row.by for row in house.acks()] == [""]

    play(tmp_path, story)


def test_an_alert_of_a_group_is_noted_by_itself(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        one = Incident(dedup_key(GROUP, alert().fingerprint), "PI1")
        await house.hear(webhook("incident.acknowledged", one))
        assert [row.fingerprint for row in house.acks()] == [alert().fingerprint]

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("configured", "signers", "status"),
    [
        (WEBHOOK_SECRET, (WEBHOOK_SECRET,), 202),
        (WEBHOOK_SECRET, ("new-secret", WEBHOOK_SECRET), 202),
        (f"new-secret {WEBHOOK_SECRET}", (WEBHOOK_SECRET,), 202),
        (f"new-secret {WEBHOOK_SECRET}", ("new-secret",), 202),
        (WEBHOOK_SECRET, ("wrong",), 503),
        (WEBHOOK_SECRET, (), 503),
    ],
)
def test_a_delivery_counts_when_one_of_the_secrets_signed_it(
    configured: str, signers: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        body = webhook("incident.acknowledged", OURS)
        assert await house._hook.receive(signed(body, *signers), body) == status
        assert bool(house.acks()) == (status == 202)

    play(tmp_path, story, webhook_secret=configured)


@pytest.mark.parametrize("header", ["", "v1=", "v1=zz", "v2=00", "v1=é", ",,,", "v1=" + "0" * 64])
def test_a_header_of_any_shape_is_no_signature(header: str, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        assert await house._hook.receive({"x-pagerduty-signature": header}, b"{}") == 503

    play(tmp_path, story)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"event":3}', b'{"event":{"event_type":[]}}', b"[" * 9_999]
)
def test_a_signed_body_of_any_shape_is_answered(body: bytes, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        assert await house.hear(body) == 202
        assert house.acks() == []

    play(tmp_path, story)


def test_an_incident_without_its_key_is_found_by_its_alerts_and_asked_for_once(tmp_path: Path) -> None:
    with FakePagerDuty() as server:
        server.incidents.append(OURS)

        async def story(house: House) -> None:
            acked = webhook("incident.acknowledged", OURS, with_key=False)
            opened = webhook("incident.unacknowledged", OURS, with_key=False, occurred_at="2026-11-20T12:01:00Z")
            assert [await house.hear(acked), await house.hear(opened)] == [202, 202]
            assert [row.state for row in house.acks()] == [AckState.OPEN]

        play(tmp_path, story, api_key=API_KEY, api_url=server.base_url)
        assert [request.path for request in server.requests] == ["/incidents/PI1/alerts?limit=100"]


def test_without_a_rest_key_such_an_incident_is_nobodys(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        assert await house.hear(webhook("incident.acknowledged", OURS, with_key=False)) == 202
        assert house.acks() == []

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("failure", "status"), [(Failure(500), 503), (Failure(429), 503), (Failure(drop=True), 503), (Failure(404), 202)]
)
def test_while_pagerduty_does_not_say_it_is_asked_to_come_again(failure: Failure, status: int, tmp_path: Path) -> None:
    with FakePagerDuty() as server:
        server.break_down(failure)

        async def story(house: House) -> None:
            assert await house.hear(webhook("incident.acknowledged", OURS, with_key=False)) == status

        play(tmp_path, story, api_key=API_KEY, api_url=server.base_url)


def test_incidents_of_others_are_taken_and_forgotten(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        assert await house.hear(webhook("incident.acknowledged", THEIRS)) == 202
        assert house.acks() == []

    play(tmp_path, story)


def test_nobody_listens_where_no_secret_is_given(tmp_path: Path) -> None:
    receiver = ReceiverSettings.model_validate({"name": "ops", "pagerduty_configs": [{"routing_key": ROUTING_KEY}]})

    async def scenario() -> None:
        database = Database.open(tmp_path)
        async with httpx.AsyncClient(verify=False) as http:
            assert build_hooks([receiver], http, database) == {}
        await database.close()

    asyncio.run(scenario())
