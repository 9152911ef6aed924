"""Task queues that keep their jobs in a Redis: a Layout says under which keys, and which of them make up which state.

A framework's own file gives its layout, what it has beyond counts (workers, locks), and its Kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from obskit.clock import Clock
from obskit.collect import Check, Collector, Kind
from obskit_collectors.redis_connection import Command
from obskit_collectors.redis_readings import Queue, Readings, Talk, time_ms
from obskit_collectors.redis_server import ServerCollector, ServerReader, ServerSettings, examine

S = TypeVar("S", bound=ServerSettings)
Words = tuple[str, ...]
"""A command; `{p}` is the prefix of all keys, `{q}` the queue, `{id}` a job."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a framework keeps a queue.

    `counts` are its own statuses and the commands that count them, shown as the metric `shown_as` where others show
    them. `states` are ours, as sums of those; one that begins with `-` is taken off. `head` gives the id of the job
    that is taken next and `born` when that was enqueued.
    """

    system: str
    counts: Mapping[str, Words]
    states: Mapping[str, Words]
    head: Words
    born: Words
    shown_as: tuple[str, str] | None = None
    time: Callable[[object], float | None] = time_ms


@dataclass(frozen=True, slots=True)
class FrameworkQueue:
    """One queue of a framework."""

    layout: Layout
    prefix: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, str]:
        """The labels of its series."""
        return {**self.labels, "system": self.layout.system, "queue": self.name}

    def talk(self, readings: Readings) -> Talk:
        """Every count and the next job's id, then when that one was enqueued."""
        layout = self.layout
        replies = yield [*(self.command(words) for words in layout.counts.values()), self.command(layout.head)]
        asked = {status: words[1] for status, words in layout.counts.items()}
        counts = readings.sizes({status: self._filled(key) for status, key in asked.items()}, replies, "key")
        if layout.shown_as:
            for status, count in counts.items():
                readings.add(layout.shown_as[0], count, queue=self.name, **{layout.shown_as[1]: status})
        states = self._states(counts)
        readings.depths(self.named, states)
        yield from self._age(replies[-1], states.get("ready"), readings)

    def command(self, words: Words, job: str = "") -> Command:
        """The command for this queue."""
        return tuple(self._filled(word, job) for word in words)

    def _filled(self, word: str, job: str = "") -> str:
        return word.format(p=self.prefix, q=self.name, id=job)

    def _states(self, counts: Mapping[str, float]) -> dict[str, float]:
        """A state is known when all its parts are. They are not read in one instant: never below 0."""
        states = {}
        for state, parts in self.layout.states.items():
            known = [
                -counts[part[1:]] if part.startswith("-") else counts[part]
                for part in parts
                if part.removeprefix("-") in counts
            ]
            if len(known) == len(parts):
                states[state] = max(0.0, sum(known))
        return states

    def _age(self, job: object, ready: float | None, readings: Readings) -> Talk:
        key = f"{self.layout.system} {self.prefix} {self.name}"
        if not isinstance(job, str):
            if job is None and ready == 0:
                readings.forget(key)
                readings.age(self.named, "exact", None)
            return
        (written,) = yield [self.command(self.layout.born, job)]
        born_ms = self.layout.time(written)
        if born_ms is not None:
            readings.age(self.named, "exact", born_ms)
        else:
            readings.age(self.named, "first_seen", readings.first_seen(key, job))


def framework(kind: str, model: type[S], queues: Callable[[S], Sequence[Queue]]) -> Kind[S]:
    """The Kind of a framework whose settings give these queues."""

    def reader(settings: S) -> ServerReader:
        return ServerReader(kind, settings, queues(settings), whole=False, info=False)

    def build(settings: S) -> Collector:
        return ServerCollector(kind, settings, reader(settings))

    async def doctor(settings: S, clock: Clock) -> Sequence[Check]:
        return await examine(settings, reader(settings), clock)

    return Kind(settings=model, build=build, doctor=doctor)
