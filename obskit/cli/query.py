"""`obskit query`: PromQL and LogQL from the shell, over the store's files; the daemon may run meanwhile."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from obskit.cli.options import OUTPUTS, config_option, stop
from obskit.cli.store import open_configured, open_store
from obskit.cli.tables import print_rows

if TYPE_CHECKING:
    from obskit.model.histograms import NativeHistogram
    from obskit.model.results import RangeSeries, Result

NS_PER_MS: Final = 1_000_000
NO_DATA: Final = "no data"


class Moment(click.ParamType[int]):
    """A time: RFC 3339, Unix seconds, or a duration before now (`5m`)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Unix milliseconds."""
        from obskit.clock import SystemClock
        from obskit.model.durations import parse_duration

        if isinstance(value, int):
            return value
        now_ms = SystemClock().now_ms()
        if value == "now":
            return now_ms
        try:
            return now_ms - parse_duration(value)
        except ValueError:
            pass
        try:
            return round(float(value) * 1000)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a duration before now (5m), nor Unix seconds, nor RFC 3339", param, ctx)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


class Span(click.ParamType[int]):
    """A duration, in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds."""
        from obskit.model.durations import parse_duration

        if isinstance(value, int):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def query() -> None:
    """Ask the store: PromQL over metrics, LogQL over logs and events."""


@query.command()
@click.argument("expression")
@config_option
@click.option("--at", type=Moment(), default="now", help="Time of an instant query [default: now].")
@click.option("--since", type=Moment(), help="Ask a range: from here (1h, a time) …")
@click.option("--until", type=Moment(), default="now", help="… to here [default: now].")
@click.option("--step", type=Span(), default="1m", show_default=True)
@click.option("-o", "--output", type=OUTPUTS, default="table", show_default=True)
def promql(  # noqa: PLR0913 - one per option
    *, expression: str, config_path: Path, at: int, since: int | None, until: int, step: int, output: str
) -> None:
    """Evaluate a PromQL expression.

    \b
    Examples:
      obskit query promql 'obskit_queue_messages{state="ready"}'
      obskit query promql 'rate(http_requests_total[5m])' --since 1h --step 5m
    """
    from obskit.promql.engine import Engine
    from obskit.promql.selection import Limits

    _check_range(since, until, step)
    with open_configured(config_path) as (config, store), query_errors(expression):
        general = config.general
        limits = Limits(general.query_max_samples, timeout_s=general.query_timeout / 1000)
        engine = Engine(store.metrics, limits=limits)
        result = engine.instant(expression, at) if since is None else engine.range(expression, since, until, step)
        show(result, output)


@query.command()
@click.argument("expression")
@config_option
@click.option("--since", type=Moment(), default="1h", show_default=True, help="From here …")
@click.option("--until", type=Moment(), default="now", help="… to here [default: now].")
@click.option("--limit", type=click.IntRange(1, 5000), default=100, show_default=True, help="Newest lines to show.")
@click.option("-o", "--output", type=OUTPUTS, default="table", show_default=True)
def logql(*, expression: str, config_path: Path, since: int, until: int, limit: int, output: str) -> None:
    """Show log lines, or evaluate a metric query at --until.

    \b
    Examples:
      obskit query logql '{app="api"} |= "error"' --since 15m
      obskit query logql 'sum by (app) (count_over_time({source="file"}[5m]))'
    """
    from obskit.logql.engine import Engine
    from obskit.logql.nodes import LogQuery
    from obskit.logql.parser import parse

    _check_range(since, until)
    with open_store(config_path) as store, query_errors(expression):
        engine = Engine(store.logs)
        parsed = parse(expression)
        if not isinstance(parsed, LogQuery):
            show(engine.instant(parsed, until * NS_PER_MS), output)
            return
        lines = engine.lines(parsed, since * NS_PER_MS, until * NS_PER_MS, limit=limit, newest_first=True)
        shown = list(lines)
        for line in reversed(shown):
            _show_line(line, output)
        if not shown:
            click.echo(NO_DATA, err=True)


def _check_range(since: int | None, until: int, step: int = 1) -> None:
    if since is not None and since > until:
        raise click.UsageError("--since is after --until")
    if step <= 0:
        raise click.UsageError("--step must be more than 0s")


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
        for series in value.series:
            click.echo(str(series.labels))
            for at, (t_ms, point) in enumerate(zip(series.times_ms, series.values, strict=True)):
                click.echo(f"  {stamp(t_ms)}  {_sample(point, series.histograms.get(at))}")
        if not value.series:
            click.echo(NO_DATA, err=True)
    elif isinstance(value, Scalar):
        click.echo(number(value.value))
    elif isinstance(value, String):
        click.echo(value.value)


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


def _show_line(line: Any, output: str) -> None:
    if output == "json":
        click.echo(
            json.dumps({"time_ns": line.t_ns, "labels": dict(line.labels), "line": line.line}, ensure_ascii=False)
        )
    else:
        dim = "{" in str(line.labels) and sys.stdout.isatty()
        labels = click.style(str(line.labels), dim=True) if dim else str(line.labels)
        click.echo(f"{stamp(line.t_ns // NS_PER_MS)}  {labels}  {line.line}")


def number(value: float) -> str:
    """The shortest text that reads back as the same float; whole numbers without a point."""
    if value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def stamp(t_ms: int) -> str:
    """RFC 3339 with milliseconds, UTC."""
    return datetime.fromtimestamp(t_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
