"""Answers of either side in one form, and what is different between two of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.model.results import Matrix, Result, Scalar, String, Vector
from tests.promql.differential.prometheus import RefusedError

TOLERANCE = 1e-9
LARGE_TOLERANCE = 1e-6
"""Relative; and values below 1e-12 are nothing then."""

Points = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Answer:
    """`series` in the order given. A scalar is one series without labels; `kind` tells it from a vector."""

    kind: str
    series: list[tuple[Labels, Points]] = field(default_factory=list)
    text: str = ""

    def __str__(self) -> str:
        rows = [f"  {labels}: {_shown(points)}" for labels, points in self.series[:12]]
        return "\n".join([f"{self.kind} {self.text}".rstrip(), *rows, *["  …"] * (len(self.series) > 12)])


def _shown(points: Points) -> str:
    shown = ", ".join(f"{value!r}@{t_ms}" for t_ms, value in points[:6])
    return f"{shown}, … ({len(points)})" if len(points) > 6 else shown


def theirs(ask: Callable[[], dict[str, Any]]) -> Answer:
    """What Prometheus answers."""
    try:
        data = ask()
    except RefusedError as error:
        return Answer("error", text=str(error))
    kind, result = data["resultType"], data["result"]
    if kind in ("scalar", "string"):
        text = result[1] if kind == "string" else ""
        points = [] if kind == "string" else [(Labels(), [_point(result)])]
        return Answer(kind, points, text)
    return Answer(
        kind,
        [(Labels(one["metric"]), list(map(_point, one.get("values") or [one["value"]]))) for one in result],
    )


def _point(pair: list[Any]) -> tuple[int, float]:
    return round(pair[0] * 1000), float(pair[1])


def ours(ask: Callable[[], Result]) -> Answer:
    """What obskit's engine answers."""
    try:
        value = ask().value
    except QueryError as error:
        return Answer("error", text=str(error))
    match value:
        case Vector(elements):
            return Answer("vector", [(one.labels, [(one.t_ms, one.value)]) for one in elements])
        case Matrix(series):
            return Answer("matrix", [(one.labels, list(zip(one.times_ms, one.values, strict=True))) for one in series])
        case Scalar(number, t_ms):
            return Answer("scalar", [(Labels(), [(t_ms, number)])])
        case String(text, _):
            return Answer("string", text=text)


def difference(want: Answer, got: Answer, *, ordered: bool = False, tolerance: float = TOLERANCE) -> str | None:
    """What is different, or None. Rows are compared by labels; `ordered` compares their values' order too."""
    if want.kind != got.kind or want.text != got.text:
        return None if want.kind == got.kind == "error" else f"{want.kind} {want.text} / {got.kind} {got.text}"
    expected, found = dict(want.series), dict(got.series)
    if len(found) != len(got.series):
        return "a label set twice"
    for labels in [*expected.keys(), *found.keys()]:
        if labels not in found or labels not in expected:
            return f"{labels} is only {'expected' if labels in expected else 'found'}"
        wrong = _points_differ(expected[labels], found[labels], tolerance)
        if wrong:
            return f"{labels}: {wrong}"
    if ordered:
        before, after = ([points[0][1] for _, points in answer.series] for answer in (want, got))
        if not all(same(one, other, tolerance) for one, other in zip(before, after, strict=True)):
            return f"order {before} / {after}"
    return None


def _points_differ(want: Points, got: Points, tolerance: float) -> str | None:
    if [t_ms for t_ms, _ in want] != [t_ms for t_ms, _ in got]:
        return f"times {_shown(want)} / {_shown(got)}"
    for (t_ms, expected), (_, found) in zip(want, got, strict=True):
        if not same(expected, found, tolerance):
            return f"{expected!r} / {found!r} at {t_ms}"
    return None


def same(want: float, got: float, tolerance: float) -> bool:
    """Whether two values are equal: NaN equals NaN."""
    if math.isnan(want) or math.isnan(got):
        return math.isnan(want) and math.isnan(got)
    nothing = 1e-12 if tolerance == LARGE_TOLERANCE else 0.0
    return want == got or abs(want - got) <= max(tolerance * max(abs(want), abs(got)), nothing)
