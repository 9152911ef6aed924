"""What a list, a stream and a sorted set say about the queue they hold: depth, in flight, dead letters, oldest age.

Pure: questions out, replies in, samples added. The age is read without consuming (LINDEX, XRANGE, ZRANGE).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final, Protocol

from obskit.model.labels import NAME, Labels
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Samples
from obskit_collectors.redis_connection import Command, Reply, ReplyError

MESSAGES: Final = "obskit_queue_messages"
OLDEST_AGE: Final = "obskit_queue_oldest_age_seconds"
METADATA: Final = {
    MESSAGES: MetricMeta(MetricType.GAUGE, "Messages in a queue, by state."),
    OLDEST_AGE: MetricMeta(MetricType.GAUGE, "Age of the oldest message that waits; 0 when the queue is empty."),
    "obskit_queue_consumers": MetricMeta(MetricType.GAUGE, "Consumers of a queue."),
    "obskit_queue_enqueued_total": MetricMeta(MetricType.COUNTER, "Messages ever put into a queue."),
    "redis_up": MetricMeta(MetricType.GAUGE, "Whether the server answered."),
}
_MS_FROM: Final = 100_000_000_000
"""A Unix time above this (in the year 5138 as seconds) is in milliseconds."""


@dataclass(slots=True)
class Readings:
    """One poll's samples. `heads` remembers since when each queue's oldest element is known, by a digest of it."""

    now_ms: int
    instance: str
    database: str
    heads: dict[str, tuple[str, int]]
    samples: Samples = field(default_factory=Samples)
    metadata: dict[str, MetricMeta] = field(default_factory=lambda: dict(METADATA))
    wrong: list[str] = field(default_factory=list)

    def add(self, metric: str, value: float, **labels: str) -> None:
        """One sample, with the server's own labels."""
        full = {NAME: metric, "job": "redis", "instance": self.instance, **labels}
        self.samples.add(Labels(full), self.now_ms, float(value))

    def depth(self, queue: Mapping[str, str], state: str, value: float) -> None:
        """How many messages of a queue (its labels: system, queue, own ones) are in a state."""
        self.add(MESSAGES, value, **queue, state=state)

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
    """One configured key: what to ask, and what the replies mean."""

    def questions(self) -> Sequence[Command]:
        """The commands of the first pipeline."""
        ...

    def take(self, replies: Sequence[Reply], readings: Readings) -> Sequence[Command]:
        """Read their replies; the commands of the second pipeline."""
        ...

    def take_more(self, replies: Sequence[Reply], readings: Readings) -> None:
        """Read the replies of the second pipeline."""
        ...


@dataclass(slots=True)
class ListQueue:
    """A list: LPUSH at one end, BRPOP at the other. A list that is empty does not exist in Redis, and counts 0."""

    key: str
    queue: str = ""
    oldest: str = "right"
    age: bool = True
    time_field: str = ""
    in_flight: str = ""
    dead: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, str]:
        """The labels of its series."""
        return {**self.labels, "system": "redis_list", "queue": self.queue or self.key}

    def questions(self) -> Sequence[Command]:
        """LLEN of the list and of its companions, LINDEX of the oldest element."""
        keys = [key for key in (self.key, self.in_flight, self.dead) if key]
        head = [("LINDEX", self.key, "-1" if self.oldest == "right" else "0")] if self.age else []
        return [*(("LLEN", key) for key in keys), *head]

    def take(self, replies: Sequence[Reply], readings: Readings) -> Sequence[Command]:
        """Depths and age; nothing more to ask."""
        given = iter(replies)
        ready = readings.number(next(given), f"list {self.key}")
        for key, state in ((self.in_flight, "in_flight"), (self.dead, "dead")):
            count = readings.number(next(given), f"list {key}") if key else None
            if count is not None:
                readings.depth(self.named, state, count)
        if ready is None:
            return ()
        readings.depth(self.named, "ready", ready)
        readings.add("redis_key_size", ready, db=readings.database, key=self.key)
        if self.age:
            self._read_age(next(given), readings)
        return ()

    def take_more(self, replies: Sequence[Reply], readings: Readings) -> None:
        """Nothing was asked."""

    def _read_age(self, element: Reply, readings: Readings) -> None:
        if element is None:
            readings.heads = {key: head for key, head in readings.heads.items() if key != self.key}
            readings.age(self.named, "payload" if self.time_field else "first_seen", None)
        elif isinstance(element, str):
            written_ms = payload_time_ms(element, self.time_field) if self.time_field else None
            if written_ms is not None:
                readings.age(self.named, "payload", written_ms)
            else:
                readings.age(self.named, "first_seen", readings.first_seen(self.key, element))


@dataclass(slots=True)
class SetQueue:
    """A sorted set; with times as scores, what is due is ready and the rest delayed."""

    key: str
    queue: str = ""
    scores: str = "priority"
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, str]:
        """The labels of its series."""
        return {**self.labels, "system": "redis_zset", "queue": self.queue or self.key}

    def questions(self) -> Sequence[Command]:
        """ZCARD, and the lowest score when scores are times."""
        head = [("ZRANGE", self.key, "0", "0", "WITHSCORES")] if self.scores == "time" else []
        return [("ZCARD", self.key), *head]

    def take(self, replies: Sequence[Reply], readings: Readings) -> Sequence[Command]:
        """The size; with times, how many are due is asked next."""
        size = readings.number(replies[0], f"sorted set {self.key}")
        if size is None:
            return ()
        readings.add("redis_key_size", size, db=readings.database, key=self.key)
        if self.scores != "time":
            readings.depth(self.named, "ready", size)
            return ()
        head = replies[1] if isinstance(replies[1], list) and len(replies[1]) > 1 else None
        if head is None:
            readings.depth(self.named, "ready", 0)
            readings.depth(self.named, "delayed", 0)
            readings.age(self.named, "exact", None)
            return ()
        scale = 1 if float(head[1]) > _MS_FROM else 1000
        due_ms = float(head[1]) * scale
        readings.age(self.named, "exact", due_ms if due_ms <= readings.now_ms else None)
        return [
            ("ZCOUNT", self.key, "-inf", f"{readings.now_ms / scale:.0f}"),
            ("ZCOUNT", self.key, f"({readings.now_ms / scale:.0f}", "+inf"),
        ]

    def take_more(self, replies: Sequence[Reply], readings: Readings) -> None:
        """How many are due, how many wait for their time."""
        for reply, state in zip(replies, ("ready", "delayed"), strict=False):
            count = readings.number(reply, f"sorted set {self.key}")
            if count is not None:
                readings.depth(self.named, state, count)


@dataclass(slots=True)
class StreamQueue:
    """A stream: each consumer group has its own backlog (lag) and its own messages in flight (pending)."""

    key: str
    dead: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    _groups: list[str] = field(default_factory=list)

    def named(self, group: str = "") -> dict[str, str]:
        """The labels of a group's series, or of the stream's own."""
        return {**self.labels, "system": "redis_stream", "queue": f"{self.key}/{group}" if group else self.key}

    def questions(self) -> Sequence[Command]:
        """XLEN and the groups; XINFO of a stream that does not exist is an error, and means empty."""
        dead = [("XLEN", self.dead)] if self.dead else []
        return [("XLEN", self.key), ("XINFO", "GROUPS", self.key), ("XINFO", "STREAM", self.key), *dead]

    def take(self, replies: Sequence[Reply], readings: Readings) -> Sequence[Command]:
        """Length and groups; asks each group's oldest undelivered and oldest pending entry."""
        length = readings.number(replies[0], f"stream {self.key}")
        if length is None:
            return ()
        labels = {"db": readings.database, "stream": self.key}
        readings.add("redis_stream_length", length, **labels)
        readings.add("redis_key_size", length, db=readings.database, key=self.key)
        added = as_mapping(replies[2]).get("entries-added")
        if isinstance(added, int):
            readings.add("redis_stream_entries_added_total", added, **labels)
            readings.add("obskit_queue_enqueued_total", added, **self.named())
        dead = readings.number(replies[3], f"stream {self.dead}") if self.dead else None
        if dead is not None:
            readings.depth(self.named(), "dead", dead)
        groups = [as_mapping(group) for group in replies[1]] if isinstance(replies[1], list) else []
        if not groups:
            readings.depth(self.named(), "ready", length)
        self._groups = [str(group.get("name")) for group in groups]
        return [command for group in groups for command in self._take_group(group, readings)]

    def take_more(self, replies: Sequence[Reply], readings: Readings) -> None:
        """The age of each group: of its oldest entry that is undelivered or not acknowledged."""
        for name, undelivered, pending in zip(self._groups, replies[::2], replies[1::2], strict=False):
            ids = [entry_id for entry_id in (_first_id(undelivered), _oldest_pending(pending)) if entry_id]
            since_ms = min((int(entry_id.split("-")[0]) for entry_id in ids), default=None)
            if not isinstance(undelivered, ReplyError):
                readings.age(self.named(name), "exact", since_ms)

    def _take_group(self, group: dict[str, Any], readings: Readings) -> list[Command]:
        name = str(group.get("name"))
        labels = {"db": readings.database, "stream": self.key, "group": name}
        for metric, key in (("consumers", "consumers"), ("messages_pending", "pending"), ("lag", "lag")):
            if isinstance(group.get(key), int):
                readings.add(f"redis_stream_group_{metric}", group[key], **labels)
        # `lag` is null when Redis cannot know it (after XDEL): then the backlog is unknown, not 0.
        for state, key in (("ready", "lag"), ("in_flight", "pending")):
            if isinstance(group.get(key), int):
                readings.depth(self.named(name), state, group[key])
        if isinstance(group.get("consumers"), int):
            readings.add("obskit_queue_consumers", group["consumers"], **self.named(name))
        after = f"({group.get('last-delivered-id', '0-0')}"
        return [("XRANGE", self.key, after, "+", "COUNT", "1"), ("XPENDING", self.key, name)]


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
    return _time_ms(value)


def _time_ms(value: Any) -> float | None:
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


def _first_id(reply: Reply) -> str | None:
    return str(reply[0][0]) if isinstance(reply, list) and reply else None


def _oldest_pending(reply: Reply) -> str | None:
    return str(reply[1]) if isinstance(reply, list) and len(reply) > 1 and reply[1] else None
