"""Which series (or streams) a selector means: matchers tried once per distinct value of a label."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.store.rings import Block, Counts, Slots, blocks_of
from obskit.store.rounds import distinct

_SPANS_KEPT: Final = 4


class Match:
    """The series of one selector: slots in the order of ids, their labels, and what helps to read them again."""

    def __init__(
        self, slots: Slots, labels: tuple[Labels, ...], arrangement: int, examined: int, metric: object = None
    ) -> None:
        self.slots = slots
        self.labels = labels
        self.arrangement = arrangement
        self.examined = examined
        """How many of the metric's series were looked at."""
        self.metric = metric
        self._guesses: dict[int, Counts] = {}
        self._having = b"", labels

    @cached_property
    def blocks(self) -> list[Block]:
        """The slots as the readers of edges want them."""
        return blocks_of(self.slots)

    def labels_having(self, mask: NDArray[np.bool_]) -> tuple[Labels, ...]:
        """Labels of the series in the mask: mostly the same as last time, and then the same object.

        An evaluator may key what it derived from the labels by the identity of their tuple.
        """
        if mask.all():
            return self.labels
        key = mask.tobytes()
        if key != self._having[0]:
            self._having = key, tuple(itertools.compress(self.labels, mask.tolist()))
        return self._having[1]

    def guess(self, span_ms: int) -> Counts | None:
        """How many samples each series had in a window of this length when it was read last."""
        return self._guesses.get(span_ms)

    def learn(self, span_ms: int, counts: Counts) -> None:
        """A window of this length was read."""
        self._guesses.pop(span_ms, None)
        if len(self._guesses) >= _SPANS_KEPT:
            del self._guesses[next(iter(self._guesses))]
        self._guesses[span_ms] = counts


class LabelColumn:
    """One label of a metric's series as numbers, one per distinct value; absent is the empty value."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._codes = np.zeros(0, np.int32)
        self._code_of: dict[str, int] = {}
        self._values: list[str] = []

    def extend(self, labels: Sequence[Any], slots: Slots) -> None:
        """Read the label of the series that came since the last time; `slots` are all of them."""
        fresh = slots[len(self._codes) :]
        if not len(fresh):
            return
        name, code_of = self._name, self._code_of
        codes = []
        for slot in fresh.tolist():
            value = labels[slot].get(name)
            code = code_of.get(value)
            if code is None:
                code = code_of[value] = len(self._values)
                self._values.append(value)
            codes.append(code)
        self._codes = np.concatenate([self._codes, np.array(codes, np.int32)])

    def satisfying(self, matcher: Matcher, since: int) -> NDArray[np.bool_]:
        """Which series from `since` on satisfy a matcher of this label."""
        codes = self._codes[since:]
        if matcher.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL):
            same: NDArray[np.bool_] = codes == self._code_of.get(matcher.value, -1)
            return ~same if matcher.op.negative else same
        verdicts = np.zeros(len(self._values), np.bool_)
        present = np.arange(len(self._values)) if since == 0 else distinct(codes)
        for code in present.tolist():
            verdicts[code] = matcher.matches(self._values[code])
        return verdicts.take(codes)


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
