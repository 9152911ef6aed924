"""Functions of a range that need no more than the edges of its window: at one moment they cost the same for any range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from obskit.promql.blocks import Block, Bools, Floats
from obskit.promql.labelsets import LabelSets
from obskit.promql.rates import Measure, Reach, between, extrapolated
from obskit.store.interface import Edges


@dataclass(frozen=True, slots=True)
class EdgesOf:
    """The edges of the windows `(end - span, end]` of some series."""

    sets: LabelSets
    edges: Edges
    end_ms: int
    span_ms: int

    def block(self, values: Floats, present: Bools) -> Block:
        """The series with these values."""
        return Block(self.sets, values[:, None], present[:, None])


def _extrapolated(windows: EdgesOf, *, counter: bool, per_second: bool) -> Block:
    edges, measure = windows.edges, Measure(windows.span_ms, counter, per_second)
    reach = Reach.of(edges.count, edges.first_ms, edges.last_ms, np.array([windows.end_ms]), measure)
    values = extrapolated(edges.first, edges.last, edges.resets, reach, measure)
    return windows.block(values, edges.count >= 2)


def _last_two(windows: EdgesOf, *, counter: bool) -> Block:
    edges = windows.edges
    elapsed_ms = edges.last_ms - edges.previous_ms
    values = between(edges.previous, edges.last, elapsed_ms, counter=counter)
    return windows.block(values, (edges.count >= 2) & (elapsed_ms != 0))


def _any_sample(windows: EdgesOf, values: Floats) -> Block:
    return windows.block(values, windows.edges.count > 0)


FROM_EDGES: Final[dict[str, Callable[[EdgesOf], Block]]] = {
    "rate": lambda windows: _extrapolated(windows, counter=True, per_second=True),
    "increase": lambda windows: _extrapolated(windows, counter=True, per_second=False),
    "delta": lambda windows: _extrapolated(windows, counter=False, per_second=False),
    "irate": lambda windows: _last_two(windows, counter=True),
    "idelta": lambda windows: _last_two(windows, counter=False),
    "last_over_time": lambda windows: _any_sample(windows, windows.edges.last),
    "first_over_time": lambda windows: _any_sample(windows, windows.edges.first),
    "count_over_time": lambda windows: _any_sample(windows, windows.edges.count.astype(float)),
    "present_over_time": lambda windows: _any_sample(windows, np.ones(len(windows.sets))),
    "ts_of_last_over_time": lambda windows: _any_sample(windows, windows.edges.last_ms / 1000),
    "ts_of_first_over_time": lambda windows: _any_sample(windows, windows.edges.first_ms / 1000),
}
