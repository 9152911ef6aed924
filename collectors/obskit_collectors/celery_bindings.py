"""kombu's bindings in a Redis: which queues exist, and whether a configured one is still fed.

A publish to an exchange whose set is gone (eviction, FLUSHDB) is dropped without a word (celery/celery#10566).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from obskit_collectors.redis_connection import ReplyError
from obskit_collectors.redis_readings import Asking, Readings

SEPARATOR: Final = "\x06\x16"
_SEARCH_EVERY_MS: Final = 600_000
_ROUNDS: Final = 20
_KEYS: Final = 200
_INTERNAL: Final = (".celery.pidbox", ".reply.celery.pidbox")


@dataclass(frozen=True, slots=True)
class Layout:
    """What kombu's transport options say; the fields have its names and defaults."""

    global_keyprefix: str = ""
    sep: str = SEPARATOR
    priority_steps: tuple[int, ...] = (0, 3, 6, 9)
    unacked_key: str = "unacked"
    visibility_timeout_s: float = 3600.0

    def lists(self, queue: str) -> list[str]:
        """The queue's lists, the most urgent first: 0 is the highest priority, and has no suffix."""
        return [
            f"{self.global_keyprefix}{queue}{self.sep}{step}" if step else self.global_keyprefix + queue
            for step in sorted(self.priority_steps)
        ]

    @property
    def binding(self) -> str:
        """What the keys of bindings begin with; the exchange follows."""
        return f"{self.global_keyprefix}_kombu.binding."


@dataclass(slots=True)
class Bindings:
    """What is known of them. Celery names the exchange of a queue like the queue, unless it is told otherwise."""

    layout: Layout
    _exchanges: dict[str, str] = field(default_factory=dict)
    _queues: dict[tuple[str, str], str] = field(default_factory=dict)
    _searched_ms: int = -_SEARCH_EVERY_MS
    _blind: bool = False
    """We may not look for bindings of other names: then a queue without one is unknown, not wrong."""

    def check(self, names: Sequence[str], readings: Readings) -> Asking[set[str]]:
        """Tell of each queue whether it is bound. Gives the names that nobody has ever declared: they have no depth."""
        bound = yield from self._read({self._exchanges.get(name, name) for name in names})
        if not bound.keys() >= set(names) and readings.now_ms - self._searched_ms >= _SEARCH_EVERY_MS:
            self._searched_ms = readings.now_ms
            exchanges = yield from self._search()
            self._blind = exchanges is None
            bound |= yield from self._read(exchanges or ())
        self._exchanges |= {name: bound[name] for name in names if name in bound}
        nobodys = {name for name in names if name not in self._exchanges} if not self._blind else set()
        for name in names:
            if name in self._exchanges:
                readings.add("celery_queue_bound", float(name in bound), queue_name=name)
        for name in sorted(nobodys):
            readings.wrong.append(f"queue {name}: no worker has declared it (is the name right?){self._known()}")
        return nobodys

    def queue_of(self, exchange: str, routing_key: str) -> str:
        """Where a message went; the default exchange takes the routing key for the queue."""
        return self._queues.get((exchange, routing_key), routing_key)

    def _known(self) -> str:
        names = sorted({name for name in self._queues.values() if not name.endswith(_INTERNAL)})
        return f"; known: {', '.join(names[:10])}" if names else ""

    def _read(self, exchanges: Iterable[str]) -> Asking[dict[str, str]]:
        """Queue → exchange, of what is bound to these exchanges."""
        asked = sorted(exchanges)
        replies = yield [("SMEMBERS", self.layout.binding + exchange) for exchange in asked]
        bound = {}
        for exchange, members in zip(asked, replies, strict=True):
            for member in members if isinstance(members, list) else ():
                routing_key, *rest = str(member).split(self.layout.sep)  # then a pattern, then the queue
                if rest:
                    bound[rest[-1]] = exchange
                    self._queues[exchange, routing_key] = rest[-1]
        return bound

    def _search(self) -> Asking[list[str] | None]:
        """Every exchange that has a binding; None when we may not look (SCAN is refused to read-only tokens)."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self.layout.binding) + "*"
        cursor, keys = "0", list[str]()
        for _ in range(_ROUNDS):
            (reply,) = yield [("SCAN", cursor, "MATCH", pattern, "COUNT", "1000")]
            if isinstance(reply, ReplyError):
                return None
            cursor, found = str(reply[0]), reply[1]
            keys += [str(key) for key in found]
            if cursor == "0" or len(keys) >= _KEYS:
                break
        return [key.removeprefix(self.layout.binding) for key in keys[:_KEYS]]
