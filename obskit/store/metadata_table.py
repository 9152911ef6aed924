"""Metadata of many lines as columns: lines with the same keys share a shape, and each of its keys is one column.

Most lines of a source have the same keys (`trace_id`, `level`), and values of one key are alike: so columns are quick to
make, small when compressed, and move from head rows to sealed blocks without a dict per line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain, pairwise
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from obskit.model.records import NO_METADATA

_NONE: Final = id(NO_METADATA)
Shape = tuple[str, ...]
Columns = list[list[list[str]]]
Places = NDArray[np.int64]


class MetadataTable:
    """The metadata of lines by index. Shape 0 is that of lines without any."""

    __slots__ = ("_columns", "_rows", "shape_of", "shapes")

    def __init__(
        self, count: int, shapes: list[Shape], shape_of: Places | None, columns: Columns | Callable[[], Columns]
    ) -> None:
        self.shapes = shapes
        self.shape_of = np.zeros(count, np.int64) if shape_of is None else shape_of
        self._columns = columns
        self._rows: Places | None = None

    @classmethod
    def of(cls, metadata: Sequence[Mapping[str, str]]) -> Self:
        """The table of some mappings."""
        # Sources reuse their mappings: each is looked at once, and told from others by identity.
        keys = list(map(id, metadata))
        distinct = dict(zip(keys, metadata, strict=True))
        if distinct.keys() <= {_NONE}:
            return cls.none(len(metadata))
        shapes: dict[Shape, int] = {(): 0}
        shape_by_key = {key: shapes.setdefault(tuple(one), len(shapes)) for key, one in distinct.items()}
        shape_of = np.array(list(map(shape_by_key.__getitem__, keys)), np.int64)
        columns: list[list[list[str]]] = []
        for shape, number in shapes.items():
            own = []
            if shape:
                own = [keys[at] for at in np.flatnonzero(shape_of == number).tolist()]
            columns.append([_column(name, own, distinct) for name in shape])
        return cls(len(metadata), list(shapes), shape_of, columns)

    @classmethod
    def none(cls, count: int) -> Self:
        """That of lines without metadata."""
        return cls(count, [()], None, [[]])

    @classmethod
    def joined(cls, tables: Sequence[Self], order: Places) -> Self:
        """The lines of several tables, one after the other, in another order."""
        if len(tables) == 1 and tables[0].empty:
            return cls.none(len(order))
        shapes: dict[Shape, int] = {(): 0}
        columns: list[list[list[str]]] = [[]]
        shape_of, row_of = [], []
        for table in tables:
            numbers, bases = [], []
            for shape, own in zip(table.shapes, table.columns, strict=True):
                number = shapes.setdefault(shape, len(shapes))
                if number == len(columns):
                    columns.append([[] for _ in shape])
                numbers.append(number)
                bases.append(len(columns[number][0]) if shape else 0)
                for column, more in zip(columns[number], own, strict=True):
                    column.extend(more)
            shape_of.append(np.array(numbers, np.int64)[table.shape_of])
            row_of.append(np.array(bases, np.int64)[table.shape_of] + table.rows)
        if len(shapes) == 1:
            return cls.none(len(order))
        shape_at, row_at = np.concatenate(shape_of)[order], np.concatenate(row_of)[order]
        for number, own in enumerate(columns):
            rows = row_at[shape_at == number].tolist()
            columns[number] = [[column[row] for row in rows] for column in own]
        return cls(len(order), list(shapes), shape_at, columns)

    def part(self, start: int, end: int) -> MetadataTable:
        """Some lines in a row."""
        if self.empty:
            return MetadataTable.none(end - start)
        shape_of = self.shape_of[start:end]
        before = np.bincount(self.shape_of[:start], minlength=len(self.shapes)).tolist()
        until = np.bincount(self.shape_of[:end], minlength=len(self.shapes)).tolist()
        columns = [
            [column[low:high] for column in own] for own, low, high in zip(self.columns, before, until, strict=True)
        ]
        used = np.flatnonzero(np.array(until) > before)
        if not any(self.shapes[shape] for shape in used.tolist()):
            return MetadataTable.none(end - start)
        return MetadataTable(end - start, self.shapes, shape_of, columns)

    @property
    def columns(self) -> Columns:
        """Per shape and key: the values of the lines that have this shape. Made when somebody wants them."""
        columns = self._columns
        if callable(columns):
            columns = self._columns = columns()
        return columns

    @property
    def empty(self) -> bool:
        """Whether no line has any."""
        return len(self.shapes) == 1

    @property
    def names(self) -> frozenset[str]:
        """The keys of all lines."""
        return frozenset(chain.from_iterable(self.shapes))

    def column(self, name: str) -> NDArray[np.object_]:
        """The values of one key, by line; None where a line has none."""
        values = np.full(len(self), None, np.object_)
        for number, (shape, columns) in enumerate(zip(self.shapes, self.columns, strict=True)):
            if name in shape:
                values[self.shape_of == number] = columns[shape.index(name)]
        return values

    def values_of(self, name: str) -> set[str]:
        """The values that lines have under a key."""
        return set(chain.from_iterable(column for _, column in self._columns_of(name)))

    def lines_with(self, name: str, values: AbstractSet[str]) -> Places:
        """The lines that have one of these values under a key."""
        found = [np.zeros(0, np.int64)]
        for number, column in self._columns_of(name) if values else ():
            mask = np.fromiter(map(values.__contains__, column), np.bool_, len(column))
            found.append(np.flatnonzero(self.shape_of == number)[mask])
        return np.sort(np.concatenate(found))

    def _columns_of(self, name: str) -> Iterator[tuple[int, list[str]]]:
        """The columns of a key, with the numbers of their shapes."""
        for number, shape in enumerate(self.shapes):
            if name in shape:
                yield number, self.columns[number][shape.index(name)]

    @property
    def rows(self) -> Places:
        """Per line: its place among the lines of its shape."""
        if self._rows is None:
            rows = np.zeros(len(self.shape_of), np.int64)
            for shape in range(len(self.shapes)):
                own = self.shape_of == shape
                rows[own] = np.arange(int(own.sum()))
            self._rows = rows
        return self._rows

    def __len__(self) -> int:
        return len(self.shape_of)

    def __getitem__(self, index: int) -> Mapping[str, str]:
        shape = int(self.shape_of[index])
        if not self.shapes[shape]:
            return NO_METADATA
        row = int(self.rows[index])
        return {key: column[row] for key, column in zip(self.shapes[shape], self.columns[shape], strict=True)}

    @property
    def values(self) -> Iterable[str]:
        """All values: column by column, shape by shape."""
        return chain.from_iterable(chain.from_iterable(self.columns))

    def keys_text(self) -> bytes:
        """The shapes as JSON."""
        return json.dumps(self.shapes, separators=(",", ":")).encode()

    @classmethod
    def parsed(cls, keys: bytes, shape_of: Places, sizes: NDArray[np.int32], text: bytes) -> Self:
        """What `keys_text`, `shape_of` and `values` (how many characters each has, and all of them as UTF-8) were."""
        shapes: list[Shape] = [tuple(shape) for shape in json.loads(keys)]
        return cls(len(shape_of), shapes, shape_of, lambda: _columns(shapes, shape_of, sizes, text))


def _column(name: str, keys: Sequence[int], distinct: Mapping[int, Mapping[str, str]]) -> list[str]:
    """The values of a name in mappings that have it, which are told by their identity."""
    if 2 * len(distinct) > len(keys):
        return [distinct[key][name] for key in keys]
    values = {key: one[name] for key, one in distinct.items() if name in one}
    return list(map(values.__getitem__, keys))


def _columns(shapes: Sequence[Shape], shape_of: Places, sizes: NDArray[np.int32], text: bytes) -> Columns:
    """The columns of `MetadataTable.parsed`."""
    characters = text.decode("utf-8", "surrogatepass")
    counts = np.bincount(shape_of, minlength=len(shapes)).tolist()
    cuts: list[int] = [0, *np.cumsum(sizes).tolist()]
    values = [characters[start:end] for start, end in pairwise(cuts)]
    at, columns = 0, []
    for shape, count in zip(shapes, counts, strict=True):
        own: list[list[str]] = []
        for _ in shape:
            own.append(values[at : at + count])
            at += count
        columns.append(own)
    return columns
