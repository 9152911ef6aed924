"""`info(v, {matchers})`: labels of info metrics (target_info by default) joined by `instance` and `job`. Experimental.

Info series change slowly and there are few: this walks rows, not samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from obskit.errors import QueryError
from obskit.model.labels import NAME, Labels
from obskit.model.matchers import Matcher, MatchOp, match_all
from obskit.promql.blocks import Block, Floats, joined
from obskit.promql.labelsets import Ints, LabelSets
from obskit.promql.nodes import Call, DurationOp, Expr, MatrixSelector, Shift, Subquery, VectorSelector, bare

IDENTIFYING: Final = ("instance", "job")
DEFAULT: Final = Matcher(NAME, MatchOp.EQUAL, "target_info")


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """Which info series to read and which of their labels to take: those that `data` names, or all."""

    selector: VectorSelector
    names: tuple[Matcher, ...]
    data: tuple[Matcher, ...]

    @classmethod
    def of(cls, call: Call) -> InfoRequest:
        """What a call asks for. Info series are read at the time of the call's first selector."""
        given: tuple[Matcher, ...] = ()
        if len(call.args) > 1:
            selector = bare(call.args[1])
            assert isinstance(selector, VectorSelector)
            given = selector.matchers
        names = tuple(matcher for matcher in given if matcher.name == NAME) or (DEFAULT,)
        data = tuple(matcher for matcher in given if matcher.name != NAME)
        # Prometheus' convention keeps a selector from reading everything when the name matchers only exclude.
        if all(matcher.op.negative for matcher in names):
            names = (*names, Matcher(NAME, MatchOp.REGEX, ".+_info"))
        shift = _shift(call.args[0])
        return cls(VectorSelector(name="", matchers=(*names, *data), shift=shift or Shift()), names, data)

    @property
    def required(self) -> bool:
        """Whether an element without info is left out."""
        return not all(matcher.matches_empty for matcher in self.data)

    def takes(self, label: str) -> bool:
        """Whether a label of an info series is copied."""
        if label == NAME or label in IDENTIFYING:
            return False
        return not self.data or any(matcher.name == label for matcher in self.data)


def _shift(expr: Expr) -> Shift | None:
    """Where the first selector of an expression looks, subqueries around it included."""
    if isinstance(expr, MatrixSelector):
        return expr.vector.shift
    if isinstance(expr, VectorSelector):
        return expr.shift
    found = next((shift for shift in map(_shift, expr.children) if shift is not None), None)
    if not isinstance(expr, Subquery) or found is None or found.at is not None:
        return found
    offset = expr.shift.offset
    both = found.offset + offset if isinstance(found.offset, float) and isinstance(offset, float) else None
    return replace(expr.shift, offset=DurationOp("+", found.offset, offset) if both is None else both)


def enrich(request: InfoRequest, base: Block, infos: Block, times: Floats) -> Block:
    """The base rows with the labels of the info rows that belong to them at each step."""
    by_key: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for row, labels in enumerate(infos.sets.rows()):
        by_key.setdefault(_key(labels), {}).setdefault(labels.name, []).append(row)
    parts = [
        part
        for row, labels in enumerate(base.sets.rows())
        for part in _variants(request, base, row, _newest(by_key, labels, infos, times, request))
    ]
    if not parts:
        return base.take(np.zeros(0, np.int64))
    sets = LabelSets.of([labels for labels, _, _ in parts])
    if base.sets.dropped is not None:
        sets.dropped = base.sets.dropped[[row for _, row, _ in parts]]
    present = np.array([there for _, _, there in parts])
    return joined(base.take(np.array([row for _, row, _ in parts], np.int64)).relabelled(sets).only(present))


def _key(labels: Labels) -> tuple[str, ...]:
    return tuple(labels.get(name) for name in IDENTIFYING)


_Choice = tuple[Block, list[Ints]]


def _newest(
    by_key: dict[tuple[str, ...], dict[str, list[int]]],
    labels: Labels,
    infos: Block,
    times: Floats,
    request: InfoRequest,
) -> _Choice | None:
    """For each info metric the row that is newest at each step, -1 where there is none; None for info series."""
    if match_all(request.names, {NAME: labels.name}):
        return None
    chosen = []
    for rows in by_key.get(_key(labels), {}).values():
        index = np.array(rows, np.int64)
        ages = np.where(infos.present[index], times[index], -np.inf)
        best = ages.argmax(axis=0)
        chosen.append(np.where(np.isfinite(ages.max(axis=0)), index[best], -1))
    return infos, chosen


def _variants(
    request: InfoRequest, base: Block, row: int, choice: _Choice | None
) -> Iterator[tuple[Labels, int, Ints]]:
    """The label sets a base row has over time, each with the steps at which it has it."""
    labels, everywhere = base.sets[row], np.ones(base.steps, bool)
    if choice is None:
        yield labels, row, everywhere
        return
    infos, chosen = choice
    table = np.array(chosen, np.int64).reshape(len(chosen), base.steps)
    combinations, owner = np.unique(table, axis=1, return_inverse=True)
    for number, combination in enumerate(combinations.T.tolist() if len(chosen) else [[]]):
        found = [infos.sets[info] for info in combination if info >= 0]
        if found or not request.required:
            there = owner.reshape(-1) == number if len(chosen) else everywhere
            yield _joined_labels(request, labels, found), row, there


def _joined_labels(request: InfoRequest, labels: Labels, found: Iterable[Labels]) -> Labels:
    added: dict[str, str] = {}
    for info in found:
        for name, value in info.pairs:
            if not request.takes(name) or name in labels:
                continue
            if added.setdefault(name, value) != value:
                raise QueryError(f"conflicting label: {name}")
    return labels.updated(added) if added else labels
