"""Which series (or streams) a selector means, found once and kept until one of them comes or goes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher

_KEPT: Final = 2_048


class Match:
    """The series of one selector at one generation: slots and ids in memory, in the order of ids."""

    def __init__(self, slots: NDArray[np.int64], ids: NDArray[np.int64], labels: tuple[Labels, ...]) -> None:
        self.slots = slots
        self._ids = ids
        self._labels = labels
        self._having = b"", ids, labels

    def having(self, mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], tuple[Labels, ...]]:
        """Ids and labels of the series in the mask: mostly the same as last time, and then the same objects.

        An evaluator may key what it derived from the labels by the identity of their tuple.
        """
        if mask.all():
            return self._ids, self._labels
        key = mask.tobytes()
        if key != self._having[0]:
            self._having = key, self._ids[mask], tuple(itertools.compress(self._labels, mask.tolist()))
        return self._having[1:]


class Matches:
    """What selectors were found to mean, each as of a generation. Not thread-safe."""

    def __init__(self) -> None:
        self._found: dict[tuple[Matcher, ...], tuple[int, Match]] = {}

    def get(self, matchers: tuple[Matcher, ...], generation: int, find: Callable[[], Match]) -> Match:
        """The selector's match; found anew when `generation` is not the one it was found at."""
        found = self._found.get(matchers)
        if found is None or found[0] != generation:
            if len(self._found) >= _KEPT:
                del self._found[next(iter(self._found))]
            found = self._found[matchers] = generation, find()
        return found[1]


def matching(matchers: Sequence[Matcher], candidates: Mapping[int, Labels]) -> list[int]:
    """The keys whose labels satisfy every matcher. Each distinct value is tried once."""
    left = list(candidates)
    for matcher in matchers:
        verdicts: dict[str, bool] = {}
        kept = []
        for key in left:
            value = candidates[key].get(matcher.name)
            if value not in verdicts:
                verdicts[value] = matcher.matches(value)
            if verdicts[value]:
                kept.append(key)
        left = kept
    return left
