"""`obskit query`: PromQL and LogQL from the shell, over the store's files; the daemon may run meanwhile.

LogQL is asked by `obskit logs query`, which stands here under a second name.
"""

from __future__ import annotations

from pathlib import Path

import click

from obskit.cli.logs import query as logs_query
from obskit.cli.moments import Moment, Span, check_range
from obskit.cli.options import OUTPUTS, config_option
from obskit.cli.results import query_errors, show
from obskit.cli.store import open_configured


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

    check_range(since, until, step)
    with open_configured(config_path) as (config, store), query_errors(expression):
        general = config.general
        limits = Limits(general.query_max_samples, timeout_s=general.query_timeout / 1000)
        engine = Engine(store.metrics, limits=limits)
        result = engine.instant(expression, at) if since is None else engine.range(expression, since, until, step)
        show(result, output)


query.add_command(logs_query, "logql")
