"""`obskit silence`: keep alerts quiet for a while. In the store when no daemon has it, else through the daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from obskit.cli.daemon import request_daemon
from obskit.cli.moments import Span
from obskit.cli.options import OUTPUTS, config_option, stop
from obskit.cli.tables import age_text, print_rows

if TYPE_CHECKING:
    from obskit.config import Config
    from obskit.outbound import httpx
    from obskit.routing.silences import Silence, Silences
    from obskit.store.database import Database

T = TypeVar("T")


class When(click.ParamType[int]):
    """A time such as 2026-01-02T15:04:05Z, in Unix milliseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Unix milliseconds."""
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-01-02T15:04:05Z", param, ctx)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


@click.group()
def silence() -> None:
    """Keep alerts quiet for a while; list, change and end silences.

    What is kept quiet still fires, and still inhibits; it is only not told. Who was told that it fires is told its end.
    """


@silence.command()
@click.argument("matchers", nargs=-1, required=True)
@click.option("--comment", "-m", required=True, help="Why.")
@click.option("--author", "-a", help="Who [default: your user's name].")
@click.option("--duration", "-d", type=Span(), default="1h", show_default=True, help="For how long.")
@click.option("--start", type=When(), help="From when [default: now].")
@click.option("--end", type=When(), help="Until when, instead of --duration.")
@config_option
def add(  # noqa: PLR0913 - one for each option
    *,
    matchers: tuple[str, ...],
    comment: str,
    author: str | None,
    duration: int,
    start: int | None,
    end: int | None,
    config_path: Path,
) -> None:
    """Silence the alerts that satisfy all MATCHERS; prints the silence's id.

    \b
    Examples:
      obskit silence add alertname=DiskFull -m "a bigger disk comes" -d 2h
      obskit silence add 'queue=~"a|b"' -m move --end 2026-12-01T06:00Z
    """
    from getpass import getuser

    from obskit.cli.matchers import typed_matchers
    from obskit.clock import SystemClock
    from obskit.routing.silences import Silence

    starts_ms = SystemClock().now_ms() if start is None else start
    new = Silence(
        matchers=typed_matchers(matchers),
        starts_ms=starts_ms,
        ends_ms=starts_ms + duration if end is None else end,
        created_by=author or getuser(),
        comment=comment,
    )
    click.echo(_set(_config(config_path), new))


@silence.command()
@click.argument("matchers", nargs=-1)
@click.option("--expired", is_flag=True, help="Those that have ended, instead of the others.")
@click.option("--created-by", help="Those of one author.")
@click.option("--within", type=Span(), help="Those that end, or ended, within this time.")
@click.option("--quiet", "-q", is_flag=True, help="Only their ids.")
@click.option("--output", "-o", type=OUTPUTS, default="table", show_default=True)
@config_option
def query(  # noqa: PLR0913 - one for each option
    *,
    matchers: tuple[str, ...],
    expired: bool,
    created_by: str | None,
    within: int | None,
    quiet: bool,
    output: str,
    config_path: Path,
) -> None:
    """List silences: those that have all of MATCHERS, or all.

    \b
    Examples:
      obskit silence query
      obskit silence query alertname=DiskFull --expired -o json
    """
    from obskit.cli.matchers import typed_matchers
    from obskit.clock import SystemClock
    from obskit.routing.silences import SilenceState

    wanted, now_ms = set(typed_matchers(matchers)), SystemClock().now_ms()
    found = [
        each
        for each in _silences(_config(config_path))
        if wanted <= set(each.matchers)
        and (each.state(now_ms) is SilenceState.EXPIRED) is expired
        and created_by in (None, each.created_by)
        and (within is None or abs(each.ends_ms - now_ms) <= within)
    ]
    _show(found, now_ms, "ids" if quiet else output)


@silence.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@config_option
def expire(ids: tuple[str, ...], config_path: Path) -> None:
    """End silences now.

    \b
    Example:
      obskit silence expire $(obskit silence query -q alertname=DiskFull)
    """
    config = _config(config_path)
    for its_id in ids:
        _expire(config, its_id)


@silence.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--comment", "-m", help="Why.")
@click.option("--duration", "-d", type=Span(), help="For how long, from its start.")
@click.option("--start", type=When(), help="From when.")
@click.option("--end", type=When(), help="Until when.")
@config_option
def update(
    *,
    ids: tuple[str, ...],
    comment: str | None,
    duration: int | None,
    start: int | None,
    end: int | None,
    config_path: Path,
) -> None:
    """Change silences; prints their ids.

    A change that would rewrite what was silenced in the past ends the silence and makes a new one, with a new id.

    \b
    Example:
      obskit silence update 5f0c…-… -d 6h
    """
    config = _config(config_path)
    for its_id in ids:
        old = next((each for each in _silences(config) if each.id == its_id), None)
        if old is None:
            stop(f"{its_id}: silence not found")
        new = replace(old, starts_ms=start or old.starts_ms, comment=old.comment if comment is None else comment)
        if end is not None or duration is not None:
            new = replace(new, ends_ms=end if end is not None else new.starts_ms + (duration or 0))
        click.echo(_set(config, new))


@silence.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"), default="-")
@click.option("--force", "-f", is_flag=True, help="Add all of them as new ones.")
@config_option
def import_(file: IO[str], force: bool, config_path: Path) -> None:
    """Add the silences of a JSON FILE, as `query -o json` and amtool write it; prints their ids.

    \b
    Example:
      amtool silence query -o json | obskit silence import --force
    """
    from obskit.web.alertmanager_json import Refusal, read_silence

    try:
        listed = json.load(file)
    except ValueError as error:
        stop(f"{file.name}: not JSON: {error}")
    if not isinstance(listed, list):
        stop(f"{file.name}: not a list of silences")
    config = _config(config_path)
    for number, item in enumerate(listed, start=1):
        try:
            new = read_silence(json.dumps(item).encode())
        except Refusal as refusal:
            stop(f"{file.name}: silence {number}: {_words(refusal.payload)}")
        click.echo(_set(config, replace(new, id="") if force else new))


@silence.command()
@click.argument("matchers", nargs=-1, required=True)
@config_option
def preview(matchers: tuple[str, ...], config_path: Path) -> None:
    """The alerts that fire now and that a silence of MATCHERS would keep quiet.

    \b
    Example:
      obskit silence preview 'instance=~"web.*"'
    """
    from obskit.cli.matchers import typed_matchers
    from obskit.clock import SystemClock
    from obskit.model.matchers import match_all
    from obskit.routing.silences import Silences
    from obskit.routing.views import view_alerts

    wanted, config = typed_matchers(matchers), _config(config_path)
    now_ms = SystemClock().now_ms()
    with _reading(config) as database:
        views = view_alerts(database, config.policy, Silences(database, SystemClock()), now_ms)
    found = [view for view in views.values() if match_all(wanted, view.alert.labels)]
    if not found:
        click.echo("no alert that fires now would be silenced")
        return
    rows = [
        (view.alert.name, age_text(now_ms - view.alert.starts_ms), ",".join(view.receivers), _rest(view.alert.labels))
        for view in found
    ]
    print_rows([("ALERT", "FOR", "TOLD TO", "LABELS"), *rows])


def _rest(labels: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.without("alertname").items())


def _show(silences: list[Silence], now_ms: int, output: str) -> None:
    from obskit.web.alertmanager_json import silence_json, time_text

    if output == "json":
        click.echo(json.dumps([silence_json(each, now_ms) for each in silences], indent=2))
    elif output == "ids":
        for each in silences:
            click.echo(each.id)
    elif not silences:
        click.echo("no silence")
    else:
        rows = [
            (
                each.id,
                each.state(now_ms).value,
                time_text(each.ends_ms)[:16] + "Z",
                " ".join(map(str, each.matchers)),
                each.created_by,
                each.comment,
            )
            for each in silences
        ]
        print_rows([("ID", "STATE", "ENDS", "MATCHERS", "BY", "COMMENT"), *rows])


# The store, or the daemon that has it


def _config(path: Path) -> Config:
    from obskit.cli.watch import load

    return load(path)


@contextmanager
def _reading(config: Config) -> Iterator[Database]:
    """The store's database, for reading beside a daemon."""
    from obskit.errors import StoreError
    from obskit.store.database import Database

    try:
        database = Database.open_readonly(config.store.path)
    except StoreError as error:
        stop(str(error))
    try:
        yield database
    finally:
        asyncio.run(database.close())


def _silences(config: Config) -> list[Silence]:
    """All of them, in the order they are listed."""
    from obskit.clock import SystemClock
    from obskit.routing.silences import Silences

    with _reading(config) as database:
        return Silences(database, SystemClock()).all()


def _set(config: Config, new: Silence) -> str:
    from obskit.web.alertmanager_json import silence_json

    def ask() -> str:
        body = silence_json(new, 0)
        answer = request_daemon(config, "POST", "/api/v2/silences", body)
        if answer.status_code != 200:
            stop(_words_of(answer))
        return str(answer.json()["silenceID"])

    return _here_or(config, lambda silences: silences.set(new), ask)


def _expire(config: Config, its_id: str) -> None:
    def ask() -> None:
        answer = request_daemon(config, "DELETE", f"/api/v2/silence/{its_id}")
        if answer.status_code == 404:
            stop(f"{its_id}: silence not found")
        if answer.status_code != 200:
            stop(_words_of(answer))

    _here_or(config, lambda silences: silences.expire(its_id), ask)


def _here_or(config: Config, here: Callable[[Silences], Awaitable[T]], ask: Callable[[], T]) -> T:
    """In the store; through the daemon when that has it."""
    from obskit.errors import StoreError, StoreLocked
    from obskit.routing.silences import SilenceRefused, SilenceUnknown

    try:
        return asyncio.run(_change(config, here))
    except StoreLocked:
        return ask()
    except (SilenceRefused, SilenceUnknown, StoreError) as error:
        stop(str(error))


async def _change(config: Config, here: Callable[[Silences], Awaitable[T]]) -> T:
    from obskit.clock import SystemClock
    from obskit.routing.silences import Silences
    from obskit.store.database import Database

    await Database.open_readonly(config.store.path).close()  # StoreError where there is none: none is made
    database = Database.open(config.store.path)
    try:
        return await here(Silences(database, SystemClock()))
    finally:
        await database.close()


def _words_of(answer: httpx.Response) -> str:
    try:
        return _words(answer.json())
    except ValueError:
        return f"HTTP {answer.status_code}"


def _words(payload: Any) -> str:
    return str(payload["message"] if isinstance(payload, dict) else payload)
