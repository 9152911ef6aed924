"""topk and bottomk with the very heap of Prometheus 2.42: which of equal values stay is its doing.

3.x puts a new value in the root's place and lets it sink, and keeps a NaN from being replaced by another.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from obskit.promql.blocks import Block, Floats
from obskit.promql.context import Context
from obskit.promql.labelsets import Groups
from obskit.promql.nodes import Aggregate
from obskit.promql.ranking import _how_many, _only

Item = tuple[float, int]
Less = Callable[[float, float], bool]


def ranked_by_heap(_context: Context, expr: Aggregate, grouped: tuple[Block, Groups], param: Floats) -> Block:
    """A stand-in for obskit.promql.ranking.topk, for both: the worst of the k kept is the heap's root."""
    block, groups = grouped
    limit = _how_many(param).tolist()
    worse: Less = (lambda a, b: a < b) if expr.op == "topk" else (lambda a, b: a > b)
    rows, steps = [], []
    for group in range(len(groups.sets)):
        members = groups.members(group).tolist()
        for step in range(block.steps):
            present = [(float(block.values[row, step]), row) for row in members if block.present[row, step]]
            kept = _kept(present, limit[step], worse)
            rows += [row for _, row in kept]
            steps += [step] * len(kept)
    chosen = _only(block, np.array(rows, np.int64), np.array(steps, np.int64))
    if block.steps > 1:
        return chosen
    order = sorted(range(len(rows)), key=lambda at: _rank(float(block.values[rows[at], 0]), expr.op))
    return chosen.take(np.array([rows[at] for at in order], np.int64))


def _rank(value: float, op: str) -> float:
    if math.isnan(value):
        return math.inf
    return -value if op == "topk" else value


def _kept(items: list[Item], limit: int, worse: Less) -> list[Item]:
    def before(one: Item, other: Item) -> bool:
        return math.isnan(one[0]) or worse(one[0], other[0])

    heap: list[Item] = []
    for item in items:
        if len(heap) >= limit:
            if not heap or not (worse(heap[0][0], item[0]) or math.isnan(heap[0][0])):
                continue
            heap[0] = heap[-1]
            heap.pop()
            _down(heap, before)
        heap.append(item)
        _up(heap, before)
    return heap


def _up(heap: list[Item], before: Callable[[Item, Item], bool]) -> None:
    at = len(heap) - 1
    while at > 0:
        parent = (at - 1) // 2
        if not before(heap[at], heap[parent]):
            return
        heap[at], heap[parent] = heap[parent], heap[at]
        at = parent


def _down(heap: list[Item], before: Callable[[Item, Item], bool]) -> None:
    at = 0
    while 2 * at + 1 < len(heap):
        child = 2 * at + 1
        if child + 1 < len(heap) and before(heap[child + 1], heap[child]):
            child += 1
        if not before(heap[child], heap[at]):
            return
        heap[at], heap[child] = heap[child], heap[at]
        at = child
