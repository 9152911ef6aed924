"""Snapshots: readings of one source as samples. Labels are made once per series; a series that ended is marked stale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from obskit.model.labels import NAME, Labels
from obskit.model.samples import STALE_NAN
from obskit.store.interface import Samples

Reading = tuple[str, Mapping[str, str], float]
"""A metric's name, its labels (always in the same order for one name), its value."""


class Snapshots:
    """Each snapshot is everything the source has now; `target_labels` are added to every series."""

    def __init__(self, target_labels: Mapping[str, str]) -> None:
        self._target_labels = dict(target_labels)
        self._known: dict[tuple[str, ...], Labels] = {}
        self._before: set[Labels] = set()

    def take(self, readings: Iterable[Reading], now_ms: int) -> Samples:
        """The samples of one snapshot, all stamped `now_ms`."""
        series: list[Labels] = []
        values: list[float] = []
        for name, labels, value in readings:
            key = (name, *labels.values())
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = Labels({NAME: name, **labels, **self._target_labels})
            series.append(known)
            values.append(float(value))
        now = set(series)
        vanished = self._before - now
        if vanished:
            self._known = {key: known for key, known in self._known.items() if known in now}
            series += vanished
            values += [STALE_NAN] * len(vanished)
        self._before = now
        return Samples(series, [now_ms] * len(series), values)
