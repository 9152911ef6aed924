"""`obskit watch`: runs the daemon, with a status table on a terminal and JSON lines otherwise."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from obskit.cli.options import config_option, show_problems, stop

if TYPE_CHECKING:
    from obskit.config import Config


@click.command()
@config_option
@click.option("--once", is_flag=True, help="Read, evaluate and deliver once, then end.")
@click.option("--dry-run", is_flag=True, help="Decide and print; send nothing, keep nothing.")
@click.option("--listen", metavar="ADDRESS:PORT", help="Instead of web.listen; 127.0.0.1:0 takes a free port.")
@click.option("--plain", is_flag=True, help="JSON lines instead of the status table, also on a terminal.")
@click.option("-v", "--verbose", is_flag=True, help="Log debug messages.")
def watch(*, config_path: Path, once: bool, dry_run: bool, listen: str | None, plain: bool, verbose: bool) -> None:
    """Run the daemon: collect, evaluate, deliver.

    SIGHUP or a changed file reloads the config; a wrong one is refused and the old one goes on. SIGTERM stops within
    10 seconds: what was decided and not delivered is delivered by the next start.

    \b
    Examples:
      obskit watch --dry-run
      obskit watch -c /etc/obskit/obskit.yaml
    """
    # One thread of linear algebra is more than we use; each further one would keep memory for nothing.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from obskit.cli.log_lines import log_to_stderr
    from obskit.config.sections import parse_listen

    table = sys.stdout.isatty() and not plain and not once
    log_to_stderr(verbose=verbose, readable=sys.stderr.isatty() and not plain)
    config = load(config_path)
    if listen is not None:
        try:
            parse_listen(listen)
        except ValueError as error:
            raise click.UsageError(f"--listen {error}") from None
    sys.exit(asyncio.run(_watch(config, once=once, dry_run=dry_run, listen=listen, table=table)))


def load(path: Path) -> Config:
    """The config; its problems are printed and end the command."""
    from obskit.config import load_config
    from obskit.errors import ConfigError

    try:
        return load_config(path)
    except ConfigError as error:
        show_problems(error.problems)
        stop(f"{path} cannot be used: see above, or run obskit check {path}")


async def _watch(config: Config, *, once: bool, dry_run: bool, listen: str | None, table: bool) -> int:
    from obskit.clock import SystemClock
    from obskit.errors import ConfigError, ObskitError
    from obskit.watch import Daemon, Options
    from obskit.watch.memory import Pages, stay_small

    pages = Pages.of_this_process()
    daemon = Daemon(config, SystemClock(), Options(dry_run=dry_run, listen=listen))
    try:
        await daemon.start()
    except ConfigError as error:
        stop("; ".join(problem.message for problem in error.problems))
    except ObskitError as error:
        stop(str(error))
    small = asyncio.create_task(stay_small(pages, SystemClock()), name="memory")
    try:
        if once:
            well = await daemon.once()
        else:
            well = await _run(daemon, table=table)
    finally:
        small.cancel()
        await daemon.close()
    return 0 if well else 1


async def _run(daemon: Any, *, table: bool) -> bool:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    reloads: set[asyncio.Task[str]] = set()

    def reload() -> None:
        task = asyncio.ensure_future(daemon.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    if not table:
        return bool(await daemon.run(ended))
    from obskit.cli.status_table import keep_showing

    return bool(await keep_showing(daemon, ended))
