"""Reading the store for one query: each selector once, within the query's budget, with label sets that are known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.promql.labelsets import LabelSets
from obskit.promql.nodes import VectorSelector
from obskit.promql.windows import SampleColumns
from obskit.store.interface import MetricReader

TOO_MANY_SAMPLES: Final = "query processing would load too many samples into memory in query execution"


class KnownSets:
    """Label sets by the sequence of Labels they were made from, so that what was derived from them is found again.

    A reader that finds the same series gives the same sequence, or at least the same Labels objects in it. Sequences
    are held while they are here, so their ids stay theirs.
    """

    def __init__(self, size: int = 2048) -> None:
        self._size = size
        self._by_sequence: OrderedDict[int, tuple[Sequence[Labels], LabelSets]] = OrderedDict()
        self._by_rows: OrderedDict[tuple[int, ...], LabelSets] = OrderedDict()

    def of(self, labels: Sequence[Labels]) -> LabelSets:
        """The label sets of a sequence that nobody changes any more."""
        found = self._by_sequence.get(id(labels))
        if found is not None and len(found[0]) == found[1].size:
            self._by_sequence.move_to_end(id(labels))
            return found[1]
        rows = tuple(map(id, labels))
        sets = self._by_rows.get(rows)
        if sets is None:
            # A copy: its Labels are held by it whatever the reader does with the sequence.
            sets = self._by_rows[rows] = LabelSets.of(tuple(labels), distinct=True)
        else:
            self._by_rows.move_to_end(rows)
        self._by_sequence[id(labels)] = (labels, sets)
        for cache in (self._by_sequence, self._by_rows):
            if len(cache) > self._size:
                cache.popitem(last=False)
        return sets


class Selection:
    """The reads of one query."""

    def __init__(self, reader: MetricReader, known: KnownSets, max_samples: int) -> None:
        self._reader = reader
        self._known = known
        self._left = max_samples
        self._fetched: dict[tuple[object, int, int], SampleColumns] = {}

    def fetch(self, selector: VectorSelector, start_ms: int, end_ms: int) -> SampleColumns:
        """The samples with `start < t <= end` of what the selector matches, stale markers among them."""
        key = (selector.matchers, start_ms, end_ms)
        samples = self._fetched.get(key)
        if samples is None:
            window = self._reader.select(selector.matchers, start_ms, end_ms)
            self.spend(len(window.values))
            sets = self._known.of(window.labels)
            samples = SampleColumns(sets, window.starts, window.times_ms, window.values)
            self._fetched[key] = samples
        return samples

    def spend(self, samples: int) -> None:
        """Count samples against the budget of the query."""
        self._left -= samples
        if self._left < 0:
            raise QueryError(TOO_MANY_SAMPLES)
