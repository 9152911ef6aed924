"""`obskit watch`: runs the daemon, with a status table on a terminal and JSON lines otherwise."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from obskit.cli.options import config_option, show_problems, stop

if TYPE_CHECKING:
    from obskit.config import Config

ANY_PORT: Final = "127.0.0.1:0"
"""Where a run of a moment listens, so that it can be tried beside a daemon."""


@click.command()
@config_option
@click.option("--once", is_flag=True, help="Read, evaluate and deliver once, then end.")
@click.option("--dry-run", is_flag=True, help="Decide and print; send nothing, keep nothing.")
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    help="Instead of web.listen; port 0 takes a free one, as --once and --dry-run do.",
)
@click.option("--plain", is_flag=True, help="JSON lines instead of the status table, also on a terminal.")
@click.option("-v", "--verbose", is_flag=True, help="Log debug messages.")
def watch(*, config_path: Path, once: bool, dry_run: bool, listen: str | None, plain: bool, verbose: bool) -> None:
    """Run the daemon: collect, evaluate, deliver.

    SIGHUP or a changed file reloads the config; a wrong one is refused and the old one goes on. SIGTERM stops within
    10 seconds: what was decided and not delivered is delivered by the next start.

    With --dry-run the store is a new, empty one, and each message is printed with the receiver it was for.

    Exit codes: 0 ended well; 1 the config, the store or the port cannot be used, or with --once a collector could not
    be read or a message not be delivered; 2 wrong usage.

    \b
    Examples:
      obskit watch --dry-run --once
      obskit watch -c /etc/obskit/obskit.yaml
    """
    if not once:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be obeyed: what it would make us read we read now
    from obskit.cli.log_lines import log_to_stderr
    from obskit.config.sections import check_guarded

    table = sys.stdout.isatty() and not plain and not once
    log_to_stderr(verbose=verbose, readable=sys.stderr.isatty() and not plain)
    config = load(config_path)
    if listen is not None:
        try:
            check_guarded(listen, config.web.token)
        except ValueError as error:
            raise click.UsageError(f"--listen {error}") from None
    with asyncio.Runner() as runner:
        _leave(runner.run(_watch(config, once=once, dry_run=dry_run, listen=listen, table=table)))


def _leave(code: int) -> NoReturn:
    """End now: a thread in a dead receiver's socket or a name look-up cannot be ended, and Python would wait for it.

    The store is closed by then; what was not delivered is in it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def load(path: Path) -> Config:
    """The config; its problems are printed and end the command."""
    from obskit.config import load_config
    from obskit.errors import ConfigError

    try:
        return load_config(path)
    except ConfigError as error:
        show_problems(error.problems)
        stop(f"{path} cannot be used; obskit check {path} shows warnings too")


async def _watch(config: Config, *, once: bool, dry_run: bool, listen: str | None, table: bool) -> int:
    from obskit.clock import SystemClock
    from obskit.errors import ConfigError, ObskitError
    from obskit.watch import Daemon, Options
    from obskit.watch.memory import Pages, keep_heap_together, stay_small

    keep_heap_together()
    pages = Pages.of_this_process()
    if listen is None and (once or dry_run):
        listen = ANY_PORT
    daemon = Daemon(config, SystemClock(), Options(dry_run=dry_run, listen=listen))
    try:
        await daemon.start()
        small = asyncio.create_task(stay_small(pages, SystemClock()), name="memory")
        try:
            well = await daemon.once() if once else await _run(daemon, table=table)
        finally:
            small.cancel()
            await daemon.close()
    except ConfigError as error:
        stop("; ".join(problem.message for problem in error.problems))
    except ObskitError as error:
        stop(str(error))
    return 0 if well else 1


async def _run(daemon: Any, *, table: bool) -> bool:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    reloads: set[asyncio.Task[str]] = set()
    at_terminal = os.isatty(sys.stdout.fileno())

    def reload() -> None:
        if at_terminal and not os.isatty(sys.stdout.fileno()):
            ended.set()  # the signal's first meaning: the terminal was closed, and nobody would see us any more
            return
        task = asyncio.ensure_future(daemon.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    if not table:
        return bool(await daemon.run(ended))
    from obskit.cli.status_table import keep_showing

    return bool(await keep_showing(daemon, ended))
