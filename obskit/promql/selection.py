"""Reading the store for one query: each selector once, within the query's budget, with label sets that are known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Generic, TypeVar

import numpy as np

from obskit.clock import Clock, SystemClock
from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.promql.blocks import Floats
from obskit.promql.columns import SampleColumns
from obskit.promql.labelsets import Ints, LabelSets
from obskit.promql.nodes import VectorSelector
from obskit.store.interface import EdgeReader, Edges, MetricReader

Key = TypeVar("Key")
Item = TypeVar("Item")

MAX_KNOWN_ROWS: Final = 250_000
"""About 6 MB of references, and what was derived from them."""
TOO_MANY_SAMPLES: Final = "query processing would load too many samples into memory in query execution"


class KnownSets:
    """Label sets by the sequence of Labels they were made from, so that what was derived from them is found again.

    A reader that finds the same series gives the same sequence, or at least the same Labels objects in it. Sequences
    are held while they are here, so their ids stay theirs. At most `max_rows` label sets are held, the latest used.
    """

    def __init__(self, max_rows: int = MAX_KNOWN_ROWS) -> None:
        self._by_sequence: _Recent[int, tuple[Sequence[Labels], LabelSets]] = _Recent(max_rows)
        self._by_rows: _Recent[bytes, LabelSets] = _Recent(max_rows)

    def of(self, labels: Sequence[Labels]) -> LabelSets:
        """The label sets of a sequence that nobody changes any more."""
        found = self._by_sequence.get(id(labels))
        if found is not None and len(found[0]) == found[1].size:
            return found[1]
        # As large as the sequence itself, and kept as long: its digest has no less to tell.
        rows = blake2b(np.fromiter(map(id, labels), np.int64, len(labels)).tobytes(), digest_size=16).digest()
        sets = self._by_rows.get(rows)
        if sets is None:
            # A copy: its Labels are held by it whatever the reader does with the sequence.
            sets = LabelSets.of(tuple(labels), distinct=True)
            self._by_rows.put(rows, sets, len(labels))
        self._by_sequence.put(id(labels), (labels, sets), len(labels))
        return sets


class _Recent(Generic[Key, Item]):
    """A cache bounded by the weight of what it holds; what was used last stays. One item always fits."""

    def __init__(self, max_weight: int) -> None:
        self._max_weight = max_weight
        self._weight = 0
        self._items: OrderedDict[Key, tuple[Item, int]] = OrderedDict()

    def get(self, key: Key) -> Item | None:
        found = self._items.get(key)
        if found is None:
            return None
        self._items.move_to_end(key)
        return found[0]

    def put(self, key: Key, item: Item, weight: int) -> None:
        # An empty item weighs something too: a cache full of them must end.
        self._weight += weight + 1
        _, replaced = self._items.pop(key, (None, -1))
        self._weight -= replaced + 1
        self._items[key] = (item, weight)
        while self._weight > self._max_weight and len(self._items) > 1:
            _, (_, oldest) = self._items.popitem(last=False)
            self._weight -= oldest + 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What one query may take. `timeout_s` is by the clock, whatever it waits for."""

    max_samples: int = 50_000_000
    max_series: int = 500_000
    timeout_s: float = 120.0
    clock: Clock = field(default_factory=SystemClock)


class Selection:
    """The reads of one query, and what is left of its limits."""

    def __init__(self, reader: MetricReader, known: KnownSets, limits: Limits) -> None:
        self._reader = reader
        self._known = known
        self._limits = limits
        self._left = limits.max_samples
        self._until_s = limits.clock.monotonic() + limits.timeout_s
        self._edges: EdgeReader | None = reader if hasattr(reader, "edges") else None  # type: ignore[assignment]  # by shape
        self._fetched: dict[tuple[object, int, int], SampleColumns] = {}

    def fetch(self, selector: VectorSelector, start_ms: int, end_ms: int) -> SampleColumns:
        """The samples with `start < t <= end` of what the selector matches, stale markers among them."""
        key = (selector.matchers, start_ms, end_ms)
        samples = self._fetched.get(key)
        if samples is None:
            window = self._reader.select(selector.matchers, start_ms, end_ms)
            self.spend(len(window.values))
            sets = self._sets(window.labels)
            samples = SampleColumns(
                sets, window.starts, window.times_ms, window.values, window.histograms, window.start_ms
            )
            self._fetched[key] = samples
        return samples

    def edges(self, selector: VectorSelector, start_ms: int, end_ms: int) -> tuple[LabelSets, Edges] | None:
        """The edges of the window in each series; None when the reader has to be asked for the samples."""
        edges = None if self._edges is None else self._edges.edges(selector.matchers, start_ms, end_ms)
        if edges is None:
            return None
        self.spend(int(edges.count.sum()))
        return self._sets(edges.labels), edges

    def newest(self, selector: VectorSelector, start_ms: int, end_ms: int) -> tuple[LabelSets, Ints, Floats] | None:
        """Time and value of the newest sample of each series that has not ended; None as above."""
        newest = None if self._edges is None else self._edges.newest(selector.matchers, start_ms, end_ms)
        if newest is None:
            return None
        self.spend(len(newest[0]))
        return self._sets(newest[0]), newest[1], newest[2]

    def check_time(self) -> None:
        """To be called between any two pieces of work; QueryError when the time is over."""
        if self._limits.clock.monotonic() > self._until_s:
            raise QueryError(f"query timed out after {self._limits.timeout_s:g} s")

    def _sets(self, labels: Sequence[Labels]) -> LabelSets:
        if len(labels) > self._limits.max_series:
            raise QueryError(
                f"query selects {len(labels):,} series at once, more than the limit of {self._limits.max_series:,}"
            )
        return self._known.of(labels)

    def spend(self, samples: int) -> None:
        """Count samples against the budget of the query, whose time goes on meanwhile."""
        self.check_time()
        self._left -= samples
        if self._left < 0:
            raise QueryError(TOO_MANY_SAMPLES)
