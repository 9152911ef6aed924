"""Upstash's own figures of a Redis: commands, storage, bandwidth, latency and cost of the month. Asking costs no command.

Developer API v2 (upstash/docs:devops/developer-api/openapi.yml). A figure that is missing is unknown.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import Field

from obskit.clock import Clock
from obskit.collect import (
    Ask,
    Check,
    Collector,
    Kind,
    PartialReadError,
    Reading,
    Snapshots,
    VendorApi,
    failed,
    ok,
    poll,
)
from obskit.errors import CollectorError
from obskit.model.samples import MetricMeta, MetricType
from obskit.model.settings import Duration, Secret, Settings
from obskit.store.interface import Batch

COST: Final = "obskit_cost_month_to_date_dollars"
_MONTH: Final = {
    "total_monthly_requests": "upstash_month_commands",
    "total_monthly_read_requests": "upstash_month_read_commands",
    "total_monthly_write_requests": "upstash_month_write_commands",
    "total_monthly_bandwidth": "upstash_month_bandwidth_bytes",
    "daily_net_commands": "upstash_day_commands",
    "current_storage": "upstash_storage_bytes",
}
_SERIES: Final = {
    "connection_count": "upstash_connections",
    "keyspace": "upstash_keys",
    "throughput": "upstash_throughput",
    "latencymean": "upstash_latency_mean_milliseconds",
    "latency_99": "upstash_latency_p99_milliseconds",
}
"""Series of points `{x: time, y: value}`: the newest one counts."""
METADATA: Final = {
    COST: MetricMeta(MetricType.GAUGE, "What a vendor has charged since the month began, by item."),
    **{name: MetricMeta(MetricType.GAUGE, f"Upstash: {key}.") for key, name in (_MONTH | _SERIES).items()},
}
_FIX: Final = "make a key under Account > Management API in the console; set email and api_key"


class UpstashSettings(Settings):
    """`upstash:` the account's figures, without spending commands."""

    name: str = Field("", description="own name, where there are several")
    email: str = Field(min_length=1, description="the account's address")
    api_key: Secret = Field(description="a management API key; a read-only one is enough")
    databases: list[str] = Field(min_length=1, description="ids of the databases")
    every: Duration = Field(300_000, gt=0, description="how often to ask")
    api_url: str = Field("https://api.upstash.com", description="the API; for tests")


class UpstashReader:
    """Asks for each database; one that cannot be read is told after all others were."""

    def __init__(self, settings: UpstashSettings) -> None:
        pair = base64.b64encode(f"{settings.email}:{settings.api_key.reveal()}".encode()).decode()
        self.api = VendorApi(settings.api_url, authorization=Secret(f"Basic {pair}"), fix=_FIX)
        self._databases = settings.databases
        self._snapshots = Snapshots({"job": "upstash", "instance": settings.name or "upstash"})

    async def read(self, now_ms: int) -> Batch:
        """The figures of every database."""
        readings: list[Reading] = []
        wrong: CollectorError | None = None
        for database in self._databases:
            try:
                answer = await self.api.json(Ask(f"/v2/redis/stats/{database}"))
            except CollectorError as error:
                wrong = wrong or error
            else:
                readings += figures(database, answer)
        batch = Batch(self._snapshots.take(readings, now_ms), metadata=METADATA)
        if wrong is not None:
            raise PartialReadError(str(wrong), batch, reason=wrong.reason, retry_after=wrong.retry_after)
        return batch


def figures(database: str, answer: Any) -> Iterator[Reading]:
    """What one answer says."""
    if not isinstance(answer, dict):
        return
    labels = {"database": database}
    for key, metric in _MONTH.items():
        if (value := _number(answer.get(key))) is not None:
            yield metric, labels, value
    for key, metric in _SERIES.items():
        points = answer.get(key)
        newest = points[-1] if isinstance(points, list) and points else None
        if isinstance(newest, dict) and (value := _number(newest.get("y"))) is not None:
            yield metric, labels, value
    if (dollars := _number(answer.get("total_monthly_billing"))) is not None:
        yield COST, {"vendor": "upstash", "item": database}, dollars


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def build(settings: UpstashSettings) -> Collector:
    """A collector for one account."""
    reader = UpstashReader(settings)
    name = f"upstash/{settings.name}" if settings.name else "upstash"
    return poll(reader.read, name=name, target=settings.api_url, every_ms=settings.every, close=reader.api.close)


async def doctor(settings: UpstashSettings, clock: Clock) -> Sequence[Check]:
    """Is the key right, and does every database exist?"""
    reader = UpstashReader(settings)
    try:
        batch = await reader.read(clock.now_ms())
    except CollectorError as error:
        fix = _FIX if error.reason == "auth" else "take the ids from the console's list of databases"
        return [failed(str(error), fix)]
    finally:
        await reader.api.close()
    return [ok(f"{len(settings.databases)} databases, {len(batch.samples)} samples")]


KIND: Final = Kind(settings=UpstashSettings, build=build, doctor=doctor)
