"""What one poll of a Redis found, and how its readers talk to the server: in rounds, each one pipeline for all of them.

A Talk is a generator: it yields commands and is sent their replies. Pure; unknown is never written as 0.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final, Protocol, TypeVar

from obskit.model.labels import NAME, Labels
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Samples
from obskit_collectors.redis_connection import Command, Reply

T = TypeVar("T")
Asking = Generator[Sequence[Command], list[Reply], T]
"""A part of a talk that finds something out."""
Talk = Asking[None]

MESSAGES: Final = "obskit_queue_messages"
OLDEST_AGE: Final = "obskit_queue_oldest_age_seconds"
METADATA: Final = {
    MESSAGES: MetricMeta(MetricType.GAUGE, "Messages in a queue, by state."),
    OLDEST_AGE: MetricMeta(MetricType.GAUGE, "Age of the oldest message that waits; 0 when the queue is empty."),
    "obskit_queue_consumers": MetricMeta(MetricType.GAUGE, "Consumers of a queue."),
    "obskit_queue_enqueued_total": MetricMeta(MetricType.COUNTER, "Messages ever put into a queue."),
    "obskit_queue_delivered_total": MetricMeta(MetricType.COUNTER, "Messages ever given to a consumer."),
    "obskit_queue_completed_total": MetricMeta(MetricType.COUNTER, "Messages that were done, or acknowledged."),
    "obskit_queue_failed_total": MetricMeta(MetricType.COUNTER, "Messages that failed."),
    "obskit_queue_stalled_messages": MetricMeta(
        MetricType.GAUGE, "Messages in flight whose worker no longer renews its claim."
    ),
    "redis_up": MetricMeta(MetricType.GAUGE, "Whether the server answered."),
}
_MS_FROM: Final = 100_000_000_000
"""A Unix time above this (in the year 5138 as seconds) is in milliseconds."""


@dataclass(slots=True)
class Readings:
    """One poll's samples. `heads` remembers since when each queue's oldest element is known, by a digest of it."""

    now_ms: int
    job: str
    instance: str
    database: str
    heads: dict[str, tuple[str, int]]
    samples: Samples = field(default_factory=Samples)
    metadata: dict[str, MetricMeta] = field(default_factory=lambda: dict(METADATA))
    wrong: list[str] = field(default_factory=list)

    def add(self, metric: str, value: float, **labels: str) -> None:
        """One sample, with the server's own labels."""
        full = {NAME: metric, "job": self.job, "instance": self.instance, **labels}
        self.samples.add(Labels(full), self.now_ms, float(value))

    def depth(self, queue: Mapping[str, str], state: str, value: float) -> None:
        """How many messages of a queue (its labels: system, queue, own ones) are in a state."""
        self.add(MESSAGES, value, **queue, state=state)

    def depths(self, queue: Mapping[str, str], counts: Mapping[str, float]) -> None:
        """`depth` for every state that is known."""
        for state, value in counts.items():
            self.depth(queue, state, value)

    def sizes(self, asked: Mapping[str, str], replies: Sequence[Reply], kind: str) -> dict[str, float]:
        """The sizes of the asked keys by state, without those that are unknown."""
        pairs = zip(asked.items(), replies, strict=False)  # other replies may follow
        told = ((state, self.number(reply, f"{kind} {key}")) for (state, key), reply in pairs)
        return {state: count for state, count in told if count is not None}

    def age(self, queue: Mapping[str, str], method: str, since_ms: float | None) -> None:
        """How long the oldest message has waited; None: the queue is known to be empty."""
        age_s = 0.0 if since_ms is None else max(0.0, (self.now_ms - since_ms) / 1000)
        self.add(OLDEST_AGE, age_s, **queue, method=method)

    def first_seen(self, key: str, element: str) -> int:
        """Since when this element is the oldest, as far as we saw: a lower bound of its age."""
        digest = blake2b(element.encode(), digest_size=8).hexdigest()
        known, since_ms = self.heads.get(key, ("", 0))
        if known != digest:
            since_ms = self.now_ms
        self.heads = {**self.heads, key: (digest, since_ms)}
        return since_ms

    def forget(self, key: str) -> None:
        """Nothing waits there any more."""
        self.heads = {other: head for other, head in self.heads.items() if other != key}

    def head_age(self, queue: Mapping[str, str], key: str, element: Reply, written_ms: float | None) -> None:
        """The age of the element that is taken next: since it was written, else since it was first seen there."""
        if element is None:
            self.forget(key)
        if written_ms is not None or element is None:
            self.age(queue, "payload" if written_ms is not None else "first_seen", written_ms)
        elif isinstance(element, str):
            self.age(queue, "first_seen", self.first_seen(key, element))

    def number(self, reply: Reply, what: str) -> float | None:
        """The reply as a number; None, and a word about it, when it is an error."""
        if isinstance(reply, int):
            return float(reply)
        text = str(reply)
        if text.startswith("WRONGTYPE"):
            text = "the key holds another type"
        self.wrong.append(f"{what}: {text}")
        return None


class Queue(Protocol):
    """Something in a Redis that is read at each poll."""

    def talk(self, readings: Readings) -> Talk:
        """Ask for it, and add what the replies say."""
        ...


def together(talks: Iterable[Talk]) -> Talk:
    """All talks as one: each of its rounds is what every one of them asks next."""
    asked = [(talk, commands) for talk in talks if (commands := _next_commands(talk, None))]
    while asked:
        replies = iter((yield [command for _, commands in asked for command in commands]))
        answered = [(talk, [next(replies) for _ in commands]) for talk, commands in asked]
        asked = [(talk, commands) for talk, own in answered if (commands := _next_commands(talk, own))]


async def converse(talk: Talk, ask: Callable[[Sequence[Command]], Awaitable[list[Reply]]]) -> None:
    """Hold a talk: each round is one pipeline."""
    commands = _next_commands(talk, None)
    while commands:
        commands = _next_commands(talk, await ask(commands))


def _next_commands(talk: Talk, replies: list[Reply] | None) -> Sequence[Command]:
    """What the talk asks next; nothing when it is over. Who asks for nothing is answered at once."""
    try:
        commands = next(talk) if replies is None else talk.send(replies)
        while not commands:
            commands = talk.send([])
    except StopIteration:
        return ()
    return commands


def payload_time_ms(element: str, path: str) -> float | None:
    """The time at a dotted path of a JSON element, as Unix ms: Unix s, Unix ms or ISO 8601; the body may be base64."""
    try:
        value: Any = json.loads(element)
    except RecursionError:  # whoever fills the queue chooses how deep an element is
        return None
    except ValueError:
        try:
            value = json.loads(base64.b64decode(element, validate=True))
        except (ValueError, RecursionError, binascii.Error):
            return None
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return time_ms(value)


def time_ms(value: Any) -> float | None:
    """Unix s, Unix ms or ISO 8601 as Unix ms; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    except (TypeError, ValueError):
        number = 0.0
    if math.isinf(number):
        return None
    if number > 0:
        return number if number > _MS_FROM else number * 1000
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000


def as_mapping(reply: Reply) -> dict[str, Any]:
    """A flat list of names and values as a dict; an error reply as an empty one."""
    return dict(zip(reply[::2], reply[1::2], strict=False)) if isinstance(reply, list) else {}
