"""Celery's queues in a Redis, as kombu lays them out: a list per priority, and what workers hold in one hash for all.

Layout: celery/kombu (kombu/transport/redis.py), seen with 5.5. A message has no enqueue time of its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from obskit.model.samples import MetricMeta, MetricType
from obskit_collectors.celery_bindings import Bindings, Layout
from obskit_collectors.redis_connection import Command, Reply
from obskit_collectors.redis_readings import Readings, Talk, payload_time_ms, time_ms, together
from obskit_collectors.redis_server import QueueSettings

ALL: Final = "*"
"""The `queue` label of what cannot be told apart by queue."""
_RESTORE_S: Final = 100
"""Workers look for what to restore about so often (celery/kombu#2558)."""
METADATA: Final = {
    "celery_queue_length": MetricMeta(MetricType.GAUGE, "Tasks that wait, over all priorities."),
    "celery_queue_bound": MetricMeta(MetricType.GAUGE, "Whether its binding is there; without it tasks are dropped."),
}


@dataclass(frozen=True, slots=True)
class CeleryBroker:
    """All configured queues of one Redis. Tasks that workers hold are told apart by queue up to `split` of them."""

    layout: Layout
    queues: Sequence[QueueSettings]
    bindings: Bindings
    time_field: str = ""
    split: int = 200

    def talk(self, readings: Readings) -> Talk:
        """Who is bound to what, then everything else in one go."""
        readings.metadata |= METADATA
        nobodys = yield from self.bindings.check([queue.name for queue in self.queues], readings)
        queues = [queue for queue in self.queues if queue.name not in nobodys]
        yield from together([*(self._queue(queue.name, readings) for queue in queues), self._held(queues, readings)])

    def named(self, queue: str) -> dict[str, str]:
        """The labels of a queue's series."""
        own = next((item.labels for item in self.queues if item.name == queue), {})
        return {**own, "system": "celery", "queue": queue}

    def _queue(self, queue: str, readings: Readings) -> Talk:
        """The sum over its priorities, and the oldest of the tasks that are next in each."""
        lists = self.layout.lists(queue)
        heads: list[Command] = [("LINDEX", key, "-1") for key in lists]
        replies = yield [*(("LLEN", key) for key in lists), *heads]
        lengths = readings.sizes({key: key for key in lists}, replies, "list")
        if len(lengths) < len(lists):
            return
        ready = sum(lengths.values())
        readings.add("celery_queue_length", ready, queue_name=queue)
        readings.depth(self.named(queue), "ready", ready)
        elements = [reply for reply in replies[len(lists) :] if isinstance(reply, str)]
        written = [time for element in elements if (time := payload_time_ms(element, self.time_field)) is not None]
        # The list of the highest priority is emptied first: the last one that is filled tells who has waited longest.
        oldest = elements[-1] if elements else None
        readings.head_age(self.named(queue), f"celery {queue}", oldest, min(written, default=None))

    def _held(self, queues: Sequence[QueueSettings], readings: Readings) -> Talk:
        """What workers hold: running, fetched ahead, or waiting for its time. The visibility timeout ends a lost claim."""
        prefix, key = self.layout.global_keyprefix, self.layout.unacked_key
        expired_s = readings.now_ms / 1000 - self.layout.visibility_timeout_s - _RESTORE_S
        held, stalled = yield [
            ("HLEN", f"{prefix}{key}"),
            ("ZCOUNT", f"{prefix}{key}_index", "-inf", f"{expired_s:.0f}"),
        ]
        count = readings.number(held, f"hash {prefix}{key}")
        if isinstance(stalled, int):
            readings.add("obskit_queue_stalled_messages", stalled, **self.named(ALL))
        if count is None:
            return
        if count > self.split:
            readings.depth(self.named(ALL), "in_flight", count)
            return
        (values,) = (yield [("HVALS", f"{prefix}{key}")]) if count else ([],)
        if not isinstance(values, list):
            return
        tasks = Counter(self._place(value, readings.now_ms) for value in values)
        names = [queue.name for queue in queues]
        others = sum(count for (queue, _), count in tasks.items() if queue not in names)
        for name in names:
            for state in ("in_flight", "delayed"):
                readings.depth(self.named(name), state, tasks[name, state])
        if others:
            readings.depth(self.named(ALL), "in_flight", others)

    def _place(self, value: Reply, now_ms: int) -> tuple[str, str]:
        """The queue and the state of a task that a worker holds: `[message, exchange, routing key]`."""
        try:
            message, exchange, routing_key = json.loads(value)
        except (ValueError, TypeError, RecursionError):
            return ALL, "in_flight"
        headers: Any = message.get("headers") if isinstance(message, dict) else None
        eta_ms = time_ms(headers.get("eta")) if isinstance(headers, dict) else None
        state = "delayed" if eta_ms is not None and eta_ms > now_ms else "in_flight"
        return self.bindings.queue_of(str(exchange), str(routing_key)), state
