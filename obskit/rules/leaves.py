"""The samples of one extraction, kept in memory as far back as rules look: what a re-query would find, without it.

Samples are kept one by one and in order of time, so a window may end anywhere. How a leaf is filled from the store is
left to warming.py, what is done without one to log_windows.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.clock import NS_PER_S
from obskit.logql.log_nodes import ERROR_LABEL
from obskit.logql.samples import SampleSeries
from obskit.model.labels import Labels
from obskit.rules import telemetry
from obskit.rules.sieve import Kind

MAX_SERIES: Final = 1_000
MAX_COMPARED: Final = 20_000
"""Where series are compared or counted, none of them can be forgotten."""
MAX_SAMPLES: Final = 250_000
SLACK_NS: Final = 125 * NS_PER_S
"""How much later than at its time an evaluation may come."""
_FIRST: Final = 8
_WASTE: Final = 1_024


class Column:
    """The samples of one series. Values are not kept where each is 1."""

    __slots__ = ("_begin", "_end", "_times", "_values")

    def __init__(self, *, counting: bool) -> None:
        self._times = np.empty(_FIRST, np.int64)
        self._values = None if counting else np.empty(_FIRST, np.float64)
        self._begin = self._end = 0

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def times_ns(self) -> NDArray[np.int64]:
        """The times, ascending; good until the next change."""
        return self._times[self._begin : self._end]

    @property
    def values(self) -> NDArray[np.float64]:
        """A value for each time."""
        if self._values is None:
            return np.broadcast_to(np.float64(1.0), len(self))
        return self._values[self._begin : self._end]

    def extend(self, times_ns: NDArray[np.int64], values: NDArray[np.float64] | None) -> None:
        """Add samples in the order of their arrival: of one time, those that came first stay first."""
        self._make_room(len(times_ns))
        begin, end = self._end, self._end + len(times_ns)
        self._times[begin:end] = times_ns
        if self._values is not None and values is not None:
            self._values[begin:end] = values
        self._end = end
        added = self._times[begin:end]
        if (begin > self._begin and added[0] < self._times[begin - 1]) or bool((added[1:] < added[:-1]).any()):
            kept = self._times[self._begin : begin]
            self._sort(self._begin + int(np.searchsorted(kept, added.min(), side="right")))

    def forget(self, before_ns: int) -> None:
        """Samples before a time are wanted no more."""
        self._begin += int(np.searchsorted(self.times_ns, before_ns, side="left"))
        if len(self._times) > _WASTE and len(self) * 4 < len(self._times):
            self._move(len(self))

    def _sort(self, begin: int) -> None:
        part = slice(begin, self._end)
        order = np.argsort(self._times[part], kind="stable")
        self._times[part] = self._times[part][order]
        if self._values is not None:
            self._values[part] = self._values[part][order]

    def _make_room(self, more: int) -> None:
        if self._end + more > len(self._times):
            self._move(len(self) + more)

    def _move(self, count: int) -> None:
        """To arrays that have room for so many, and half as many more."""
        held, size = len(self), max(_FIRST, count * 3 // 2)
        times = np.empty(size, np.int64)
        times[:held] = self.times_ns
        if self._values is not None:
            values = np.empty(size, np.float64)
            values[:held] = self.values
            self._values = values
        self._times, self._begin, self._end = times, 0, held


class LeafState(StrEnum):
    """Whether a leaf can be asked."""

    COLD = "cold"
    WARM = "warm"
    GIVEN_UP = "given_up"
    """It is too large for memory, or its samples depend on when they are asked for."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Samples of one series out of one batch; `number` is the batch's."""

    number: int
    labels: Labels
    times_ns: NDArray[np.int64]
    values: NDArray[np.float64] | None


class Leaf:
    """The samples of one kind. While it is cold, what comes is put by until the store has been read.

    `lookback_ns` is how far before an evaluation its rules look; `users` are the rules that listen to it. `overfull` are
    leaves with too many series, none of which may be forgotten (`compared`): the store has to be asked.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.lookback_ns = 0
        self.users: frozenset[str] = frozenset()
        self.compared = False
        self.overfull = False
        self.state = LeafState.COLD if not kind.extraction.tells_time else LeafState.GIVEN_UP
        self.floor_ns = 0
        self.retry_ns: float = math.inf
        self.samples = 0
        self.put_by: list[Taken] = []
        self._columns: dict[Labels, Column] = {}
        self._errors = 0

    @property
    def reach_ns(self) -> int:
        """How far before now samples are kept."""
        return self.lookback_ns + SLACK_NS

    def take(self, taken: Taken) -> None:
        """Samples that came."""
        if self.state is LeafState.GIVEN_UP:
            return
        self.samples += len(taken.times_ns)
        if self.state is LeafState.COLD:
            self.put_by.append(taken)
        else:
            self._add(taken)

    def chill(self) -> None:
        """Forget everything: it has to be read from the store again."""
        self._empty(LeafState.COLD)

    def give_up(self, now_ns: int) -> None:
        """It is too much for memory; it may be tried again when all that is in its window now has left it."""
        self._empty(LeafState.GIVEN_UP)
        self.retry_ns = now_ns + self.reach_ns

    def warm(self, floor_ns: int, found: Sequence[Taken]) -> None:
        """All samples from `floor_ns` on are these, in order."""
        self._empty(LeafState.WARM)
        self.floor_ns = floor_ns
        for taken in found:
            self.samples += len(taken.times_ns)
            self._add(taken)

    def forget(self, before_ns: int) -> None:
        """Samples before a time are wanted no more."""
        if self.state is not LeafState.WARM or before_ns <= self.floor_ns:
            return
        self.floor_ns = before_ns
        self.samples = 0
        for labels, column in list(self._columns.items()):
            column.forget(before_ns)
            self.samples += len(column)
            if not len(column):
                self._drop(labels)

    @property
    def has_errors(self) -> bool:
        """Whether there are samples of lines that failed a stage: a query of them fails."""
        return self._errors > 0

    def series(self) -> Sequence[SampleSeries]:
        """Every series, sorted by labels; good until the next change."""
        fractional = self.kind.extraction.unwrap is not None
        return [
            SampleSeries(labels, one.times_ns, one.values, fractional)
            for labels, one in sorted(self._columns.items(), key=_labels)
        ]

    def _add(self, taken: Taken) -> None:
        times_ns, values = taken.times_ns, taken.values
        kept = times_ns >= self.floor_ns
        if not kept.all():
            times_ns, values = times_ns[kept], None if values is None else values[kept]
            if not len(times_ns):
                return
        column = self._columns.pop(taken.labels, None)
        if column is None:
            self._errors += ERROR_LABEL in taken.labels
            column = Column(counting=self.kind.sampler.counting)
            if self.compared:
                self.overfull = len(self._columns) >= MAX_COMPARED
            elif len(self._columns) >= MAX_SERIES:
                self._drop(next(iter(self._columns)))
                telemetry.LOG_GROUPS_DROPPED.inc()
        self._columns[taken.labels] = column  # at the end: the first is the one that was seen least recently
        column.extend(times_ns, values)

    def _drop(self, labels: Labels) -> None:
        self.samples -= len(self._columns.pop(labels))
        self._errors -= ERROR_LABEL in labels

    def _empty(self, state: LeafState) -> None:
        self.state = state
        self.samples = 0
        self.put_by = []
        self._columns = {}
        self._errors = 0
        self.overfull = False


def _labels(item: tuple[Labels, Column]) -> Labels:
    return item[0]
