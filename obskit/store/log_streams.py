"""The streams of log records: which labels have which number, and what becomes of too many or too long ones.

Written by the writer thread alone; readers of numbers come from any thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher
from obskit.store import telemetry
from obskit.store.database import Database, Transaction
from obskit.store.disk import from_text, to_text
from obskit.store.matching import matching
from obskit.store.settings import StoreSettings

OVERFLOW: Final = Labels({"obskit_overflow": "true"})
_HOUR_MS: Final = 3_600_000
_AT_HAND: Final = 16_384

log = logging.getLogger(__name__)


class Stream(NamedTuple):
    """A stream as it is stored (within its limits), its number, and the labels that stood for it."""

    id: int
    labels: Labels
    given: Labels


class Admitted(NamedTuple):
    """Per line the number of its stream and the labels under which it is known, and which streams there are."""

    ids: NDArray[np.int32]
    labels: list[Labels]
    distinct: frozenset[Labels]


class Streams:
    """Numbers for labels. A stream is looked up by the identity of its labels first, and by their value if need be."""

    def __init__(self, database: Database, limits: StoreSettings) -> None:
        self._database = database
        self._limits = limits
        self._known: dict[Labels, Stream] = {}
        self._at_hand: dict[int, Stream] = {}
        """By identity. Each holds its labels, so that no other object takes their address."""
        self._fresh: dict[Labels, Stream] = {}
        self._since_ms = 0
        self._full = False
        self._lock = threading.Lock()
        self._labels: dict[int, Labels] = {}
        self._newest = 0
        self._found: dict[tuple[Matcher, ...], tuple[int, dict[int, Labels]]] = {}

    def admit(self, tx: Transaction, given: list[Labels], now_ms: int) -> Admitted:
        """The streams of some lines; new ones are written in the transaction."""
        self._fresh.clear()
        if not 0 <= now_ms - self._since_ms < _HOUR_MS:
            # Every hour streams say again that they live: the limit counts those of about an hour, and retention may
            # forget the others.
            self._known, self._since_ms = {}, now_ms
            self._at_hand.clear()
        keys = list(map(id, given))
        at_hand = self._at_hand
        streams = {
            key: at_hand.get(key) or self._admit(tx, labels, now_ms)
            for key, labels in dict(zip(keys, given, strict=True)).items()
        }
        numbers = {key: stream.id for key, stream in streams.items()}
        ids = np.array(list(map(numbers.__getitem__, keys)), np.int32)
        stored = given
        if any(stream.labels is not stream.given for stream in streams.values()):
            stored = [streams[key].labels for key in keys]
        return Admitted(ids, stored, frozenset(stream.labels for stream in streams.values()))

    def remember(self) -> None:
        """What the last `admit` wrote is committed."""
        self._known.update(self._fresh)
        self._fresh.clear()

    def matching(self, matchers: Sequence[Matcher]) -> dict[int, Labels]:
        """The streams on disk that satisfy all matchers, by number, in the order in which the store first saw them."""
        with self._lock:
            newest = self._read_new()
            key = tuple(matchers)
            cached = self._found.get(key)
            if cached is None or cached[0] != newest:
                if len(self._found) >= 256:
                    self._found.clear()
                found = {number: self._labels[number] for number in matching(matchers, self._labels)}
                cached = self._found[key] = newest, found
            return cached[1]

    def labels(self) -> Mapping[int, Labels]:
        """The labels of every number there is."""
        with self._lock:
            self._read_new()
            return self._labels

    def _read_new(self) -> int:
        shared: dict[str, str] = {}
        for number, text in self._database.read(
            "SELECT id, labels FROM stream WHERE id > ? ORDER BY id", (self._newest,)
        ):
            self._labels[number] = from_text(text, shared)
            self._newest = number
        return self._newest

    def _admit(self, tx: Transaction, labels: Labels, now_ms: int) -> Stream:
        known = self._known.get(labels) or self._fresh.get(labels)
        if known is None:
            return self._new(tx, labels, now_ms)
        if labels in self._known:
            if len(self._at_hand) >= _AT_HAND:
                self._at_hand.clear()
            self._at_hand[id(labels)] = known._replace(given=labels)
        return known

    def _new(self, tx: Transaction, labels: Labels, now_ms: int) -> Stream:
        """A stream that was not seen this hour."""
        if len(self._known) + len(self._fresh) >= self._limits.max_streams:
            if not self._full:
                self._full = True
                log.warning("too many log streams: max_streams=%d first=%s", self._limits.max_streams, labels)
            return Stream(_number(tx, OVERFLOW, now_ms), OVERFLOW, labels)
        self._full = False
        stored = self._shortened(labels)
        self._fresh[labels] = stream = Stream(_number(tx, stored, now_ms), stored, labels)
        return stream

    def _shortened(self, labels: Labels) -> Labels:
        limits = self._limits
        pairs = [(name[: limits.max_label_name], value[: limits.max_label_value]) for name, value in labels.pairs]
        if tuple(pairs) == labels.pairs and len(pairs) <= limits.max_labels:
            return labels
        telemetry.CUT.labels("stream_label").inc()
        return Labels(pairs[: limits.max_labels])


def _number(connection: Transaction, labels: Labels, now_ms: int) -> int:
    row = connection.execute(
        "INSERT INTO stream (labels, seen_ms) VALUES (?, ?)"
        " ON CONFLICT (labels) DO UPDATE SET seen_ms = excluded.seen_ms RETURNING id",
        (to_text(labels), now_ms),
    ).fetchone()
    return int(row[0])
