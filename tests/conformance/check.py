"""Runs a case and says what is wrong with the answer, or nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from obskit.errors import QueryError, QuerySyntaxError
from obskit.model.histograms import NativeHistogram, ResetHint
from obskit.model.labels import Labels
from obskit.model.results import Matrix, Result, Scalar, String, Vector
from obskit.model.samples import is_stale
from obskit.promql.engine import Engine
from obskit.testing.store import MemoryMetrics
from tests.conformance.cases import Case, Points, Value
from tests.conformance.pinned import pinned

TOLERANCE = 1e-6


def engine_for(case: Case) -> Engine:
    """The engine with the settings of the suite, over the case's series."""
    metrics = MemoryMetrics()
    for one in case.series:
        times = [t for t, _ in one.points]
        metrics.add(
            one.labels, times, [value for _, value in one.points], start_ms=[one.starts.get(t, 0) for t in times]
        )
    return Engine(metrics, delayed_name_removal=True)


def problem(case: Case) -> str | None:
    """What is wrong with the answer to the case; None when it is right."""
    try:
        engine = engine_for(case)
        result = (
            engine.instant(case.query, *case.times) if len(case.times) == 1 else engine.range(case.query, *case.times)
        )
    except QueryError as error:
        return _wrong_error(case, error)
    if case.expect.kind == "error":
        return f"no error, but {result.value}"
    return (
        _wrong_value(case, result)
        or _wrong_notes(case, result)
        or _wrong_in_range(case, engine)
        or _wrong_pinned(case, engine)
    )


def _wrong_error(case: Case, error: QueryError) -> str | None:
    if case.expect.kind != "error":
        return f"error: {error}"
    texts = {str(error), error.message} if isinstance(error, QuerySyntaxError) else {str(error)}
    for want in case.expect.notes.get("fail", []):
        if "msg" in want and want["msg"] not in texts:
            return f"error {error}, expected {want['msg']}"
        if "regex" in want and not any(re.search(want["regex"], text) for text in texts):
            return f"error {error}, expected to match {want['regex']}"
    return None


def same(got: Value, want: Value) -> bool:
    """Whether two values are equal as the suite sees it: NaN equals NaN, stale only stale."""
    if isinstance(got, NativeHistogram) or isinstance(want, NativeHistogram):
        return isinstance(got, NativeHistogram) and isinstance(want, NativeHistogram) and _same_histogram(got, want)
    if math.isnan(got) or math.isnan(want):
        return math.isnan(got) and math.isnan(want) and is_stale(got) == is_stale(want)
    if math.isinf(got) or math.isinf(want):
        return got == want
    return abs(got - want) <= TOLERANCE * max(abs(got), abs(want))


def _same_histogram(got: NativeHistogram, want: NativeHistogram) -> bool:
    """Every bucket alike; the hint counts only where it is written."""
    numbers = [(one.count, one.sum, one.zero_threshold, one.zero_count) for one in (got, want)]
    return (
        (got.schema, got.bounds) == (want.schema, want.bounds)
        and (want.hint is ResetHint.UNKNOWN or got.hint is want.hint)
        and all(map(same, *numbers))
        and _same_buckets(got.positive, want.positive)
        and _same_buckets(got.negative, want.negative)
    )


def _same_buckets(got: Mapping[int, float], want: Mapping[int, float]) -> bool:
    # What rounding left in an empty bucket is nothing.
    return all(
        abs(got.get(i, 0.0) - want.get(i, 0.0)) < 1e-12 or same(got.get(i, 0.0), want.get(i, 0.0))
        for i in {*got, *want}
    )


def rows(result: Result) -> list[tuple[Labels, Points]]:
    """The rows of a vector or matrix."""
    if isinstance(result.value, Vector):
        return [(one.labels, [(one.t_ms, one.histogram or one.value)]) for one in result.value.elements]
    assert isinstance(result.value, Matrix)
    return [
        (one.labels, [(int(t), one.histograms.get(at, one.values[at])) for at, t in enumerate(one.times_ms)])
        for one in result.value.series
    ]


def _wrong_value(case: Case, result: Result) -> str | None:
    expect, value = case.expect, result.value
    if expect.kind == "scalar":
        right = isinstance(value, Scalar) and same(value.value, expect.scalar)
        return None if right else f"got {value}, expected scalar {expect.scalar}"
    if expect.kind == "string":
        return None if isinstance(value, String) and value.value == expect.string else f"got {value}"
    if isinstance(value, Scalar | String):
        return f"got {value}, expected {expect.kind}"
    got = rows(result)
    if dict(got).keys() != expect.series.keys() or len(got) != len(expect.series):
        return f"got {got}, expected {expect.series}"
    for labels, points in got:
        want = expect.series[labels]
        times = [t for t, _ in points] == [t for t, _ in want] or (len(case.times) == 1 and expect.kind == "vector")
        if (
            len(points) != len(want)
            or not times
            or not all(same(g, w) for (_, g), (_, w) in zip(points, want, strict=True))
        ):
            return f"{labels}: got {points}, expected {want}"
    if expect.ordered and [labels for labels, _ in got] != list(expect.series):
        return f"order {[str(labels) for labels, _ in got]}, expected {[str(labels) for labels in expect.series]}"
    return None


def _wrong_notes(case: Case, result: Result) -> str | None:
    for kind, got in (("warn", result.warnings), ("info", result.infos)):
        wanted = case.expect.notes.get(kind, [])
        if kind in case.expect.absent_notes and got:
            return f"unexpected {kind}: {got}"
        for want in wanted:
            if not got:
                return f"no {kind}, expected {want}"
            if "msg" in want and want["msg"] not in got:
                return f"{kind} {got}, expected {want['msg']}"
            if "regex" in want and not any(re.search(want["regex"], text) for text in got):
                return f"{kind} {got}, expected to match {want['regex']}"
    return None


def _wrong_in_range(case: Case, engine: Engine) -> str | None:
    """The same instant as the middle step of a range query must give the same."""
    if not case.range_check or len(case.times) != 1 or case.expect.kind == "string":
        return None
    at = case.times[0]
    try:
        result = engine.range(case.query, at - 60_000, at + 60_000, 60_000)
    except QueryError as error:
        # Another step may well have what this one lacks (two series of one group, say).
        return f"in a range: {error}"
    return _unlike(
        case, {labels: value for labels, points in rows(result) for t, value in points if t == at}, "in a range"
    )


def _wrong_pinned(case: Case, engine: Engine) -> str | None:
    """With `@` on all selectors the same must come out at any time."""
    if not case.range_check or len(case.times) != 1 or case.expect.kind not in ("vector", "empty"):
        return None
    query = pinned(case.query, case.times[0])
    if query is None:
        return None
    for later in (0, 1_000, 7 * 3_600_000):
        try:
            result = engine.range(query, later, later + 60_000, 60_000)
        except QueryError as error:
            return f"with @ at {later}: {error}"
        for t_ms in (later, later + 60_000):
            got = {labels: value for labels, points in rows(result) for t, value in points if t == t_ms}
            if wrong := _unlike(case, got, f"with @ at {t_ms}"):
                return wrong
    return None


def _unlike(case: Case, got: dict[Labels, Value], where: str) -> str | None:
    want: dict[Labels, Value] = {labels: points[0][1] for labels, points in case.expect.series.items()}
    if case.expect.kind == "scalar":
        want = {Labels(): case.expect.scalar}
    if got.keys() != want.keys() or not all(same(got[labels], want[labels]) for labels in got):
        return f"{where}: got {got}, expected {want}"
    return None
