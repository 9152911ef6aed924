"""What `obskit logs query` does: lines as they are found, or the numbers of a metric query, with progress meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from obskit.cli.log_output import Printer, form_of
from obskit.cli.results import NO_DATA, show
from obskit.cli.scan_progress import ShownProgress
from obskit.cli.store import open_configured
from obskit.clock import NS_PER_MS, SystemClock
from obskit.logql.engine import Engine, LogLine
from obskit.logql.log_nodes import LogQuery
from obskit.logql.metric_nodes import Expr
from obskit.logql.parser import parse
from obskit.model.results import Result
from obskit.store.log_interface import Progress

_POINTS: Final = 60
_STEPS_S: Final = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for. A metric query is `instant` (at the end of the range), or has points from start to end."""

    expression: str
    start_ms: int
    end_ms: int
    step_ms: int | None
    instant: bool
    limit: int
    newest_first: bool


def search(config_path: Path, asked: Search, output: str) -> None:
    """Print what is found."""
    expr = parse(asked.expression)
    clock = SystemClock()
    with open_configured(config_path, patient=isinstance(expr, LogQuery)) as (_, store):
        progress = ShownProgress(clock, shown=sys.stderr.isatty())
        engine = Engine(store.logs, max_lines=asked.limit)
        try:
            if isinstance(expr, LogQuery):
                printer = Printer(form_of(output, terminal=sys.stdout.isatty()), clock, before=progress.clear)
                if not printer.show(_lines(engine, expr, asked, progress)):
                    progress.clear()
                    click.echo(NO_DATA, err=True)
            else:
                result = _numbers(engine, expr, asked, progress)
                progress.clear()
                show(result, output)
        finally:
            progress.clear()


def _lines(engine: Engine, query: LogQuery, asked: Search, progress: Progress) -> Iterator[LogLine]:
    start_ns, end_ns = asked.start_ms * NS_PER_MS, asked.end_ms * NS_PER_MS
    newest_first = asked.newest_first
    return engine.lines(query, start_ns, end_ns, limit=asked.limit, newest_first=newest_first, progress=progress)


def _numbers(engine: Engine, expr: Expr, asked: Search, progress: Progress) -> Result:
    if asked.instant:
        return engine.instant(expr, asked.end_ms * NS_PER_MS, progress=progress)
    step_ms = asked.step_ms or readable_step_ms(asked.end_ms - asked.start_ms)
    # At whole steps, so that the counts which the store keeps by minute can answer, and the same ones tomorrow.
    start_ms, end_ms = (at // step_ms * step_ms for at in (asked.start_ms, asked.end_ms))
    return engine.range(expr, start_ms * NS_PER_MS, end_ms * NS_PER_MS, step_ms * NS_PER_MS, progress=progress)


def readable_step_ms(span_ms: int) -> int:
    """A round step that gives about as many points as a line of a terminal can show."""
    return next((step * 1000 for step in _STEPS_S if span_ms // 1000 <= step * _POINTS), _STEPS_S[-1] * 1000)
