"""Dramatiq over Redis: what waits, what workers hold, what is delayed, and the dead letters it keeps for a week.

Layout: Bogdanp/dramatiq (dramatiq/brokers/redis/dispatch.lua), seen with 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import Field

from obskit_collectors.redis_frameworks import FrameworkQueue, Layout, framework
from obskit_collectors.redis_readings import payload_time_ms
from obskit_collectors.redis_server import QueueName, QueueSettings, ServerSettings


def _written_ms(message: object) -> float | None:
    return payload_time_ms(message, "message_timestamp") if isinstance(message, str) else None


LAYOUT: Final = Layout(
    system="dramatiq",
    counts={
        "queued": ("LLEN", "{p}:{q}"),
        "messages": ("HLEN", "{p}:{q}.msgs"),
        "delayed": ("HLEN", "{p}:{q}.DQ.msgs"),
        "dead": ("ZCARD", "{p}:{q}.XQ"),
    },
    # A message leaves the hash when it is acknowledged, and the list when a worker takes it.
    states={
        "ready": ("queued",),
        "in_flight": ("messages", "-queued"),
        "delayed": ("delayed",),
        "dead": ("dead",),
    },
    head=("LINDEX", "{p}:{q}", "0"),
    born=("HGET", "{p}:{q}.msgs", "{id}"),
    time=_written_ms,
)


class DramatiqSettings(ServerSettings):
    """`dramatiq:` queues of Dramatiq in one Redis."""

    queues: list[QueueName] = Field([QueueSettings(name="default")], min_length=1, description="queues to read")
    namespace: str = Field("dramatiq", min_length=1, description="the broker's namespace: the prefix of its keys")


def _queues(settings: DramatiqSettings) -> Sequence[FrameworkQueue]:
    return [FrameworkQueue(LAYOUT, settings.namespace, queue.name, queue.labels) for queue in settings.queues]


KIND: Final = framework("dramatiq", DramatiqSettings, _queues)
