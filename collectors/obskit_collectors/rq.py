"""RQ: queues, registries and workers as rq-exporter names them, and our common names. Job data is a pickle: never read.

Layout: rq/rq (rq/queue.py, rq/registry.py, rq/worker), seen with 2.12.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from obskit.model.samples import MetricMeta, MetricType
from obskit_collectors.redis_connection import Reply
from obskit_collectors.redis_frameworks import FrameworkQueue, Layout, framework
from obskit_collectors.redis_readings import Readings, Talk, together
from obskit_collectors.redis_server import QueueName, QueueSettings, ServerSettings

LAYOUT: Final = Layout(
    system="rq",
    counts={
        "queued": ("LLEN", "{p}:queue:{q}"),
        "started": ("ZCARD", "{p}:wip:{q}"),
        "scheduled": ("ZCARD", "{p}:scheduled:{q}"),
        "deferred": ("ZCARD", "{p}:deferred:{q}"),
        "failed": ("ZCARD", "{p}:failed:{q}"),
        "finished": ("ZCARD", "{p}:finished:{q}"),
    },
    states={
        "ready": ("queued",),
        "in_flight": ("started",),
        "delayed": ("scheduled", "deferred"),
        "dead": ("failed",),
    },
    head=("LINDEX", "{p}:queue:{q}", "0"),
    born=("HGET", "{p}:job:{id}", "enqueued_at"),
    shown_as=("rq_jobs", "status"),
)
_FIELDS: Final = ("state", "queues", "successful_job_count", "failed_job_count", "total_working_time")
_COUNTERS: Final = ("rq_workers_success_total", "rq_workers_failed_total", "rq_workers_working_time_total")
METADATA: Final = {
    "rq_workers": MetricMeta(MetricType.GAUGE, "Workers, by state and queues."),
    "rq_jobs": MetricMeta(MetricType.GAUGE, "Jobs, by queue and status."),
    **{
        name: MetricMeta(MetricType.COUNTER, "Of a worker: jobs that went well, that failed, time spent working.")
        for name in _COUNTERS
    },
}


class RqSettings(ServerSettings):
    """`rq:` the queues of RQ in one Redis."""

    queues: list[QueueName] = Field([], description="queues to read; default: all that RQ knows")


@dataclass(frozen=True, slots=True)
class RqServer:
    """All queues and workers in one Redis. RQ remembers its queues in a set, and workers expire by themselves."""

    queues: Sequence[QueueSettings]

    def talk(self, readings: Readings) -> Talk:
        """The names first, where they have to be learned; then every queue and worker."""
        readings.metadata |= METADATA
        known, workers = yield [("SMEMBERS", "rq:queues"), ("SMEMBERS", "rq:workers")]
        labels = {queue.name: queue.labels for queue in self.queues}
        labels = labels or {name.removeprefix("rq:queue:"): {} for name in _names(known)}
        queues = [FrameworkQueue(LAYOUT, "rq", name, own) for name, own in labels.items()]
        yield from together(
            [
                *(queue.talk(readings) for queue in queues),
                *(_abandoned(queue, readings) for queue in queues),
                _workers(_names(workers), queues, readings),
            ]
        )


def _names(reply: Reply) -> list[str]:
    """A set of names, without its order; a set that cannot be read gives none."""
    return sorted(str(name) for name in reply) if isinstance(reply, list) else []


def _abandoned(queue: FrameworkQueue, readings: Readings) -> Talk:
    """A job in progress whose worker has not renewed its claim: the score, its expiry, has passed."""
    (count,) = yield [queue.command(("ZCOUNT", "{p}:wip:{q}", "(0", f"{readings.now_ms // 1000}"))]
    if isinstance(count, int):
        readings.add("obskit_queue_stalled_messages", count, **queue.named)


def _workers(keys: Sequence[str], queues: Sequence[FrameworkQueue], readings: Readings) -> Talk:
    replies = yield [("HMGET", key, *_FIELDS) for key in keys]
    consumers: Counter[str] = Counter()
    for key, reply in zip(keys, replies, strict=True):
        if not isinstance(reply, list) or reply[1] is None:
            continue  # its hash has expired, or it is just being born
        served = str(reply[1])
        consumers.update(served.split(","))
        worker = {"name": key.removeprefix("rq:worker:"), "queues": served}
        readings.add("rq_workers", 1.0, **worker, state=str(reply[0]))
        for metric, value in zip(_COUNTERS, reply[2:], strict=True):
            readings.add(metric, _number(value), **worker)
    for queue in queues:
        readings.add("obskit_queue_consumers", consumers[queue.name], **queue.named)


def _number(value: Reply) -> float:
    """A worker's field; it is missing until the first job is done."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _queues(settings: RqSettings) -> Sequence[RqServer]:
    return [RqServer(settings.queues)]


KIND: Final = framework("rq", RqSettings, _queues)
