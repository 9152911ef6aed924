"""Queues over REST: backlog, oldest message, consumers and whether delivery is paused, seconds old.

`obskit_queue_*` is the form that rules share over all queue systems; `cloudflare_queue_*` beside it. A queue that another
one names as its dead-letter queue holds dead letters: its messages wait for a person, and have no age that matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field

from obskit.clock import Clock
from obskit.collect import Ask, Book, Check, Collector, PartialReadError, Snapshots, failed, ok
from obskit.collect.snapshots import Reading
from obskit.errors import CollectorError
from obskit.model.samples import MetricMeta, MetricType
from obskit.model.settings import Duration, Settings
from obskit.store.interface import Batch
from obskit_collectors.cloudflare_account import Account, AccountApi
from obskit_collectors.cloudflare_polled import Polled
from obskit_collectors.cloudflare_values import number

PERMISSION: Final = "Queues: Read"
MOST: Final = 200
"""Queues that are asked for at each poll: with one request each, 200 a minute are 1000 of the 1200 in 5 minutes."""
_PER_PAGE: Final = 100
_EARLIEST_MS: Final = 1_000_000_000_000
"""Oldest messages from before 2001: 0 means unknown."""
METADATA: Final = {
    "cloudflare_queue_backlog_count": MetricMeta(MetricType.GAUGE, "Messages in a queue."),
    "cloudflare_queue_backlog_size_bytes": MetricMeta(MetricType.GAUGE, "Bytes in a queue."),
    "cloudflare_queue_oldest_message_age_seconds": MetricMeta(MetricType.GAUGE, "Age of the oldest message."),
    "cloudflare_queue_delivery_paused": MetricMeta(MetricType.GAUGE, "Whether delivery is paused."),
    "cloudflare_queue_producers": MetricMeta(MetricType.GAUGE, "Producers of a queue."),
}


class QueuesSettings(Settings):
    """`queues:` of the account, all of them unless named."""

    only: list[str] = Field([], description="names of queues; default: every queue of the account")
    labels: dict[str, dict[str, str]] = Field({}, description="more labels by queue, such as `emails: {tier: pro}`")
    every: Duration = Field(60_000, ge=10_000, description="how often to ask: one request for each queue")


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as the list of queues tells it. None is unknown."""

    id: str
    name: str
    paused: bool | None
    producers: int | None
    consumers: int | None
    dead_letters_of: tuple[str, ...] = ()
    """Names of queues whose dead letters come here."""


async def list_queues(api: AccountApi, book: Book | None = None) -> list[Queue]:
    """Every queue, and which of them hold dead letters of others."""
    rows: list[Mapping[str, Any]] = []
    for page in range(1, MOST // _PER_PAGE + 1):
        found = await api.result(Ask("/queues", params={"page": str(page), "per_page": str(_PER_PAGE)}), book)
        if not isinstance(found, list):
            raise CollectorError("queues: the answer is not a list", reason="bad_data")
        rows += [row for row in found if isinstance(row, dict) and row.get("queue_id") and row.get("queue_name")]
        if len(found) < _PER_PAGE:
            break
    dead: dict[str, list[str]] = {}
    for row in rows:
        for consumer in row.get("consumers") or ():
            target = consumer.get("dead_letter_queue") if isinstance(consumer, dict) else None
            if target:
                dead.setdefault(str(target), []).append(str(row["queue_name"]))
    return [_queue(row, tuple(dead.get(str(row["queue_name"]), ()))) for row in rows]


class QueueReader:
    """Asks for the list, then for the metrics of each queue; a queue that fails is told after the others were read."""

    def __init__(self, api: AccountApi, settings: QueuesSettings, account: str) -> None:
        self._api = api
        self._settings = settings
        self._snapshots = Snapshots({"account": account} if account else {})

    async def read(self, now_ms: int, book: Book | None = None) -> Batch:
        """Everything there is now."""
        queues = [queue for queue in await list_queues(self._api, book) if self._wanted(queue)]
        readings: list[Reading] = []
        wrong: list[CollectorError] = []
        for queue in queues:
            try:
                metrics = await self._api.result(Ask(f"/queues/{queue.id}/metrics"), book)
            except CollectorError as error:
                if error.reason in ("auth", "rate_limited"):
                    raise
                wrong.append(error)
                continue
            readings += self._readings(queue, metrics if isinstance(metrics, dict) else {}, now_ms)
        batch = Batch(self._snapshots.take(readings, now_ms), metadata=METADATA)
        missing = set(self._settings.only) - {queue.name for queue in queues}
        if missing:
            raise PartialReadError(f"queues: none is named {', '.join(sorted(missing))}", batch, reason="missing")
        if wrong:
            raise PartialReadError(str(wrong[0]), batch, reason=wrong[0].reason, retry_after=wrong[0].retry_after)
        return batch

    def _wanted(self, queue: Queue) -> bool:
        return not self._settings.only or queue.name in self._settings.only

    def _readings(self, queue: Queue, metrics: Mapping[str, Any], now_ms: int) -> list[Reading]:
        own = {"queue": queue.name}
        backlog = number(metrics.get("backlog_count"))
        age_s = _age_s(metrics.get("oldest_message_timestamp_ms"), backlog, now_ms)
        found: list[tuple[str, Mapping[str, str], float | None]] = [
            ("cloudflare_queue_backlog_count", own, backlog),
            ("cloudflare_queue_backlog_size_bytes", own, number(metrics.get("backlog_bytes"))),
            ("cloudflare_queue_oldest_message_age_seconds", own, age_s),
            ("cloudflare_queue_delivery_paused", own, None if queue.paused is None else float(queue.paused)),
            ("cloudflare_queue_producers", own, queue.producers),
        ]
        shared = {"system": "cloudflare", "queue": queue.name, **self._settings.labels.get(queue.name, {})}
        if queue.dead_letters_of:
            found.append(("obskit_queue_messages", {**shared, "state": "dead"}, backlog))
        else:
            found += [
                ("obskit_queue_messages", {**shared, "state": "ready"}, backlog),
                ("obskit_queue_oldest_age_seconds", {**shared, "method": "exact"}, age_s),
                ("obskit_queue_consumers", shared, queue.consumers),
            ]
        return [(name, labels, float(value)) for name, labels, value in found if value is not None]


def build_parts(account: Account, settings: QueuesSettings) -> Sequence[Collector]:
    """One poll."""
    api = account.api(PERMISSION)
    reader = QueueReader(api, settings, account.name)
    return [Polled(account, "queues", settings.every, read=reader.read, close=api.close)]


async def checks(account: Account, settings: QueuesSettings, clock: Clock) -> Sequence[Check]:
    """Whether each queue's metrics can be read."""
    api = account.api(PERMISSION)
    try:
        batch = await QueueReader(api, settings, account.name).read(clock.now_ms())
    except CollectorError as error:
        fix = "name queues as `wrangler queues list` does" if error.reason == "missing" else api.fix
        return [failed(f"queues: {error}", fix)]
    finally:
        await api.close()
    names = {labels.get("queue") for labels in batch.samples.labels}
    return [ok(f"queues: {len(names)} can be read")]


def _queue(row: Mapping[str, Any], dead_letters_of: tuple[str, ...]) -> Queue:
    settings = row.get("settings")
    paused = settings.get("delivery_paused") if isinstance(settings, dict) else None
    return Queue(
        id=str(row["queue_id"]),
        name=str(row["queue_name"]),
        paused=paused if isinstance(paused, bool) else None,
        producers=_whole(row.get("producers_total_count")),
        consumers=_whole(row.get("consumers_total_count")),
        dead_letters_of=dead_letters_of,
    )


def _age_s(oldest: Any, backlog: float | None, now_ms: int) -> float | None:
    """0 for an empty queue; unknown where messages wait and no time is given (then the service says 0)."""
    if backlog == 0:
        return 0.0
    oldest_ms = number(oldest)
    if oldest_ms is None or oldest_ms < _EARLIEST_MS:
        return None
    return max(0.0, (now_ms - oldest_ms) / 1000)


def _whole(value: Any) -> int | None:
    found = number(value)
    return None if found is None else int(found)
