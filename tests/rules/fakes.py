"""A store and an engine just big enough for rules, until the real ones are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.model.matchers import match_all
from obskit.model.results import Element, Result, Vector
from obskit.model.samples import is_stale
from obskit.promql.nodes import Binary, Number, VectorSelector
from obskit.store.database import Database, Transaction
from obskit.store.interface import Batch, Touched


class FakeStore:
    def __init__(self, folder: Path) -> None:
        self.database = Database.open(folder, reserve_bytes=0)
        self.series: dict[Labels, list[tuple[int, float]]] = {}
        self.appends: list[Batch] = []
        self.callbacks: list[Callable[[Touched], None]] = []
        self.fails: Exception | None = None
        self.metrics = self
        self.logs = None

    def subscribe(self, callback: Callable[[Touched], None]) -> None:
        self.callbacks.append(callback)

    async def append(
        self, batch: Batch, also: Callable[[Transaction], None] | None = None, *, essential: bool = False
    ) -> None:
        if self.fails and essential:
            raise self.fails
        if also is not None:
            await self.database.write(also, essential=essential)
        self.appends.append(batch)
        for sample in batch.samples:
            self.series.setdefault(sample.labels, []).append((sample.t_ms, sample.value))
        if batch.samples:
            names = frozenset(labels.name for labels in batch.samples.labels)
            for callback in self.callbacks:
                callback(Touched(names, frozenset(), max(batch.samples.times_ms)))

    async def close(self) -> None:
        await self.database.close()


class FakeEngine:
    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.asked: list[tuple[str, int]] = []
        self.fails: Exception | None = None

    def instant(self, expr: Any, at: int, /) -> Result:
        self.asked.append((str(expr), at))
        if self.fails:
            raise self.fails
        return Result(Vector(tuple(self._eval(expr, at))))

    def _eval(self, expr: Any, at: int) -> list[Element]:
        if isinstance(expr, VectorSelector):
            found = []
            for labels, points in self._store.series.items():
                inside = [(t, v) for t, v in points if at - 300_000 < t <= at]
                if match_all(expr.matchers, labels) and inside and not is_stale(max(inside)[1]):
                    found.append(Element(labels, max(inside)[1], at))
            return found
        if isinstance(expr, Binary) and isinstance(expr.rhs, Number) and expr.op == ">":
            limit = expr.rhs.value
            return [element for element in self._eval(expr.lhs, at) if element.value > limit]
        raise QueryError(f"the fake engine cannot {expr}")
