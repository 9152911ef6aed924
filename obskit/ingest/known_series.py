"""The series that senders name again and again: Labels by the bytes they are written with, and Layouts of whole bodies.

A known series costs one look-up, and a body with the series of an earlier one no look-up in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from obskit.model.labels import Labels
from obskit.store.interface import Layout

Make = Callable[[bytes], Labels | None]

_LAYOUTS: Final = 64
_ENTRY: Final = 130
"""About what an entry takes beside its key."""


class KnownSeries:
    """Labels by their bytes. What nobody named for one to two generations is forgotten."""

    def __init__(self, room: int = 64_000_000) -> None:
        self._young: dict[bytes, Labels] = {}
        self._old: dict[bytes, Labels] = {}
        self._room = self._left = room // 2

    def find(self, keys: Sequence[bytes], make: Make) -> tuple[list[Labels], list[int]]:
        """The Labels of the keys, the same objects each time, and the rows of the keys that cannot be made Labels."""
        try:
            return list(map(self._young.__getitem__, keys)), []
        except KeyError:
            found = [self.find_one(key, make) for key in keys]
        bad = [row for row, labels in enumerate(found) if labels is None]
        return [labels for labels in found if labels is not None], bad

    def find_one(self, key: bytes, make: Make) -> Labels | None:
        """The Labels of a key, if there are any."""
        labels = self._young.get(key)
        if labels is not None:
            return labels
        labels = self._old.get(key)
        if labels is None:
            labels = make(key)
        if labels is not None:
            self._left -= len(key) + _ENTRY
            if self._left < 0:
                self._old, self._young, self._left = self._young, {}, self._room
            self._young[key] = labels
        return labels


class Layouts:
    """The layouts of the last bodies."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], Layout] = {}

    def of(self, labels: list[Labels]) -> Layout:
        """The layout of these series in this order: the same one when they came before, as the same objects."""
        key = (len(labels), id(labels[0]), id(labels[-1])) if labels else (0, 0, 0)
        known = self._known.pop(key, None)
        if known is None or known.labels != labels:
            known = Layout(labels)
        if len(self._known) >= _LAYOUTS:
            del self._known[next(iter(self._known))]
        self._known[key] = known
        return known
