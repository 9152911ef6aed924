"""Vectors over all steps at once: series in rows, steps in columns. Aggregations over series, and label_replace."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from obskit.errors import QueryError
from obskit.logql.metric_nodes import Grouping, LabelReplace, VectorAggregation
from obskit.logql.windows import Flags, Floats
from obskit.model.labels import EMPTY, Labels, is_label_name
from obskit.model.patterns import anchored

_REFERENCE: Final = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Block:
    """Series over the steps: `values[i, k]` counts where `present[i, k]`. Label sets are unique at every step."""

    labels: Sequence[Labels]
    values: Floats
    present: Flags

    @classmethod
    def of(cls, rows: Iterable[tuple[Labels, Floats, Flags]], steps: int) -> Block:
        """A block of some rows; rows of equal labels become one, QueryError where both have a value."""
        merged: dict[Labels, tuple[Floats, Flags]] = {}
        for labels, values, present in rows:
            if not present.any():
                continue
            if labels in merged:
                values, present = _merged(labels, merged[labels], (values, present))  # noqa: PLW2901 - the row, merged
            merged[labels] = (values, present)
        if not merged:
            return cls((), np.zeros((0, steps)), np.zeros((0, steps), dtype=np.bool_))
        return cls(
            tuple(merged),
            np.stack([values for values, _ in merged.values()]),
            np.stack([present for _, present in merged.values()]),
        )

    @property
    def steps(self) -> int:
        """The number of columns."""
        return int(self.values.shape[1])

    def rows(self) -> Iterable[tuple[Labels, Floats, Flags]]:
        """The rows, one series each."""
        return zip(self.labels, self.values, self.present, strict=True)


def _merged(labels: Labels, first: tuple[Floats, Flags], second: tuple[Floats, Flags]) -> tuple[Floats, Flags]:
    if (first[1] & second[1]).any():
        raise QueryError(f"vector cannot contain metrics with the same labelset: {labels}")
    return np.where(first[1], first[0], second[0]), first[1] | second[1]


def aggregate(node: VectorAggregation, block: Block) -> Block:
    """`sum`, `topk`, `sort` and the others, by the groups that the node asks for."""
    if node.op in ("sort", "sort_desc"):
        return _sorted(block, descending=node.op == "sort_desc")
    groups: dict[Labels, list[int]] = {}
    for row, labels in enumerate(block.labels):
        groups.setdefault(group_labels(labels, node.grouping), []).append(row)
    if node.op in _FIRST_HAS_MOST:
        chosen = [_ranked(node, block, rows) for rows in groups.values()]
        return Block.of((row for rows in chosen for row in rows), block.steps)
    function = _REDUCE[node.op]
    with np.errstate(invalid="ignore", over="ignore"):
        reduced = [
            (labels, function(block.values[rows], block.present[rows]), np.any(block.present[rows], axis=0))
            for labels, rows in groups.items()
        ]
    return Block.of(reduced, block.steps)


def group_labels(labels: Labels, grouping: Grouping | None) -> Labels:
    """What is left of a series' labels in its group."""
    if grouping is None:
        return EMPTY
    return labels.without(*grouping.labels) if grouping.without else labels.only(*grouping.labels)


def _sum(values: Floats, present: Flags) -> Floats:
    return np.asarray(np.where(present, values, 0.0).sum(axis=0))


def _mean(values: Floats, present: Flags) -> Floats:
    return np.asarray(_sum(values, present) / np.maximum(present.sum(axis=0), 1))


def _variance(values: Floats, present: Flags) -> Floats:
    return _mean((values - _mean(values, present)) ** 2, present)


_REDUCE: Final[dict[str, Callable[[Floats, Flags], Floats]]] = {
    "sum": _sum,
    "avg": _mean,
    "count": lambda _, present: present.sum(axis=0).astype(np.float64),
    "min": lambda values, present: np.fmin.reduce(np.where(present, values, np.nan), axis=0),
    "max": lambda values, present: np.fmax.reduce(np.where(present, values, np.nan), axis=0),
    "stdvar": _variance,
    "stddev": lambda values, present: np.sqrt(_variance(values, present)),
}
_FIRST_HAS_MOST: Final = {"topk": True, "approx_topk": True, "bottomk": False}


def _ranked(node: VectorAggregation, block: Block, rows: list[int]) -> Iterable[tuple[Labels, Floats, Flags]]:
    """The k first rows of a group at each step, NaN left out; in order of the last step."""
    sign = -1.0 if _FIRST_HAS_MOST[node.op] else 1.0
    values = block.values[rows]
    keys = np.where(block.present[rows] & ~np.isnan(values), sign * values, np.nan)
    order = np.argsort(keys, axis=0, kind="stable")  # NaN, which is never chosen, goes last
    chosen = np.zeros(values.shape, dtype=np.bool_)
    np.put_along_axis(chosen, order[: node.parameter], True, axis=0)
    chosen &= ~np.isnan(keys)
    return [(block.labels[rows[i]], values[i], chosen[i]) for i in order[:, -1]]


def _sorted(block: Block, *, descending: bool) -> Block:
    """Rows in order of the last step, NaN at the end."""
    if not len(block.labels):
        return block
    last = block.values[:, -1]
    order = np.argsort(-last if descending else last, kind="stable")
    return Block([block.labels[i] for i in order], block.values[order], block.present[order])


def replace_labels(node: LabelReplace, block: Block) -> Block:
    """label_replace: where the whole source value matches, the target becomes the replacement."""
    if not is_label_name(node.target):
        raise QueryError(f"invalid label name in label_replace: {node.target!r}")
    pattern = anchored(node.pattern)
    rows = []
    for labels, values, present in block.rows():
        match = pattern.match(labels.get(node.source))
        replaced = labels if match is None else labels.updated({node.target: _expanded(node.replacement, match)})
        rows.append((replaced, values, present))
    return Block.of(rows, block.steps)


def _expanded(template: str, match: Any) -> str:
    """Go's `$1`, `${name}` and `$$`; a group that is not there is empty."""

    def group(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if not name:
            return "$"
        if name.isdigit():
            return (match.group(int(name)) or "") if int(name) <= match.re.groups else ""
        return (match.group(name) or "") if name in match.re.groupindex else ""

    return _REFERENCE.sub(group, template)
