"""BullMQ: the counts of its own Prometheus export, our common names, and jobs whose worker has lost its lock.

Layout: taskforcesh/bullmq (src/classes/queue-keys.ts), seen with 6.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from obskit.model.samples import MetricMeta, MetricType
from obskit_collectors.redis_frameworks import FrameworkQueue, Layout, framework
from obskit_collectors.redis_readings import Readings, Talk, together
from obskit_collectors.redis_server import QueueName, ServerSettings

LAYOUT: Final = Layout(
    system="bullmq",
    counts={
        "waiting": ("LLEN", "{p}:{q}:wait"),
        "paused": ("LLEN", "{p}:{q}:paused"),
        "prioritized": ("ZCARD", "{p}:{q}:prioritized"),
        "active": ("LLEN", "{p}:{q}:active"),
        "delayed": ("ZCARD", "{p}:{q}:delayed"),
        "waiting-children": ("ZCARD", "{p}:{q}:waiting-children"),
        "failed": ("ZCARD", "{p}:{q}:failed"),
        "completed": ("ZCARD", "{p}:{q}:completed"),
    },
    states={
        "ready": ("waiting", "paused", "prioritized"),
        "in_flight": ("active",),
        "delayed": ("delayed", "waiting-children"),
        "dead": ("failed",),
    },
    head=("LINDEX", "{p}:{q}:wait", "-1"),
    born=("HGET", "{p}:{q}:{id}", "timestamp"),
    shown_as=("bullmq_job_count", "state"),
)
_LOCKS: Final = 200
"""Jobs in progress whose locks are looked at."""
METADATA: Final = {
    "bullmq_job_count": MetricMeta(MetricType.GAUGE, "Jobs, by queue and state."),
    "bullmq_job_completed_total": MetricMeta(MetricType.COUNTER, "Jobs that went well."),
    "bullmq_job_failed_total": MetricMeta(MetricType.COUNTER, "Jobs that failed."),
}


class BullmqSettings(ServerSettings):
    """`bullmq:` queues of BullMQ in one Redis."""

    queues: list[QueueName] = Field(min_length=1, description="queues to read")
    prefix: str = Field("bull", min_length=1, description="the prefix of BullMQ's keys")


@dataclass(frozen=True, slots=True)
class BullmqQueue:
    """One queue: its counts, its counters where workers keep them (`metrics`), its locks."""

    counted: FrameworkQueue

    def talk(self, readings: Readings) -> Talk:
        """All of it at once."""
        readings.metadata |= METADATA
        yield from together([self.counted.talk(readings), self._totals(readings), self._locks(readings)])

    def _totals(self, readings: Readings) -> Talk:
        asked = ("completed", "failed")
        replies = yield [self.counted.command(("HGET", f"{{p}}:{{q}}:metrics:{kind}", "count")) for kind in asked]
        for kind, reply in zip(asked, replies, strict=True):
            if isinstance(reply, str) and reply.isdigit():  # absent unless workers are told to keep metrics
                readings.add(f"bullmq_job_{kind}_total", float(reply), queue=self.counted.name)
                readings.add(f"obskit_queue_{kind}_total", float(reply), **self.counted.named)

    def _locks(self, readings: Readings) -> Talk:
        """A job in progress has a lock that its worker renews; one without is stalled, and BullMQ will move it back."""
        (active,) = yield [self.counted.command(("LRANGE", "{p}:{q}:active", "0", f"{_LOCKS - 1}"))]
        if not isinstance(active, list):
            return
        held = 0
        if active:
            locks = [self.counted.command(("{p}:{q}:{id}:lock",), str(job))[0] for job in active]
            (held,) = yield [("EXISTS", *locks)]
        if isinstance(held, int):
            readings.add("obskit_queue_stalled_messages", len(active) - held, **self.counted.named)


def _queues(settings: BullmqSettings) -> Sequence[BullmqQueue]:
    counted = (FrameworkQueue(LAYOUT, settings.prefix, queue.name, queue.labels) for queue in settings.queues)
    return [BullmqQueue(queue) for queue in counted]


KIND: Final = framework("bullmq", BullmqSettings, _queues)
