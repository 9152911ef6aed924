"""`obskit outbox`: what waits or failed; the daemon sends it again when it is told to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from obskit.cli.options import config_option, stop
from obskit.cli.store import open_store

if TYPE_CHECKING:
    from obskit.config import Config


@click.group()
def outbox() -> None:
    """List what waits or failed; send it again, or drop it."""


@outbox.command("list")
@config_option
@click.option("--state", type=click.Choice(["waiting", "dead", "sent"]), default="waiting", show_default=True)
def list_(config_path: Path, state: str) -> None:
    """Messages that wait, were given up (dead), or arrived (sent; kept for a week)."""
    from obskit.cli.query import stamp
    from obskit.outbox import RowState, read_rows

    with open_store(config_path) as store:
        rows = read_rows(store.database, RowState(state), limit=200)
    for row in rows:
        why = f"  {row.reason}: {row.detail}" if row.reason else ""
        action = row.action
        click.echo(
            f"{row.id}  {stamp(row.created_ms)}  {action.destination}  {action.step}  {row.attempts} attempts{why}"
        )
    if not rows:
        click.echo(f"nothing is {state}")


@outbox.command()
@click.argument("row", type=int, metavar="ID")
@config_option
def retry(row: int, config_path: Path) -> None:
    """Try ID again now."""
    _change(row, config_path, "retry")


@outbox.command()
@click.argument("row", type=int, metavar="ID")
@config_option
def drop(row: int, config_path: Path) -> None:
    """Give ID up for good."""
    _change(row, config_path, "drop")


def _change(row: int, config_path: Path, what: str) -> None:
    """In the store when no daemon has it, else through the daemon that has."""
    from obskit.cli.watch import load
    from obskit.errors import StoreError, StoreLocked

    config = load(config_path)
    try:
        done = asyncio.run(_change_here(config, row, what))
    except StoreLocked:
        done = _ask_daemon(config, row, what)
    except StoreError as error:
        stop(str(error))
    if not done:
        stop(f"{row} is not there, or nothing can be changed about it")
    click.echo(f"{row}: {'is tried again' if what == 'retry' else 'dropped'}")


async def _change_here(config: Config, row: int, what: str) -> bool:
    from obskit.clock import SystemClock
    from obskit.outbox import Outbox
    from obskit.store.database import Database

    database = Database.open(config.store.path)
    try:
        box = Outbox(database, SystemClock(), {})
        return await (box.retry(row) if what == "retry" else box.drop(row))
    finally:
        await database.close()


def _ask_daemon(config: Config, row: int, what: str) -> bool:
    from obskit.outbound import httpx

    token = config.web.token
    headers = {"Authorization": f"Bearer {token.reveal()}"} if token else {}
    try:
        answer = httpx.post(f"http://{config.web.listen}/-/outbox/{row}/{what}", headers=headers, timeout=10)
    except httpx.HTTPError as error:
        stop(f"obskit watch holds the store but does not answer on {config.web.listen}: {type(error).__name__}")
    return bool(answer.status_code == 200)
