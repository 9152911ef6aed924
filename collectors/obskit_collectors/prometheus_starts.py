"""When the counters of a target began, so that their first increment counts: rate and increase heed it (promql/starts.py).

A page may say so itself, by OpenMetrics' `_created` samples. Else a counter that was not on the page before began after
the scrape of that page; that holds for a service's own counters, not where a page passes on what others counted, and so
nobody gets it who did not ask for it. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from obskit.model.labels import NAME, Labels
from obskit.model.samples import MetricMeta, MetricType

_CREATED: Final = "_created"
_TOTAL: Final = "_total"
_GONE_KEPT: Final = 10_000


class CounterStarts(StrEnum):
    """Whose word is taken."""

    OFF = "off"
    CREATED = "created"
    OBSERVED = "observed"


class Births:
    """The starts of one target's counters. What was told once holds for the samples after it, and is not told again."""

    def __init__(self, mode: CounterStarts) -> None:
        self._mode = mode
        self._series: Sequence[Labels] = ()
        self._pairs: list[tuple[int, int]] = []
        self._told: dict[Labels, int] = {}
        self._gone: set[Labels] = set()
        self._page_ms: int | None = None

    def read(
        self,
        series: Sequence[Labels],
        values: Sequence[float],
        metadata: Mapping[str, MetricMeta],
        *,
        now_ms: int,
        new: Iterable[Labels],
    ) -> dict[int, int]:
        """Start timestamps (ms) by the place of their series, where there is one to tell.

        `series` is the same object while a page has the same series; `new` are those that the page before did not have.
        """
        if self._mode is CounterStarts.OFF:
            return {}
        if series is not self._series:
            self._series, self._pairs = series, _pairs_of(series, metadata)
            there = set(series)
            self._told = {labels: start_ms for labels, start_ms in self._told.items() if labels in there}
        found = {}
        for created, counter in self._pairs:
            start_ms = _ms(values[created])
            if 0 < start_ms <= now_ms and self._told.get(series[counter]) != start_ms:
                found[counter] = self._told[series[counter]] = start_ms
        if self._mode is CounterStarts.OBSERVED:
            found |= self._observed(new, metadata)
        self._page_ms = now_ms
        return found

    def fail(self) -> None:
        """The target was not read: what its next page has may have begun at any time."""
        self._page_ms = None

    def vanished(self, series: Iterable[Labels]) -> None:
        """These left the page. If one comes back it goes on where it was, as far as anybody knows."""
        self._gone.update(series)
        if len(self._gone) > _GONE_KEPT:
            # More come and go than we remember: what is new and what returns cannot be told apart here.
            self._mode, self._gone = CounterStarts.CREATED, set()

    def _observed(self, new: Iterable[Labels], metadata: Mapping[str, MetricMeta]) -> dict[int, int]:
        if self._page_ms is None:
            return {}
        born = {
            labels
            for labels in new
            if labels not in self._gone and labels not in self._told and _is_counter(labels.name, metadata)
        }
        if not born:
            return {}
        self._told.update(dict.fromkeys(born, self._page_ms))
        return {place: self._page_ms for place, labels in enumerate(self._series) if labels in born}


def _pairs_of(series: Sequence[Labels], metadata: Mapping[str, MetricMeta]) -> list[tuple[int, int]]:
    """The places of each counter's `_created` sample, and of the counter."""
    created = [place for place, labels in enumerate(series) if labels.name.endswith(_CREATED)]
    if not created:
        return []
    places = {labels: place for place, labels in enumerate(series)}
    pairs = []
    for place in created:
        counter = f"{series[place].name.removesuffix(_CREATED)}{_TOTAL}"
        of_counter = places.get(series[place].updated({NAME: counter}))
        if of_counter is not None and _is_counter(counter, metadata):
            pairs.append((place, of_counter))
    return pairs


def _is_counter(name: str, metadata: Mapping[str, MetricMeta]) -> bool:
    """As the page says: the text format names the series, OpenMetrics the family."""
    meta = metadata.get(name) or metadata.get(name.removesuffix(_TOTAL))
    return meta is not None and meta.type is MetricType.COUNTER


def _ms(seconds: float) -> int:
    return round(seconds * 1000) if math.isfinite(seconds) else 0
