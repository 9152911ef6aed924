"""Notifications that are posted: records, what goes on, and who may post."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from obskit.collect import Call, Feed, Said, Several
from obskit.collect.listening import listener_of
from obskit.errors import CollectorError
from obskit.model.samples import is_stale
from obskit.model.settings import Secret
from obskit.model.telemetry import REGISTRY
from obskit.testing.clock import FakeClock, run
from obskit.testing.cloudflare import FakeCloudflare
from obskit.testing.cloudflare_products import WEBHOOK_SECRET, notification
from obskit_collectors.cloudflare_account import Account
from obskit_collectors.cloudflare_notifications import NotificationsCollector, NotificationsSettings
from tests.collectors.cloudflare import Kept, collector_for

START_MS = 1_790_929_000_000
ACCOUNT = Account("0" * 32, Secret("t"))


def post(collector: NotificationsCollector, told: Any, secret: str = WEBHOOK_SECRET, rest: str = "") -> Awaitable[Said]:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return collector.receive(Call("POST", rest, {"cf-webhook-auth": secret}, {}, body))


def served(kept: Kept, work: Callable[[NotificationsCollector, FakeClock], Awaitable[None]]) -> None:
    """Run a new collector for as long as `work` takes."""
    clock = FakeClock(START_MS)
    collector = NotificationsCollector(ACCOUNT, NotificationsSettings(secret=Secret(WEBHOOK_SECRET)))

    async def scenario() -> None:
        running = asyncio.create_task(collector.run(Feed("cloudflare", kept, clock)))
        await clock.sleep(1)
        await work(collector, clock)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(scenario(), clock)


def values(kept: Kept, name: str) -> list[float | None]:
    """Every value of a metric in order; None is its end."""
    return [
        None if is_stale(sample.value) else sample.value
        for batch in kept.batches
        for sample in batch.samples
        if sample.labels["__name__"] == name
    ]


def test_what_started_is_told_each_minute_until_it_ended() -> None:
    async def work(collector: NotificationsCollector, clock: FakeClock) -> None:
        assert (await post(collector, notification("START"))).status == 200
        await clock.sleep(120)
        assert (await post(collector, notification("END", ts=1790929220))).status == 200
        await clock.sleep(180)

    kept = Kept()
    served(kept, work)
    assert values(kept, "cloudflare_notification_active") == [1, 1, 1, 0, None]
    started, ended = kept.records
    assert (started.metadata["state"], ended.metadata["state"]) == ("started", "resolved")
    assert started.metadata["about"] == "HighErrors"
    assert started.metadata["name"] == "vendor.notification"
    assert started.t_ns == 1_790_929_100 * 10**9


def test_an_incident_of_the_vendor_is_a_series_that_inhibits() -> None:
    async def work(collector: NotificationsCollector, clock: FakeClock) -> None:
        data = {"affected_components": [{"name": "Queues"}], "impact": "major", "surprise": [1]}
        await post(collector, notification("START", kind="incident_alert", data=data))
        await post(collector, notification("START", kind="maintenance_event_notification", alert_correlation_id="m"))

    kept = Kept()
    served(kept, work)
    series = [sample.labels for sample in kept.batches[-1].samples]
    assert [(one["component"], one["region"], one["impact"]) for one in series] == [
        ("Queues", "unknown", "major"),
        ("unknown", "unknown", "unknown"),
    ]
    assert {one["__name__"] for one in series} == {"obskit_vendor_incident"}
    assert kept.records[0].metadata["name"] == "vendor.incident"
    assert kept.records[0].metadata["title"]


def test_an_incident_is_told_again_while_it_goes_on() -> None:
    async def work(collector: NotificationsCollector, clock: FakeClock) -> None:
        await post(collector, notification("START", kind="incident_alert"))
        await clock.sleep(899)
        await post(collector, notification("END", kind="incident_alert", ts=1790929910))
        await clock.sleep(900)

    kept = Kept()
    served(kept, work)
    assert [record.metadata["state"] for record in kept.records] == ["started"] * 3 + ["resolved"]
    assert {record.metadata["title"] for record in kept.records} == {"Workers alert HighErrors is firing"}


@pytest.mark.parametrize(
    ("events", "going_on"),
    [
        (["START", "START"], True),
        (["START", "END", "END"], False),
        (["END", "START"], False),
        (["START", "END", "START"], False),
    ],
)
def test_doubled_and_reordered_deliveries_leave_the_right_state(events: list[str], going_on: bool) -> None:
    async def work(collector: NotificationsCollector, clock: FakeClock) -> None:
        for event in events:
            await clock.sleep(1)
            await post(collector, notification(event, ts=1790929100 + (event == "END")))
        await clock.sleep(130)

    kept = Kept()
    served(kept, work)
    newest = (values(kept, "cloudflare_notification_active") or [None])[-1]
    assert newest == (1 if going_on else None)


def test_the_same_trouble_again_is_told_again() -> None:
    async def work(collector: NotificationsCollector, clock: FakeClock) -> None:
        for number, event in enumerate(["START", "END", "START"]):
            await clock.sleep(1)
            await post(collector, notification(event, ts=1790929100 + number))

    kept = Kept()
    served(kept, work)
    assert values(kept, "cloudflare_notification_active")[-1] == 1


def test_what_goes_on_survives_a_restart() -> None:
    async def begin(collector: NotificationsCollector, clock: FakeClock) -> None:
        await post(collector, notification("START"))

    async def end(collector: NotificationsCollector, clock: FakeClock) -> None:
        await post(collector, notification("END", ts=1790929101))

    kept = Kept()
    served(kept, begin)
    assert values(kept, "cloudflare_notification_active") == [1]
    served(kept, end)
    assert values(kept, "cloudflare_notification_active") == [1, 1, 0]


def test_without_an_end_it_ends_after_a_day() -> None:
    async def work(collector: NotificationsCollector, clock: FakeClock) -> None:
        await post(collector, notification("START", ts=START_MS // 1000))
        await clock.sleep(24 * 3600 + 120)

    kept = Kept()
    served(kept, work)
    assert values(kept, "cloudflare_notification_active")[-2:] == [0, None]


@pytest.mark.parametrize(
    "told",
    [
        notification(),
        {"text": "x", "ts": "yesterday", "data": [1], "alert_event": 7},
        {"text": None, "alert_type": {"a": 1}, "data": {"config": None, "status": 7}},
        {"text": "\ud800 half", "ts": 1e300, "alert_event": "ALERT_STATE_EVENT_NEW_WORD"},
        {},
    ],
)
def test_everything_but_the_secret_may_be_missing(told: dict[str, Any]) -> None:
    async def work(collector: NotificationsCollector, clock: FakeClock) -> None:
        assert (await post(collector, told)).status == 200

    kept = Kept()
    served(kept, work)
    assert len(kept.records) == 1
    assert values(kept, "cloudflare_notification_active") == []


@pytest.mark.parametrize(
    ("told", "secret", "rest", "status"),
    [
        (notification("START"), "wrong", "", 401),
        (notification("START"), "", "", 401),
        (b"{half", WEBHOOK_SECRET, "", 400),
        (b"[]", WEBHOOK_SECRET, "", 400),
        (b"[" * 100_000, WEBHOOK_SECRET, "", 400),
        (notification("START"), WEBHOOK_SECRET, "/other", 404),
    ],
)
def test_what_is_not_a_notification_of_ours_is_refused(told: Any, secret: str, rest: str, status: int) -> None:
    async def work(collector: NotificationsCollector, clock: FakeClock) -> None:
        said = await post(collector, told, secret, rest)
        assert said.status == status
        assert WEBHOOK_SECRET not in said.text

    kept = Kept()
    served(kept, work)
    assert kept.records == []


def test_who_does_not_know_the_secret_is_counted() -> None:
    labels = {"collector": "cloudflare", "reason": "unauthorized"}
    before = REGISTRY.get_sample_value("obskit_collector_dropped_total", labels) or 0

    async def work(collector: NotificationsCollector, clock: FakeClock) -> None:
        await post(collector, notification("START"), "wrong")

    served(Kept(), work)
    assert REGISTRY.get_sample_value("obskit_collector_dropped_total", labels) == before + 1


def test_before_it_runs_the_sender_is_asked_to_come_again() -> None:
    collector = NotificationsCollector(ACCOUNT, NotificationsSettings(secret=Secret(WEBHOOK_SECRET)))
    assert asyncio.run(post(collector, notification("START"))).status == 503


def test_what_could_not_be_stored_changes_nothing() -> None:
    class Broken(Kept):
        broken = True

        async def append(self, batch: Any) -> Any:
            if self.broken:
                raise CollectorError("no store", reason="crash")
            return await super().append(batch)

    kept = Broken()

    async def work(collector: NotificationsCollector, clock: FakeClock) -> None:
        with pytest.raises(CollectorError):
            await post(collector, notification("START"))
        kept.broken = False
        await post(collector, notification("START"))

    served(kept, work)
    assert values(kept, "cloudflare_notification_active") == [1]


def test_its_path_is_that_of_the_account() -> None:
    with FakeCloudflare() as fake:
        whole = collector_for(fake, name="eu", notifications={"secret": "x"})
        assert isinstance(whole, Several)
        found = listener_of("/in/cloudflare/eu/notifications", [whole])
        assert found is not None
        assert found[0] is whole.parts[0]
        assert listener_of("/in/cloudflare/notifications", [whole]) is None


@pytest.mark.parametrize("cursor", ["7", "{", '{"open": [{"key": 1}], "ended": {}}'])
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    kept = Kept(cursors={ACCOUNT.owner("notifications"): cursor})
    collector = NotificationsCollector(ACCOUNT, NotificationsSettings(secret=Secret(WEBHOOK_SECRET)))
    with pytest.raises(CollectorError, match="cursor"):
        asyncio.run(collector.run(Feed("cloudflare", kept, FakeClock())))
