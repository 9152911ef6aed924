"""`obskit heartbeat`: pings for a command. The command comes first: whatever is wrong with the pings, it runs as it would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from obskit.cli.options import find_config

if TYPE_CHECKING:
    from obskit.config import Config


@click.group()
def heartbeat() -> None:
    """Ping for a job: run a command and tell how it ended."""


@heartbeat.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--url", envvar="OBSKIT_PING_URL", help="The check's ping URL [default: $OBSKIT_PING_URL].")
@click.option("--name", help="Or the check's name in the config; obskit is asked where it listens.")
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Config file, with --name [default: $OBSKIT_CONFIG, ./obskit.yaml, /etc/obskit/obskit.yaml].",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def wrap(url: str | None, name: str | None, config_path: Path | None, command: tuple[str, ...]) -> None:
    """Run COMMAND between two pings.

    The first says that it starts, the second its exit status and the last 10 kB of its output.

    Exit code, output and input are COMMAND's; signals are passed on. Pings that fail are told on standard error, and
    nothing waits longer than 5 seconds for them. A COMMAND that a signal ends gives 128 and the signal's number, as in a
    shell; one that is not there 127, one that cannot be run 126.

    \b
    Examples:
      obskit heartbeat wrap --name nightly-backup -- pg_dump -f shop.sql shop
      obskit heartbeat wrap --url https://hc-ping.com/UUID -- ./sync.sh
    """
    from obskit.cli.wrapping import Pinger, run_wrapped

    if bool(url) == bool(name):
        raise click.UsageError("give either --url or --name")

    def address() -> str:
        return url or _ping_url(_config(config_path), name or "")

    raise SystemExit(run_wrapped(command, Pinger(address)))


def _config(path: Path | None) -> Config:
    from obskit.config import load_config

    return load_config(find_config(path))


def _ping_url(config: Config, name: str) -> str:
    """Where the check of this name is pinged, on this machine; LookupError when there is none."""
    from obskit.config.sections import parse_listen

    host, port = parse_listen(config.web.listen)
    at = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - looked for, not listened on
    for source in config.sources:
        if source.kind != "heartbeats":
            continue
        for check in source.settings.checks:
            if check.name == name:
                shown = f"[{at}]" if ":" in at else at
                return f"http://{shown}:{port}{source.settings.path_of(check)}"
    raise LookupError(f'no check "{name}" under heartbeats in {config.path}')
