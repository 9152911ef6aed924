"""`obskit ack` and `obskit unack`: in the store when no daemon has it, else through the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from obskit.cli.daemon import request_daemon
from obskit.cli.options import config_option, stop
from obskit.cli.tables import count

if TYPE_CHECKING:
    from obskit.config import Config
    from obskit.routing.acks import Acks

_SIGNS: Final = "=~!"


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="GROUP|LABEL=VALUE...")
@click.option("--by", help="Who takes them on [default: your user's name].")
@click.option("--note", "-m", default="", help="What others should know.")
@config_option
def ack(words: tuple[str, ...], by: str | None, note: str, config_path: Path) -> None:
    """Take alerts on: nothing of them is repeated or escalated.

    It counts for the whole group, and its messages say so. A group is meant by its key or its incident, by an alert's
    name, or by labels that an alert in it has. It is open again when it ends, or when something worse fires in it.

    \b
    Examples:
      obskit ack alertname=DiskFull -m "on it"
      obskit ack 3f9a6c01d2b4
    """
    from getpass import getuser

    _say("ack", words, by or getuser(), note, config_path)


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="GROUP|LABEL=VALUE...")
@click.option("--by", help="Who lets go of them [default: your user's name].")
@config_option
def unack(words: tuple[str, ...], by: str | None, config_path: Path) -> None:
    """Let go of alerts that somebody has taken on.

    \b
    Example:
      obskit unack alertname=DiskFull
    """
    from getpass import getuser

    _say("unack", words, by or getuser(), "", config_path)


def _say(what: str, words: Sequence[str], by: str, note: str, config_path: Path) -> None:
    from obskit.cli.matchers import typed_matchers
    from obskit.cli.watch import load
    from obskit.errors import StoreError, StoreLocked

    config = load(config_path)
    group = words[0] if len(words) == 1 and _names_a_group(words[0]) else ""
    matchers = () if group.startswith("{") else typed_matchers(words)

    async def here(acks: Acks) -> list[str]:
        if what == "ack":
            return await acks.ack(group, matchers, by=by, note=note)
        return await acks.unack(group, matchers, by=by)

    try:
        groups = asyncio.run(_in_store(config, here))
    except StoreLocked:
        said = {"group": group, "matchers": [str(each) for each in matchers], "by": by, "note": note}
        groups = _ask(config, what, said)
    except StoreError as error:
        stop(str(error))
    if not groups:
        stop("no open group is meant: see obskit alerts; what nobody was told of yet cannot be acked")
    click.echo(f"{count(len(groups), 'group')} {what}ed by {by}: {', '.join(groups)}")


def _names_a_group(word: str) -> bool:
    """A group's key begins with its route's; a word without an operator is an incident, or an alert's name."""
    return word.startswith("{") or not any(sign in word for sign in _SIGNS)


async def _in_store(config: Config, say: Callable[[Acks], Awaitable[list[str]]]) -> list[str]:
    from obskit.clock import SystemClock
    from obskit.routing.acks import Acks
    from obskit.store.database import Database

    await Database.open_readonly(config.store.path).close()  # StoreError where there is none: none is made
    database = Database.open(config.store.path)
    try:
        return await say(Acks(database, SystemClock()))
    finally:
        await database.close()


def _ask(config: Config, what: str, said: Mapping[str, object]) -> list[str]:
    answer = request_daemon(config, "POST", f"/-/{what}", said)
    if answer.status_code != 200:
        stop(f"what answers on {config.web.listen} refuses: {answer.text.strip()[:300]}")
    return [str(each) for each in answer.json()["groups"]]
