"""The label sets of a block's rows, made late and remembered.

Labels cost far more than numbers here, so nothing is built until a row survives, and whatever is derived (names
dropped, groups, join tables) is kept with the label sets it came from. As long as a selector finds the same series,
the next evaluation of the same rule finds all of it ready.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from obskit.model.labels import NAME, Labels

METADATA: Final = frozenset({NAME, "__type__", "__unit__"})
"""What functions and operators drop: the name and what belongs to it."""
MAX_MEMO: Final = 64

Ints = NDArray[np.int64]
KeysOf = Callable[[tuple[str, ...], bool], Iterator[Hashable]]
T = TypeVar("T")


class LabelSets:
    """Label sets of rows 0..size-1.

    `dropped` is for delayed name removal: rows whose name goes at the end of the query (None: none).
    `distinct` promises that no two rows have equal final labels. `keys` is for sets derived from others: what `keys`
    answers, without building the label set of each row.
    """

    __slots__ = ("_keys", "_make", "_memo", "_rows", "distinct", "dropped", "size")

    def __init__(
        self,
        size: int,
        make: Callable[[int], Labels],
        *,
        dropped: NDArray[np.bool_] | None = None,
        distinct: bool = False,
        keys: KeysOf | None = None,
    ) -> None:
        self.size = size
        self.dropped = dropped
        self.distinct = distinct
        self._make = make
        self._keys = keys
        self._rows: Sequence[Labels | None] | None = None
        self._memo: dict[Hashable, Any] = {}

    @classmethod
    def of(cls, labels: Sequence[Labels], *, distinct: bool = False) -> LabelSets:
        """Label sets that are there already."""
        sets = cls(len(labels), labels.__getitem__, distinct=distinct)
        sets._rows = labels
        return sets

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, row: int) -> Labels:
        rows = self._rows
        labels = None if rows is None else rows[row]
        if labels is None:
            made = rows if isinstance(rows, list) else [None] * self.size
            self._rows = made
            labels = made[row] = self._make(row)
        return labels

    def passing(self, row: int) -> Labels:
        """A row's labels for one who remembers what he makes of them: they are not remembered here as well."""
        rows = self._rows
        labels = None if rows is None else rows[row]
        return self._make(row) if labels is None else labels

    def rows(self) -> list[Labels]:
        """All label sets."""
        return [self[row] for row in range(self.size)]

    def final(self, row: int) -> Labels:
        """The label set as the query answers it, with a delayed removal of the name done."""
        if self.dropped is not None and self.dropped[row]:
            return drop_metadata(self[row])
        return self[row]

    def order(self) -> list[int]:
        """The rows in the order of their final labels."""
        return self.memo("order", lambda: sorted(range(self.size), key=lambda row: self.final(row).pairs))

    def memo(self, key: Hashable, build: Callable[[], T]) -> T:
        """What `build` gives, made once per key."""
        try:
            found: T = self._memo[key]
        except KeyError:
            if len(self._memo) >= MAX_MEMO:
                self._memo.clear()
            found = self._memo[key] = build()
        return found

    def take(self, rows: Ints) -> LabelSets:
        """Some rows, in the given order."""
        index = rows.tolist()
        dropped = None if self.dropped is None else self.dropped[rows]
        return LabelSets(len(index), lambda row: self[index[row]], dropped=dropped, distinct=self.distinct)

    def mapped(self, change: Callable[[Labels], Labels]) -> LabelSets:
        """Every label set changed; the flags of delayed removal stay."""
        return LabelSets(self.size, lambda row: change(self[row]), dropped=self.dropped)

    def nameless(self) -> LabelSets:
        """Without metric names, at once."""
        return self.memo("nameless", self._nameless)

    def _nameless(self) -> LabelSets:
        one_name = self.distinct and self.dropped is None and self._one_metric()
        return LabelSets(
            self.size, lambda row: drop_metadata(self.passing(row)), distinct=one_name, keys=self._nameless_keys
        )

    def _nameless_keys(self, names: tuple[str, ...], without: bool) -> Iterator[Hashable]:
        # No label has the empty name: a name that is dropped reads as absent.
        return self.keys(tuple("" if name in METADATA else name for name in names), without=without)

    def metric_names(self) -> list[str]:
        """The different metric names, in order of appearance; empty ones left out."""
        found = self.memo("metric names", lambda: list(dict.fromkeys(labels.name for labels in self.rows())))
        return [name for name in found if name]

    def _one_metric(self) -> bool:
        """Whether all rows have the same metadata labels, so that dropping them cannot make two rows equal."""
        return len({tuple(labels.get(name) for name in METADATA) for labels in self.rows()}) <= 1

    def marked(self) -> LabelSets:
        """With metric names that go at the end of the query."""
        return self.memo("marked", lambda: LabelSets(self.size, self.__getitem__, dropped=np.ones(self.size, bool)))

    def duplicates(self) -> Groups | None:
        """Groups of rows with equal final labels; None when all are distinct."""
        return None if self.distinct else self.memo("duplicates", self._duplicates)

    def _duplicates(self) -> Groups | None:
        groups = _group([self.final(row) for row in range(self.size)], self.final)
        if len(groups.sets) == self.size:
            self.distinct = True
            return None
        groups.sets.distinct = True
        return groups

    def keys(self, names: tuple[str, ...], *, without: bool) -> Iterator[Hashable]:
        """What tells the rows apart when they are grouped `by` the names or `without` them."""
        if self._keys is not None:
            return self._keys(names, without)
        if without:
            drop = METADATA.union(names)
            return (tuple([pair for pair in labels.pairs if pair[0] not in drop]) for labels in self.rows())
        return (tuple([labels.get(name) for name in names]) for labels in self.rows())

    def grouped(self, names: tuple[str, ...], *, without: bool) -> Groups:
        """Rows grouped `by` the names, or by all labels `without` them (and without the metric name)."""
        return self.memo(("grouped", names, without), lambda: self._grouped(names, without=without))

    def _grouped(self, names: tuple[str, ...], *, without: bool) -> Groups:
        keys = self.keys(names, without=without)
        if without:
            drop = METADATA.union(names)
            groups = _group(keys, lambda first: self.passing(first).without(*drop))
        else:
            groups = _group(keys, lambda first: self.passing(first).only(*names))
        if self.dropped is not None and not without and METADATA.intersection(names):
            groups.sets.dropped = np.logical_or.reduceat(self.dropped[groups.order], groups.starts)
            groups.sets.distinct = False
        return groups


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows put into groups, numbered in order of first appearance.

    `codes[row]` is the group of a row; `order` holds the rows group by group, `starts` where each group begins in it.
    """

    sets: LabelSets
    codes: Ints
    order: Ints
    starts: Ints

    def members(self, group: int) -> Ints:
        """The rows of a group."""
        end = self.starts[group + 1] if group + 1 < len(self.starts) else len(self.order)
        return self.order[self.starts[group] : end]


def numbered(keys: Iterable[Hashable]) -> tuple[Ints, int]:
    """Each key's number in order of first appearance, and how many there are."""
    numbers: dict[Hashable, int] = {}
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64), len(numbers)


def _group(keys: Iterable[Hashable], make: Callable[[int], Labels]) -> Groups:
    codes, count = numbered(keys)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(count))
    firsts = order[starts].tolist() if len(starts) else []
    made = LabelSets(count, lambda group: make(firsts[group]), distinct=True)
    return Groups(made, codes, order, starts)


def drop_metadata(labels: Labels) -> Labels:
    """The labels without the metric name and what belongs to it."""
    return labels.without(*METADATA)
