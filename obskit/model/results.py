"""What a query answers: a vector, a matrix, a scalar or a string, with the annotations that came up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels


@dataclass(frozen=True, slots=True)
class Element:
    """One element of an instant vector. `t_ms` is the evaluation time, or the sample's own for a bare selector's.

    With a histogram the value is NaN and means nothing.
    """

    labels: Labels
    value: float
    t_ms: int
    histogram: NativeHistogram | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """An instant vector, in the order the query gave it."""

    elements: tuple[Element, ...]


@dataclass(frozen=True, slots=True)
class RangeSeries:
    """One series of a matrix: points in order of time. `histograms` holds those that are one, by position."""

    labels: Labels
    times_ms: Sequence[int]
    values: Sequence[float]
    histograms: Mapping[int, NativeHistogram] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Some series over a range."""

    series: tuple[RangeSeries, ...]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number."""

    value: float
    t_ms: int


@dataclass(frozen=True, slots=True)
class String:
    """One string."""

    value: str
    t_ms: int


@dataclass(frozen=True, slots=True)
class Result:
    """The value of a query and what was noticed on the way (Prometheus' warnings and infos)."""

    value: Vector | Matrix | Scalar | String
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
