"""`obskit collectors`: what is configured, and one read of it without storing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from obskit.cli.options import config_option, stop
from obskit.cli.watch import load

if TYPE_CHECKING:
    from obskit.clock import Clock
    from obskit.collect import Check, Source


@click.group()
def collectors() -> None:
    """List collectors; read one once without storing."""


@collectors.command("list")
@config_option
def list_(config_path: Path) -> None:
    """The configured collectors, and the kinds there are."""
    from obskit.collect import find_kind, kind_names

    config = load(config_path)
    names = [find_kind(source.kind).build(source.settings).name for source in config.sources]
    for name in names:
        click.echo(name)
    unused = [kind for kind in kind_names() if kind not in {source.kind for source in config.sources}]
    click.echo(
        f"\nnot configured: {', '.join(unused)}" if names else f"none is configured; there are: {', '.join(unused)}"
    )


@collectors.command()
@click.argument("name")
@config_option
@click.option("--doctor", is_flag=True, help="Check access instead, and say how to mend what fails.")
def run(name: str, config_path: Path, doctor: bool) -> None:
    """Read collector NAME once and print what it finds; nothing is stored.

    \b
    Examples:
      obskit collectors run redis
      obskit collectors run prometheus/api --doctor
    """
    from obskit.clock import SystemClock
    from obskit.collect import find_kind, run_once
    from obskit.errors import CollectorError
    from obskit.model.problems import did_you_mean

    config = load(config_path)
    named = [(find_kind(source.kind).build(source.settings).name, source) for source in config.sources]
    chosen = [source for own, source in named if name in (own, source.kind)]
    if not chosen:
        known = [own for own, _ in named]
        stop(f"no collector {name!r} is configured{did_you_mean(name, known)}: there are {', '.join(known) or 'none'}")
    clock = SystemClock()
    for source in chosen:
        if doctor:
            _print_checks(asyncio.run(_doctor(source, clock)))
            continue
        try:
            captured = asyncio.run(run_once(source, clock))
        except CollectorError as error:
            stop(f"{error} ({error.reason}); try --doctor")
        from obskit.cli.query import number, stamp

        for sample in captured.samples:
            click.echo(f"{sample.labels} {number(sample.value)}")
        for record in captured.records:
            click.echo(f"{stamp(record.t_ns // 1_000_000)} {record.stream} {record.line}")
        click.echo(f"{len(captured.samples)} samples, {len(captured.records)} lines; nothing was stored", err=True)


async def _doctor(source: Source, clock: Clock) -> Sequence[Check]:
    from obskit.collect import find_kind

    return await find_kind(source.kind).doctor(source.settings, clock)


def _print_checks(checks: Sequence[Check]) -> None:
    wrong = 0
    for check in checks:
        wrong += not check.ok
        click.echo(f"ok    {check.what}" if check.ok else f"WRONG {check.what}\n      fix: {check.fix}")
    if wrong:
        raise SystemExit(1)
