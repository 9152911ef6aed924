"""sort and sort_by_label: the order of an instant query's rows. Range queries are always ordered by labels."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from obskit.promql.blocks import Block
from obskit.promql.context import Context
from obskit.promql.nodes import Call

_DIGITS: Final = re.compile(r"(\d+)", re.ASCII)
INEFFECTIVE: Final = "sort is ineffective for range queries since results are always ordered by labels"


def sort(context: Context, call: Call, args: list[Any]) -> Block:
    """By value, NaN last; `sort_desc` from the largest."""
    block: Block = args[0]
    if not context.instant:
        context.warn(INEFFECTIVE, call)
    if context.steps != 1:
        return block
    values = block.values[:, 0]
    keys = -values if call.name == "sort_desc" else values
    return block.take(np.argsort(keys, kind="stable"))  # numpy puts NaN last


def sort_by_label(context: Context, call: Call, args: list[Any]) -> Block:
    """By the given labels in natural order (`a2` before `a10`), then by all labels."""
    block: Block = args[0]
    if not context.instant:
        context.warn(INEFFECTIVE, call)
    if context.steps != 1:
        return block
    names: list[str] = args[1:]
    rows = block.sets.rows()

    def key(row: int) -> Any:
        return [_natural(rows[row].get(name)) for name in names], rows[row].pairs

    order = sorted(range(len(rows)), key=key, reverse=call.name == "sort_by_label_desc")
    return block.take(np.array(order, np.int64))


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """A key in which stretches of digits compare as numbers."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in _DIGITS.split(text) if part]
