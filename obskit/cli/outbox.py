"""`obskit outbox`: what waits or failed; the daemon sends it again when it is told to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from obskit.cli.daemon import ask_daemon
from obskit.cli.options import config_option, stop
from obskit.cli.store import open_store
from obskit.cli.tables import age_text, print_rows

if TYPE_CHECKING:
    from obskit.config import Config
    from obskit.outbox import OutboxRow

SHOWN: Final = 200
_DONE: Final = {"retry": "is tried again", "drop": "dropped"}


@click.group()
def outbox() -> None:
    """List what waits or failed; send it again, or drop it."""


@outbox.command("list")
@config_option
@click.option("--state", type=click.Choice(["waiting", "dead", "sent"]), default="waiting", show_default=True)
def list_(config_path: Path, state: str) -> None:
    """Messages that wait, were given up (dead), or arrived (sent; kept for a week).

    \b
    Examples:
      obskit outbox list
      obskit outbox list --state dead
    """
    from obskit.clock import SystemClock
    from obskit.outbox import RowState, read_rows

    with open_store(config_path) as store:
        rows = read_rows(store.database, RowState(state), limit=SHOWN + 1)
    if not rows:
        click.echo(f"no message is {state}")
        return
    now_ms = SystemClock().now_ms()
    print_rows([("ID", "AGE", "TO", "STEP", "TRIES", "LAST ERROR"), *(_cells(row, now_ms) for row in rows[:SHOWN])])
    if len(rows) > SHOWN:
        click.echo(f"… and more: these are the oldest {SHOWN}")


def _cells(row: OutboxRow, now_ms: int) -> tuple[object, ...]:
    error = ": ".join(part for part in (row.reason, row.detail) if part)
    return row.id, age_text(now_ms - row.created_ms), row.action.destination, row.action.step, row.attempts, error


@outbox.command()
@click.argument("row", type=int, metavar="ID")
@config_option
def retry(row: int, config_path: Path) -> None:
    """Try ID again now: one that was given up, was dropped, or waits for its next try.

    \b
    Example:
      obskit outbox retry 17
    """
    _change(row, config_path, "retry")


@outbox.command()
@click.argument("row", type=int, metavar="ID")
@config_option
def drop(row: int, config_path: Path) -> None:
    """Give ID up for good.

    \b
    Example:
      obskit outbox drop 17
    """
    _change(row, config_path, "drop")


def _change(row: int, config_path: Path, what: str) -> None:
    """In the store when no daemon has it, else through the daemon that has."""
    from obskit.cli.watch import load
    from obskit.errors import StoreError, StoreLocked

    config = load(config_path)
    try:
        changed = asyncio.run(_change_here(config, row, what))
    except StoreLocked:
        changed = ask_daemon(config, f"/-/outbox/{row}/{what}")
    except StoreError as error:
        stop(str(error))
    if not changed:
        stop(f"message {row} cannot be changed: it has arrived, is on its way, or never was (see obskit outbox list)")
    click.echo(f"message {row}: {_DONE[what]}")


async def _change_here(config: Config, row: int, what: str) -> bool:
    from obskit.clock import SystemClock
    from obskit.outbox import Outbox
    from obskit.store.database import Database

    await Database.open_readonly(config.store.path).close()  # StoreError where there is none: none is made
    database = Database.open(config.store.path)
    try:
        box = Outbox(database, SystemClock(), {})
        return await (box.retry(row) if what == "retry" else box.drop(row))
    finally:
        await database.close()
