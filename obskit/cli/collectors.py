"""`obskit collectors`: what is configured, and one read of it without storing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from obskit.cli.options import config_option, quiet_log, stop
from obskit.cli.tables import count, listed

if TYPE_CHECKING:
    from obskit.clock import Clock
    from obskit.collect import Captured, Check, Source


@click.group()
def collectors() -> None:
    """List collectors; read one once without storing."""


@collectors.command("list")
@config_option
def list_(config_path: Path) -> None:
    """The collectors that run, and the kinds that are not configured.

    \b
    Example:
      obskit collectors list
    """
    from obskit.collect import kind_names

    named = _named_sources(config_path)
    for name, _ in named:
        click.echo(name)
    used = {source.kind for _, source in named}
    click.echo(f"\nnot configured: {listed(kind for kind in kind_names() if kind not in used)}")


@collectors.command()
@click.argument("name")
@config_option
@click.option("--doctor", is_flag=True, help="Check access instead, and say how to mend what fails.")
def run(name: str, config_path: Path, doctor: bool) -> None:
    """Read collector NAME once and print what it finds; nothing is stored.

    Exit codes: 0 it could be read, 1 it could not (with --doctor: a check failed), 2 wrong usage.

    \b
    Examples:
      obskit collectors run redis
      obskit collectors run prometheus/api --doctor
    """
    from obskit.clock import SystemClock
    from obskit.model.problems import did_you_mean

    quiet_log()
    named = _named_sources(config_path)
    chosen = [(own, source) for own, source in named if name in (own, source.kind)]
    if not chosen:
        known = [own for own, _ in named]
        stop(f'no collector "{name}" is configured{did_you_mean(name, known)}; configured: {listed(known)}')
    read = _doctor if doctor else _read
    well = [read(own, source, SystemClock()) for own, source in chosen]
    raise SystemExit(0 if all(well) else 1)


def _named_sources(config_path: Path) -> list[tuple[str, Source]]:
    """Every collector that `obskit watch` would run, by its own name."""
    from obskit.cli.watch import load
    from obskit.collect import find_kind
    from obskit.watch.parts import sources_of

    return [(find_kind(source.kind).build(source.settings).name, source) for source in sources_of(load(config_path))]


def _read(name: str, source: Source, clock: Clock) -> bool:
    from obskit.collect import Captured, run_once
    from obskit.errors import CollectorError

    captured = Captured()
    try:
        asyncio.run(run_once(source, clock, captured))
    except CollectorError as error:
        if captured.batches:
            _show(name, captured)  # what could be read all the same
        click.echo(f"obskit: {name}: {error} ({error.reason}); see: obskit collectors run {name} --doctor", err=True)
        return False
    _show(name, captured)
    return True


def _show(name: str, captured: Captured) -> None:
    from obskit.cli.moments import stamp
    from obskit.cli.results import number

    for sample in captured.samples:
        click.echo(f"{sample.labels}  {number(sample.value)}")
    for record in captured.records:
        click.echo(f"{stamp(record.t_ns // 1_000_000)}  {record.stream}  {record.line}")
    found = f"{count(len(captured.samples), 'sample')}, {count(len(captured.records), 'line')}"
    click.echo(f"{name}: {found}; nothing was stored", err=True)


def _doctor(name: str, source: Source, clock: Clock) -> bool:
    checks = asyncio.run(_check(source, clock))
    for check in checks:
        click.echo(
            f"ok     {name}: {check.what}" if check.ok else f"WRONG  {name}: {check.what}\n       fix: {check.fix}"
        )
    return all(check.ok for check in checks)


async def _check(source: Source, clock: Clock) -> Sequence[Check]:
    from obskit.collect import find_kind

    return await find_kind(source.kind).doctor(source.settings, clock)
