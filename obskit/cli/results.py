"""What a query answers, as a table or as JSON, or why it has no answer. How series look over time is in sparklines.py."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from obskit.cli.moments import stamp
from obskit.cli.options import stop
from obskit.cli.tables import print_rows

if TYPE_CHECKING:
    from obskit.model.histograms import NativeHistogram
    from obskit.model.results import Matrix, RangeSeries, Result

NO_DATA: Final = "no data"


@contextmanager
def query_errors(expression: str) -> Iterator[None]:
    """A wrong expression ends the command with a caret under the place, a failing one with its reason."""
    from obskit.errors import QueryError, QuerySyntaxError
    from obskit.model.problems import Place, Problem

    try:
        yield
    except QuerySyntaxError as error:
        lines = error.query.splitlines() or [""]
        place = Place("query", error.line, error.column, max(1, error.end - error.start))
        source = lines[min(error.line, len(lines)) - 1]
        stop(f"{error}\n{Problem(place, 'syntax', error.message, source=source).frame()}")
    except QueryError as error:
        stop(f"{expression}: {error}")


def show(result: Result, output: str) -> None:
    """Print a result: a line per element, or the value as Prometheus' API gives it."""
    from obskit.model.results import Matrix, Scalar, String, Vector

    for note in (*result.warnings, *result.infos):
        click.echo(f"note: {note}", err=True)
    value = result.value
    if output == "json":
        click.echo(json.dumps(_as_json(value), indent=2))
    elif isinstance(value, Vector):
        _show_rows([(str(element.labels), _sample(element.value, element.histogram)) for element in value.elements])
    elif isinstance(value, Matrix):
        _show_matrix(value)
    elif isinstance(value, Scalar):
        click.echo(number(value.value))
    elif isinstance(value, String):
        click.echo(value.value)


def _show_matrix(matrix: Matrix) -> None:
    """A line and a chart per series for a person, every point for a program and where there are histograms."""
    if not matrix.series:
        click.echo(NO_DATA, err=True)
    elif sys.stdout.isatty() and not any(series.histograms for series in matrix.series):
        from obskit.cli.sparklines import chart

        for line in chart(matrix.series, shutil.get_terminal_size().columns):
            click.echo(line)
    else:
        for series in matrix.series:
            click.echo(str(series.labels))
            for at, (t_ms, point) in enumerate(zip(series.times_ms, series.values, strict=True)):
                click.echo(f"  {stamp(t_ms)}  {_sample(point, series.histograms.get(at))}")


def _sample(value: float, histogram: NativeHistogram | None) -> str:
    return number(value) if histogram is None else str(histogram)


def _show_rows(rows: list[tuple[str, str]]) -> None:
    if rows:
        print_rows(rows)
    else:
        click.echo(NO_DATA, err=True)


def _as_json(value: Any) -> dict[str, Any]:
    """The shape of Prometheus' HTTP API: `{"resultType": …, "result": …}`."""
    from obskit.model.results import Matrix, Scalar, Vector

    if isinstance(value, Vector):
        elements = [
            {"metric": dict(one.labels), **_point(one.t_ms, one.value, one.histogram)} for one in value.elements
        ]
        return {"resultType": "vector", "result": elements}
    if isinstance(value, Matrix):
        return {"resultType": "matrix", "result": [_series(one) for one in value.series]}
    kind = "scalar" if isinstance(value, Scalar) else "string"
    text = number(value.value) if isinstance(value, Scalar) else value.value
    return {"resultType": kind, "result": [value.t_ms / 1000, text]}


def _point(t_ms: int, value: float, histogram: NativeHistogram | None) -> dict[str, Any]:
    from obskit.model.histogram_json import as_json

    if histogram is None:
        return {"value": [t_ms / 1000, number(value)]}
    return {"histogram": [t_ms / 1000, as_json(histogram, number)]}


def _series(series: RangeSeries) -> dict[str, Any]:
    points = [
        _point(t_ms, value, series.histograms.get(at))
        for at, (t_ms, value) in enumerate(zip(series.times_ms, series.values, strict=True))
    ]
    found: dict[str, Any] = {"metric": dict(series.labels)}
    for kind in ("value", "histogram"):
        if of_kind := [point[kind] for point in points if kind in point]:
            found[f"{kind}s"] = of_kind
    return found


def number(value: float) -> str:
    """The shortest text that reads back as the same float; whole numbers without a point."""
    if value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
