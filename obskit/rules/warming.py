"""Fills cold leaves from the store, each record exactly once, while appends go on and without holding them up.

The range is read in pieces, the newest first. Batches are numbered as the store tells of them; a piece that was read
when number n had been told holds all of the batches up to n. What it holds of later ones is not known: when one of
them, told before the read was over, has a sample in the piece, then that part is read again a moment later, when
the present has moved on. So of a record that came meanwhile only its number and its time say whether it was read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from obskit.clock import NS_PER_S
from obskit.model.matchers import Matcher
from obskit.rules.leaves import MAX_SAMPLES, Leaf, LeafState, Taken
from obskit.rules.sieve import Kind, Sieve
from obskit.store.log_interface import LogReader, Records

END_NS: Final = 2**62
PIECE_S: Final = 0.02
"""What reading a piece should take."""
_FIRST_NS: Final = 2 * NS_PER_S
_LONGEST_NS: Final = 3_600 * NS_PER_S
_READ_AT_ONCE: Final = 2_000


@dataclass(slots=True)
class _Piece:
    """A part of the range, `start_ns <= t < end_ns`, and what was found in it when batch `number` had been told."""

    start_ns: int
    end_ns: int
    number: int = 0
    found: dict[Kind, list[Taken]] = field(default_factory=dict)


class Warming:
    """The reading for leaves that have the same stream matchers. `told` gives the number of the last batch."""

    def __init__(
        self,
        leaves: Sequence[Leaf],
        reader: LogReader,
        *,
        now_ns: int,
        told: Callable[[], int],
        seconds: Callable[[], float],
    ) -> None:
        self.leaves = sorted(leaves, key=lambda leaf: leaf.lookback_ns)
        self._floors = {leaf: now_ns - leaf.reach_ns for leaf in leaves}
        self._now_ns = now_ns
        self._reader = reader
        self._told, self._seconds = told, seconds
        self._length_ns = _FIRST_NS
        self._planned_ns = now_ns - self._length_ns
        self._todo = [_Piece(self._planned_ns, END_NS)]
        self._done: list[_Piece] = []
        self._read: _Piece | None = None
        self._sieve: tuple[tuple[Leaf, ...], Sieve] | None = None

    @property
    def over(self) -> bool:
        """Whether all leaves are warm."""
        return not self.leaves

    def read(self) -> None:
        """Read the next piece; QueryError when the store will not. `judge` comes after it."""
        piece = self._next()
        piece.number = self._told()
        began_s = self._seconds()
        wanting = tuple(leaf for leaf in self.leaves if self._floors[leaf] < piece.end_ns)
        if self._sieve is None or self._sieve[0] != wanting:
            self._sieve = (wanting, Sieve([leaf.kind for leaf in wanting]))
        for records in self._records(wanting, piece):
            times_ns = np.array(records.times_ns, np.int64)
            for kind, of_kind in self._sieve[1].sift(records).items():
                piece.found.setdefault(kind, []).extend(
                    Taken(0, labels, times_ns[found.places], found.values) for labels, found in of_kind.items()
                )
        self._give_up_large(wanting, piece)
        took_s = max(self._seconds() - began_s, PIECE_S / 16)
        self._length_ns = min(_LONGEST_NS, max(1, int(self._length_ns * min(4.0, PIECE_S / took_s))))
        self._read = piece

    def judge(self) -> bool:
        """Keep what was read, or see to it that it is read again (False). All that was committed before the read ended
        has been told, and the leaves have it.
        """
        piece, self._read = self._read, None
        assert piece is not None, "read comes before judge"
        # What came meanwhile may have been too much for one: it does not have it any more.
        self.leaves = [leaf for leaf in self.leaves if leaf.state is not LeafState.GIVEN_UP]
        doubtful = [
            t_ns
            for leaf in self.leaves
            for taken in leaf.put_by
            if taken.number > piece.number
            for t_ns in taken.times_ns.tolist()
            if piece.start_ns <= t_ns < piece.end_ns
        ]
        if doubtful:
            low, high = min(doubtful), max(doubtful) + 1
            parts = [(high, piece.end_ns), (low, high), (piece.start_ns, low)]
            self._todo = [_Piece(*part) for part in parts if part[0] < part[1]] + self._todo
            return False
        self._done.append(piece)
        self._finish()
        return True

    def _give_up_large(self, leaves: Iterable[Leaf], piece: _Piece) -> None:
        for leaf in leaves:
            found = [taken for each in (*self._done, piece) for taken in each.found.get(leaf.kind, ())]
            if sum(len(taken.times_ns) for taken in found) > MAX_SAMPLES:
                for each in (*self._done, piece):
                    each.found.pop(leaf.kind, None)
                leaf.give_up(self._now_ns)
                self.leaves.remove(leaf)

    def _next(self) -> _Piece:
        if self._todo:
            return self._todo.pop()
        end_ns = self._planned_ns
        self._planned_ns = max(end_ns - self._length_ns, min(self._floors[leaf] for leaf in self.leaves))
        return _Piece(self._planned_ns, end_ns)

    def _records(self, wanting: Sequence[Leaf], piece: _Piece) -> Iterator[Records]:
        query = wanting[0].kind.extraction.query
        containing = wanting[0].kind.containing if len(wanting) == 1 else ()
        records = Records()
        for record in self._reader.select(query.matchers, piece.start_ns, piece.end_ns, containing=containing):
            records.add(record.stream, record.t_ns, record.line, record.metadata)
            if len(records) >= _READ_AT_ONCE:
                yield records
                records = Records()
        yield records

    def _finish(self) -> None:
        """Warm the leaves for which nothing is left to be read."""
        left_ns = max([self._planned_ns, *(piece.end_ns for piece in self._todo)])
        ready = [leaf for leaf in self.leaves if self._floors[leaf] >= left_ns]
        if not ready:
            return
        self._done.sort(key=lambda piece: piece.start_ns)
        for leaf in ready:
            found = [taken for piece in self._done for taken in piece.found.pop(leaf.kind, ())]
            leaf.warm(self._floors[leaf], [*found, *self._unread(leaf.put_by)])
        self.leaves = [leaf for leaf in self.leaves if leaf not in ready]

    def _unread(self, put_by: Iterable[Taken]) -> Iterator[Taken]:
        """What came meanwhile and was not read: of each time, the batches that were told after it was read."""
        starts = [piece.start_ns for piece in self._done]
        for taken in put_by:
            new = [
                at
                for at, t_ns in enumerate(taken.times_ns.tolist())
                if t_ns >= starts[0] and taken.number > self._done[bisect_right(starts, t_ns) - 1].number
            ]
            if new:
                values = None if taken.values is None else taken.values[new]
                yield Taken(taken.number, taken.labels, taken.times_ns[new], values)


def by_matchers(leaves: Iterable[Leaf]) -> Iterable[list[Leaf]]:
    """Leaves that are filled by one reading, together."""
    groups: dict[tuple[Matcher, ...], list[Leaf]] = {}
    for leaf in leaves:
        groups.setdefault(leaf.kind.extraction.query.matchers, []).append(leaf)
    return groups.values()
