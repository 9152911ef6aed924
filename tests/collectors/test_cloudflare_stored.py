"""Cloudflare's metric parts through crashes, and through the real store into what rules ask."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from obskit.model.results import Vector
from obskit.promql.engine import Engine
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore
from obskit.store.interface import Batch, Refused
from obskit.store.settings import StoreSettings
from obskit.testing.cloudflare import FakeCloudflare
from obskit.testing.cloudflare_analytics import FakeAnalytics
from obskit.testing.cloudflare_products import FakeGateway, FakeWorkers
from tests.collectors.cloudflare import START_MS, Kept, Patient
from tests.collectors.cloudflare_parts import newest, read, read_into

MINUTE_MS = 60_000
NOW_MS = START_MS // MINUTE_MS * MINUTE_MS
WORKERS = "workersInvocationsAdaptive"
FAILED = {"scriptName": "shop", "status": "scriptThrewException"}
CALLS = 3_000
SECTIONS: dict[str, Any] = {"analytics": {"products": ["workers"]}, "ai_gateway": {}, "deploys": {}}


@pytest.fixture
def clock() -> Patient:
    return Patient(NOW_MS)


@pytest.fixture
def fake(clock: Patient) -> Iterator[FakeCloudflare]:
    with FakeCloudflare(clock) as server:
        yield server


class KilledError(Exception):
    """The process ended here."""


class Mortal(Kept):
    """Dies at every third append: before it is stored, or after."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice

    async def append(self, batch: Batch) -> Refused:
        fate = self._dice.choice(["lives", "lives", "lives", "lives", "before", "after"])
        if fate == "before":
            raise KilledError
        refused = await super().append(batch)
        if fate == "after":
            raise KilledError
        return refused


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_whenever_it_is_killed_nothing_is_lost_or_doubled(fake: FakeCloudflare, clock: Patient) -> None:
    analytics, gateway, workers = FakeAnalytics(fake), FakeGateway(fake), FakeWorkers(fake)
    analytics.grows_ms = 8 * MINUTE_MS
    dice = random.Random(7)
    kept = Mortal(dice)
    expected: Counter[str] = Counter()
    for turn in range(60):
        clock.advance(60)
        now_ms = clock.now_ms()
        if turn < 40:
            analytics.add(WORKERS, now_ms, FAILED, {"sum.errors": 40})
            for _ in range(CALLS // 40):  # some late, some of equal times
                gateway.add("agents", iso(now_ms - dice.randrange(0, 100) * 1000), cost=1.0)
            workers.deploy("shop", iso(now_ms), f"v{turn}")
            expected.update(errors=40, calls=CALLS // 40, deploys=1)
        if turn % 7 == 3:
            gateway.logs["agents"].append(dict(gateway.logs["agents"][-1]))
        try:
            read(kept, fake, clock, **SECTIONS)
        except KilledError:
            continue
    told = Counter(record.metadata.get("name", "call") for record in kept.records)
    assert told == {"call": expected["calls"], "deploy": expected["deploys"]}
    assert len({record.metadata["id"] for record in kept.records if "id" in record.metadata}) == expected["calls"]
    assert newest(kept, "obskit_ai_cost_dollars_total") == expected["calls"]
    assert newest(kept, "cloudflare_worker_errors_total") == expected["errors"]


def test_a_rule_sees_the_errors_of_a_worker_in_a_window_of_15_minutes(
    fake: FakeCloudflare, clock: Patient, tmp_path: Path
) -> None:
    analytics = FakeAnalytics(fake)
    for number in range(10):
        analytics.add(WORKERS, NOW_MS + number * MINUTE_MS, {**FAILED, "status": "success"}, {"sum.requests": 90})
    for number in range(8, 10):
        analytics.add(WORKERS, NOW_MS + number * MINUTE_MS, FAILED, {"sum.requests": 10, "sum.errors": 10})

    async def scenario() -> list[float]:
        database = Database.open(tmp_path, reserve_bytes=0)
        store = EmbeddedStore(database, clock, StoreSettings())
        for _ in range(17):
            assert await read_into(store, fake, clock, analytics={"products": ["workers"]}) == []
            clock.advance(60)
        errors = Engine(store.metrics).instant("increase(cloudflare_worker_errors_total[15m])", clock.now_ms())
        await database.close()
        assert isinstance(errors.value, Vector)
        return [element.value for element in errors.value.elements]

    (increase,) = asyncio.run(scenario())
    assert increase == pytest.approx(20, rel=0.5), "extrapolated, and from 0: its first errors count"
    assert increase >= 20
