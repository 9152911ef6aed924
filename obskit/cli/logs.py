"""`obskit logs`: lines of all sources in one stream, as they come (`tail`) or by a query, from the store's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from obskit.cli.interruption import interruptible
from obskit.cli.log_patterns import patterns
from obskit.cli.moments import Moment, Span, check_range
from obskit.cli.options import config_option
from obskit.cli.results import query_errors

HOUR_MS: Final = 3_600_000
OUTPUTS: Final = click.Choice(["table", "json", "raw"])
LINES: Final = 10
"""How much of the past `tail` shows when it is not told."""


def output_options(command: Any) -> Any:
    """`-o/--output`, and `--json` and `--raw` for short."""
    for option in (
        click.option("--raw", "output", flag_value="raw", help="The lines alone, as they came."),
        click.option("--json", "output", flag_value="json", help="One JSON object per line."),
        click.option("-o", "--output", type=OUTPUTS, default="table", show_default=True),
    ):
        command = option(command)
    return command


@click.group()
def logs() -> None:
    """Follow and search the lines of all sources.

    Log lines and events; times are UTC.
    """


@logs.command()
@click.argument("selection", default="", metavar="[LOGQL]")
@config_option
@click.option("--since", type=Moment(), help="First all lines from here (10m, a time).")
@click.option("-n", "--lines", type=click.IntRange(0), help="First so many lines of the past [default: 10].")
@output_options
def tail(*, selection: str, config_path: Path, since: int | None, lines: int | None, output: str) -> None:
    """Show lines as they come, of all sources in one stream, until Ctrl-C.

    LOGQL is a selector, with stages behind it if you like; stages alone look at every stream, a bare word is an app.
    A terminal shows the message of a JSON line, and at most 1,000 lines a second: it says how many it skipped. A pipe
    gets every line, with all its labels.

    Exit codes: 130 after Ctrl-C, 141 when the pipe was closed, 1 no store or a wrong query, 2 wrong usage.

    \b
    Examples:
      obskit logs tail
      obskit logs tail api --since 10m
      obskit logs tail '|= "timeout"'
      obskit logs tail '{source="fly"} | json | status >= 500' --json
    """
    from obskit.cli.log_tail import tail_store
    from obskit.clock import SystemClock

    now_ms = SystemClock().now_ms()
    if since is None:
        since, lines = now_ms - HOUR_MS, LINES if lines is None else lines
    if since > now_ms:
        raise click.UsageError("--since lies in the future")
    with interruptible(), query_errors(selection):
        tail_store(config_path, selection, since_ms=since, limit=lines, output=output)


@logs.command()
@click.argument("expression", metavar="LOGQL")
@config_option
@click.option("--since", "--from", type=Moment(), help="From here (15m, a time) … [default: 1h].")
@click.option("--until", "--to", type=Moment(), default="now", help="… to here [default: now].")
@click.option("--step", type=Span(), help="Between the points of a metric query over a range.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Lines to show at most.")
@click.option(
    "--direction",
    type=click.Choice(["backward", "forward"]),
    default="backward",
    show_default=True,
    help="Newest or oldest lines first.",
)
@output_options
def query(  # noqa: PLR0913 - one per option
    *,
    expression: str,
    config_path: Path,
    since: int | None,
    until: int,
    step: int | None,
    limit: int,
    direction: str,
    output: str,
) -> None:
    """Search lines, or evaluate a metric query: at --until, or over a range with --since or --step.

    Lines are shown as they are found. A long scan tells on a terminal how far it is; Ctrl-C ends it. The same command
    stands as `obskit query logql` beside that for metrics.

    \b
    Examples:
      obskit logs query '{app="api"} |= "error"' --since 15m
      obskit logs query '{source="fly"} | json | status >= 500' --since 1d --json
      obskit logs query 'sum by (app) (rate({source="fly"}[5m]))' --since 6h
      obskit query logql '{app="api"}'
    """
    from obskit.cli.log_search import Search, search

    from_ms = until - HOUR_MS if since is None else since
    check_range(from_ms, until, 1 if step is None else step)
    asked = Search(
        expression,
        from_ms,
        until,
        step_ms=step,
        instant=since is None and step is None,
        limit=limit,
        newest_first=direction == "backward",
    )
    with interruptible(), query_errors(expression):
        search(config_path, asked, output)


logs.add_command(patterns)
