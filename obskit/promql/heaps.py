"""Which of equal values topk and bottomk keep, and in which order: whatever Prometheus' heap makes of them.

A heap of the k values kept so far, the worst at its root; a better value takes the root's place and sinks
(promql/engine.go, aggregationK; container/heap). What is kept is sorted at the end, by insertion as Go does with few.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cmp_to_key
from typing import Final

from obskit.promql.blocks import Floats
from obskit.promql.labelsets import Ints

SORTED_BY_INSERTION: Final = 12
"""More than these Go sorts in a way that leaves equals anywhere; here they stay as they are."""

Item = tuple[float, int]
Less = Callable[[Item, Item], bool]


def kept(values: Floats, rows: Ints, limit: int, op: str) -> list[int]:
    """The rows that `op` keeps of these, best first."""
    worse: Less = _smaller if op == "topk" else _larger
    heap: list[Item] = []
    for item in sorted(zip(values.tolist(), rows.tolist(), strict=True), key=lambda one: one[1]):
        if len(heap) < limit:
            heap.append(item)
            _rise(heap, worse)
        elif heap and _takes_its_place(heap[0], item, worse):
            heap[0] = item
            _sink(heap, worse)
    return [row for _, row in _sorted(heap, worse)]


def _smaller(one: Item, other: Item) -> bool:
    return math.isnan(one[0]) or one[0] < other[0]


def _larger(one: Item, other: Item) -> bool:
    return math.isnan(one[0]) or one[0] > other[0]


def _takes_its_place(worst: Item, item: Item, worse: Less) -> bool:
    return not math.isnan(item[0]) and worse(worst, item)


def _rise(heap: list[Item], less: Less) -> None:
    at = len(heap) - 1
    while at > 0 and less(heap[at], heap[(at - 1) // 2]):
        heap[at], heap[(at - 1) // 2] = heap[(at - 1) // 2], heap[at]
        at = (at - 1) // 2


def _sink(heap: list[Item], less: Less) -> None:
    at = 0
    while 2 * at + 1 < len(heap):
        child = 2 * at + 1
        if child + 1 < len(heap) and less(heap[child + 1], heap[child]):
            child += 1
        if not less(heap[child], heap[at]):
            return
        heap[at], heap[child] = heap[child], heap[at]
        at = child


def _sorted(heap: list[Item], worse: Less) -> list[Item]:
    if len(heap) > SORTED_BY_INSERTION:

        def compare(one: Item, other: Item) -> int:
            return worse(one, other) - worse(other, one)

        return sorted(heap, key=cmp_to_key(compare))
    for begin in range(1, len(heap)):
        at = begin
        while at > 0 and worse(heap[at - 1], heap[at]):
            heap[at], heap[at - 1] = heap[at - 1], heap[at]
            at -= 1
    return heap
