"""`obskit errors`: error groups, which the daemon keeps; and what a person decides about one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from obskit.cli.daemon import ask_daemon
from obskit.cli.log_output import safe, safe_lines
from obskit.cli.moments import Span, stamp
from obskit.cli.options import OUTPUTS, config_option, stop
from obskit.cli.sparklines import bars_of_counts
from obskit.cli.store import open_store
from obskit.cli.tables import age_text, print_rows
from obskit.clock import NS_PER_MS

if TYPE_CHECKING:
    from obskit.config import Config
    from obskit.grouping.issues import Issue

SHOWN: Final = 100
_HOURS: Final = 24
_HOUR_MS: Final = 3_600_000
_DONE: Final = {"resolve": "resolved", "mute": "muted", "reopen": "open again"}


@click.group()
def errors() -> None:
    """Error groups: list and show them; resolve, mute, reopen one."""


@errors.command("list")
@config_option
@click.option(
    "--state",
    type=click.Choice(["open", "regressed", "resolved", "muted", "all"]),
    help="Only these [default: open and regressed].",
)
@click.option("--app", help="Only of this program.")
@click.option("-o", "--output", type=OUTPUTS, default="table", show_default=True)
def list_(*, config_path: Path, state: str | None, app: str | None, output: str) -> None:
    """The groups, the last seen first.

    \b
    Examples:
      obskit errors list
      obskit errors list --state all --app api -o json
    """
    from obskit.clock import SystemClock

    wanted = {state} if state else {"open", "regressed"}
    found = [
        issue
        for issue in reversed(_read(config_path))
        if (state == "all" or issue.state in wanted) and app in (None, issue.app)
    ]
    now_ms = SystemClock().now_ms()
    if output == "json":
        for issue in found:
            click.echo(json.dumps(_as_json(issue), ensure_ascii=False))
    elif not found:
        click.echo("no such error group")
    else:
        head = ("ID", "STATE", "APP", "COUNT", "24 HOURS", "LAST", "TITLE")
        print_rows([head, *(_cells(issue, now_ms) for issue in found[:SHOWN])])
        if len(found) > SHOWN:
            click.echo(f"… and {len(found) - SHOWN} more")


@errors.command()
@click.argument("id_", metavar="ID")
@config_option
@click.option("-o", "--output", type=OUTPUTS, default="table", show_default=True)
def show(*, id_: str, config_path: Path, output: str) -> None:
    """What is known of ID, with sample lines.

    \b
    Example:
      obskit errors show 3fa9c1d207
    """
    issue = next((each for each in _read(config_path) if each.id == id_), None)
    if issue is None:
        stop(f"no error group {id_} (see obskit errors list --state all)")
    if output == "json":
        click.echo(json.dumps(_as_json(issue), ensure_ascii=False, indent=2))
        return
    releases = " … ".join(dict.fromkeys(filter(None, (issue.first_release, issue.last_release))))
    rows = [
        ("title", safe(issue.title)), ("where", safe(issue.culprit)), ("app", issue.app), ("state", issue.state.value),
        ("count", f"{issue.count:,}"), ("first", stamp(issue.first_ms)), ("last", stamp(issue.last_ms)),
        ("releases", releases), ("fingerprint", issue.fingerprint),
    ]  # fmt: skip
    print_rows([row for row in rows if row[1]])
    for sample in issue.samples:
        click.echo(f"\n#{sample.number}  {stamp(sample.t_ns // NS_PER_MS)}\n{safe_lines(sample.line)}")


@errors.command()
@click.argument("id_", metavar="ID")
@config_option
def resolve(id_: str, config_path: Path) -> None:
    """Done: ID is told of again when it is seen in a later release (without releases: when it is seen again).

    \b
    Example:
      obskit errors resolve 3fa9c1d207
    """
    _change(config_path, id_, "resolve")


@errors.command()
@click.argument("id_", metavar="ID")
@config_option
@click.option("--for", "duration_ms", type=Span(), help="How long [default: for good].")
def mute(id_: str, config_path: Path, duration_ms: int | None) -> None:
    """Do not tell of ID for a while.

    \b
    Example:
      obskit errors mute 3fa9c1d207 --for 7d
    """
    _change(config_path, id_, "mute", duration_ms)


@errors.command()
@click.argument("id_", metavar="ID")
@config_option
def reopen(id_: str, config_path: Path) -> None:
    """As if ID had been neither resolved nor muted.

    \b
    Example:
      obskit errors reopen 3fa9c1d207
    """
    _change(config_path, id_, "reopen")


def _read(config_path: Path) -> list[Issue]:
    from obskit.grouping.rows import read_issues

    with open_store(config_path) as store:
        return read_issues(store.database)


def _change(config_path: Path, id_: str, what: str, duration_ms: int | None = None) -> None:
    """In the store when no daemon has it, else through the daemon that has."""
    from obskit.cli.watch import load
    from obskit.clock import SystemClock
    from obskit.errors import StoreError, StoreLocked
    from obskit.grouping.issues import FOREVER

    config = load(config_path)
    until_ms = FOREVER if duration_ms is None else SystemClock().now_ms() + duration_ms
    try:
        changed = asyncio.run(_change_here(config, id_, what, until_ms))
    except StoreLocked:
        if not id_.isalnum():
            stop(f"no error group {id_}")
        query = "" if duration_ms is None else f"?until_ms={until_ms}"
        changed = ask_daemon(config, f"/-/errors/{id_}/{what}{query}")
    except StoreError as error:
        stop(str(error))
    if not changed:
        stop(f"no error group {id_} (see obskit errors list --state all)")
    click.echo(f"{id_}: {_DONE[what]}")


async def _change_here(config: Config, id_: str, what: str, until_ms: int) -> bool:
    from obskit.clock import SystemClock
    from obskit.grouping.keeper import change_issue
    from obskit.grouping.rows import read_issues, save_issues
    from obskit.store.database import Database

    await Database.open_readonly(config.store.path).close()  # StoreError where there is none: none is made
    database = Database.open(config.store.path)
    try:
        issue = next((each for each in read_issues(database) if each.id == id_), None)
        if issue is None:
            return False
        change_issue(issue, what, SystemClock().now_ms(), until_ms)
        await database.write(lambda tx: save_issues(tx, [issue]))
        return True
    finally:
        await database.close()


def _cells(issue: Issue, now_ms: int) -> tuple[object, ...]:
    newest = now_ms // _HOUR_MS
    hours = [issue.hours.get(hour, 0) for hour in range(newest - _HOURS + 1, newest + 1)]
    last = age_text(now_ms - issue.last_ms)
    return issue.id, issue.state.value, issue.app, f"{issue.count:,}", bars_of_counts(hours), last, safe(issue.title)


def _as_json(issue: Issue) -> dict[str, Any]:
    return {
        "id": issue.id,
        "app": issue.app,
        "kind": issue.kind,
        "title": issue.title,
        "culprit": issue.culprit,
        "level": issue.level,
        "state": issue.state.value,
        "count": issue.count,
        "first": stamp(issue.first_ms),
        "last": stamp(issue.last_ms),
        "first_release": issue.first_release,
        "last_release": issue.last_release,
        "fingerprint": issue.fingerprint,
        "hours": {stamp(hour * _HOUR_MS): number for hour, number in sorted(issue.hours.items())},
        "samples": [
            {"time": stamp(each.t_ns // NS_PER_MS), "stream": dict(each.stream), "line": each.line}
            for each in issue.samples
        ],
    }
