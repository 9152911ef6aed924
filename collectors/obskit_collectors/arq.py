"""arq: its queue is one sorted set by due time that also holds what runs; a key per running job tells these apart.

Layout: python-arq/arq (arq/constants.py, arq/worker.py), seen with 0.28. Results are pickles: never read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import Field

from obskit_collectors.redis_frameworks import framework
from obskit_collectors.redis_readings import Readings, Talk
from obskit_collectors.redis_server import QueueName, QueueSettings, ServerSettings

_DUE: Final = 500
"""Due jobs that are looked at: those that run are among the oldest."""


class ArqSettings(ServerSettings):
    """`arq:` queues of arq in one Redis."""

    queues: list[QueueName] = Field(
        [QueueSettings(name="arq:queue")], min_length=1, description="queues to read, as `queue_name` in arq"
    )


@dataclass(frozen=True, slots=True)
class ArqQueue:
    """One queue. Its workers share one health key, so that one or more of them cannot be told apart."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, str]:
        """The labels of its series."""
        return {**self.labels, "system": "arq", "queue": self.name}

    def talk(self, readings: Readings) -> Talk:
        """Due, delayed and the oldest due jobs; then how many of those run."""
        now = str(readings.now_ms)
        due, delayed, oldest, health = yield [
            ("ZCOUNT", self.name, "-inf", now),
            ("ZCOUNT", self.name, f"({now}", "+inf"),
            ("ZRANGEBYSCORE", self.name, "-inf", now, "WITHSCORES", "LIMIT", "0", f"{_DUE}"),
            ("EXISTS", f"{self.name}:health-check"),
        ]
        counts = readings.sizes({"due": self.name, "delayed": self.name}, [due, delayed], "queue")
        if len(counts) < 2 or not isinstance(oldest, list):
            return
        if isinstance(health, int):
            readings.add("obskit_queue_consumers", health, **self.named)
        jobs = [str(job) for job in oldest[::2]]
        (running,) = (yield [("EXISTS", *(f"arq:in-progress:{job}" for job in jobs))]) if jobs else (0,)
        if not isinstance(running, int):
            return
        ready = max(0.0, counts["due"] - running)
        readings.depths(self.named, {"ready": ready, "in_flight": running, "delayed": counts["delayed"]})
        # Jobs are taken in the order of their scores: the first one that nobody has taken comes after those that run.
        scores = [float(score) for score in oldest[1::2]][running:]
        if ready == 0 or scores:
            readings.age(self.named, "exact", scores[0] if scores and ready else None)


def _queues(settings: ArqSettings) -> Sequence[ArqQueue]:
    return [ArqQueue(queue.name, queue.labels) for queue in settings.queues]


KIND: Final = framework("arq", ArqSettings, _queues)
