"""What a list, a stream and a sorted set say about the queue they hold: depth, in flight, dead letters, age, drain.

Pure: questions out, replies in, samples added. The age is read without consuming (LINDEX, XRANGE, ZRANGE).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from obskit_collectors.redis_connection import Command, Reply, ReplyError
from obskit_collectors.redis_readings import Readings, Talk, as_mapping, payload_time_ms, time_ms

_MS_FROM: Final = 100_000_000_000
"""A score above this (in the year 5138 as seconds) is in milliseconds."""


@dataclass(frozen=True, slots=True)
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

    def talk(self, readings: Readings) -> Talk:
        """LLEN of the list and of its companions, LINDEX of the oldest element."""
        keys = {"ready": self.key, "in_flight": self.in_flight, "dead": self.dead}
        asked = {state: key for state, key in keys.items() if key}
        head: list[Command] = [("LINDEX", self.key, "-1" if self.oldest == "right" else "0")] if self.age else []
        replies = yield [*(("LLEN", key) for key in asked.values()), *head]
        counts = readings.sizes(asked, replies, "list")
        readings.depths(self.named, counts)
        if "ready" not in counts:
            return
        readings.add("redis_key_size", counts["ready"], db=readings.database, key=self.key)
        if self.age:
            self._read_age(replies[-1], readings)

    def _read_age(self, element: Reply, readings: Readings) -> None:
        written_ms = None
        if self.time_field and isinstance(element, str):
            written_ms = payload_time_ms(element, self.time_field)
        if self.time_field and element is None:
            readings.forget(self.key)
            readings.age(self.named, "payload", None)
        else:
            readings.head_age(self.named, self.key, element, written_ms)


@dataclass(frozen=True, slots=True)
class SetQueue:
    """A sorted set; with times as scores, what is due is ready and the rest delayed."""

    key: str
    queue: str = ""
    scores: str = "priority"
    in_flight: str = ""
    dead: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, str]:
        """The labels of its series."""
        return {**self.labels, "system": "redis_zset", "queue": self.queue or self.key}

    def talk(self, readings: Readings) -> Talk:
        """ZCARD of the set and of its companions; with times as scores the lowest one, then how many are due."""
        keys = {"ready": self.key, "in_flight": self.in_flight, "dead": self.dead}
        asked = {state: key for state, key in keys.items() if key}
        timed = self.scores == "time"
        head: list[Command] = [("ZRANGE", self.key, "0", "0", "WITHSCORES")] if timed else []
        replies = yield [*(("ZCARD", key) for key in asked.values()), *head]
        counts = readings.sizes(asked, replies, "sorted set")
        readings.depths(self.named, {state: n for state, n in counts.items() if not timed or state != "ready"})
        if "ready" not in counts:
            return
        readings.add("redis_key_size", counts["ready"], db=readings.database, key=self.key)
        if timed:
            yield from self._due(replies[-1], readings)

    def _due(self, head: Reply, readings: Readings) -> Talk:
        if head == []:
            readings.depths(self.named, {"ready": 0, "delayed": 0})
            readings.age(self.named, "exact", None)
            return
        if not isinstance(head, list):
            return
        lowest = time_ms(head[1])  # None for a score of 0 or -inf: due, nobody knows since when
        if lowest is not None:
            readings.age(self.named, "exact", lowest if lowest <= readings.now_ms else None)
        now = f"{readings.now_ms / (1 if float(head[1]) > _MS_FROM else 1000):.0f}"
        replies = yield [("ZCOUNT", self.key, "-inf", now), ("ZCOUNT", self.key, f"({now}", "+inf")]
        due = readings.sizes({"ready": self.key, "delayed": self.key}, replies, "sorted set")
        readings.depths(self.named, due)


@dataclass(frozen=True, slots=True)
class StreamQueue:
    """A stream: each consumer group has its own backlog (lag) and its own messages in flight (pending)."""

    key: str
    dead: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def named(self, group: str = "") -> dict[str, str]:
        """The labels of a group's series, or of the stream's own."""
        return {**self.labels, "system": "redis_stream", "queue": f"{self.key}/{group}" if group else self.key}

    def talk(self, readings: Readings) -> Talk:
        """XLEN and the groups, then the oldest undelivered and the oldest pending entry of each.

        XINFO of a stream that does not exist is an error, and means empty.
        """
        dead: list[Command] = [("XLEN", self.dead)] if self.dead else []
        replies = yield [("XLEN", self.key), ("XINFO", "GROUPS", self.key), ("XINFO", "STREAM", self.key), *dead]
        if not self._read_stream(replies, readings):
            return
        groups = [as_mapping(group) for group in replies[1]] if isinstance(replies[1], list) else []
        if not groups and isinstance(replies[0], int):
            readings.depth(self.named(), "ready", replies[0])
        for group in groups:
            self._read_group(group, readings)
        more = yield [command for group in groups for command in self._ends(group)]
        for group, undelivered, pending in zip(groups, more[::2], more[1::2], strict=True):
            ids = [entry_id for entry_id in (_first_id(undelivered), _oldest_pending(pending)) if entry_id]
            since_ms = min((int(entry_id.split("-")[0]) for entry_id in ids), default=None)
            if not isinstance(undelivered, ReplyError):
                readings.age(self.named(str(group.get("name"))), "exact", since_ms)

    def _read_stream(self, replies: list[Reply], readings: Readings) -> bool:
        length = readings.number(replies[0], f"stream {self.key}")
        if length is None:
            return False
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
        return True

    def _read_group(self, group: dict[str, Any], readings: Readings) -> None:
        named = self.named(str(group.get("name")))
        labels = {"db": readings.database, "stream": self.key, "group": str(group.get("name"))}
        known = {key: value for key, value in group.items() if isinstance(value, int)}
        for key in ("consumers", "pending", "lag", "entries-read"):
            if key in known:
                metric = "messages_pending" if key == "pending" else key.replace("-", "_")
                readings.add(f"redis_stream_group_{metric}", known[key], **labels)
        # `lag` is null when Redis cannot know it (after XDEL): then the backlog is unknown, not 0.
        for state, key in (("ready", "lag"), ("in_flight", "pending")):
            if key in known:
                readings.depth(named, state, known[key])
        if "consumers" in known:
            readings.add("obskit_queue_consumers", known["consumers"], **named)
        if "entries-read" in known:
            readings.add("obskit_queue_delivered_total", known["entries-read"], **named)
            # What was delivered and is no longer pending was acknowledged.
            readings.add("obskit_queue_completed_total", known["entries-read"] - known.get("pending", 0), **named)

    def _ends(self, group: dict[str, Any]) -> list[Command]:
        after = f"({group.get('last-delivered-id', '0-0')}"
        return [("XRANGE", self.key, after, "+", "COUNT", "1"), ("XPENDING", self.key, str(group.get("name")))]


def _first_id(reply: Reply) -> str | None:
    return str(reply[0][0]) if isinstance(reply, list) and reply else None


def _oldest_pending(reply: Reply) -> str | None:
    return str(reply[1]) if isinstance(reply, list) and len(reply) > 1 and reply[1] else None
