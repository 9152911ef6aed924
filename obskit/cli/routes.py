"""`obskit routes`: the routing tree, and who would hear of an alert with given labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from obskit.cli.options import config_option

if TYPE_CHECKING:
    from obskit.model.labels import Labels
    from obskit.routing.escalation import Step
    from obskit.routing.tree import Route


@click.group()
def routes() -> None:
    """Show the routing tree; tell who would hear of an alert."""


@routes.command()
@config_option
def show(config_path: Path) -> None:
    """The routing tree with what each route inherits.

    \b
    Example:
      obskit routes show
    """
    from obskit.cli.watch import load

    tree = load(config_path).policy.route
    for line in _lines(tree, "", ""):
        click.echo(line)


@routes.command()
@click.argument("labels", nargs=-1, required=True, metavar="LABEL=VALUE...")
@click.option("--verify.receivers", "expected", metavar="A,B", help="End with code 1 when others would hear of it.")
@click.option("--tree", "with_tree", is_flag=True, help="Also show the routes it takes.")
@config_option
def test(labels: tuple[str, ...], expected: str | None, with_tree: bool, config_path: Path) -> None:
    """Who would hear of an alert with these labels: the receivers, in the order of the tree.

    Exit codes are amtool's: 0 as expected, 1 not, 2 wrong usage.

    \b
    Examples:
      obskit routes test alertname=Disk severity=critical
      obskit routes test team=db --verify.receivers=pager,chat
    """
    from obskit.cli.matchers import typed_labels
    from obskit.cli.watch import load

    alert = typed_labels(labels)
    policy = load(config_path).policy
    taken = policy.route.match(alert)
    if with_tree:
        click.echo("Matching routes:")
        for line in _matching(policy.route, alert, ""):
            click.echo(line)
    found = ",".join(route.receiver for route in taken)
    click.echo(found)
    if expected and expected != found:
        click.echo("WARNING: Expected receivers did not match resolved receivers.")
        raise SystemExit(1)


def _lines(route: Route, before: str, below: str) -> Iterator[str]:
    yield f"{before}{_name(route)}  receiver: {route.receiver}{_details(route)}"
    for index, child in enumerate(route.routes):
        last = index == len(route.routes) - 1
        yield from _lines(child, f"{below}{'└── ' if last else '├── '}", f"{below}{'    ' if last else '│   '}")


def _matching(route: Route, alert: Labels, before: str) -> Iterator[str]:
    """The routes that the alert goes down, as deep as it goes."""
    yield f"{before}{_name(route)}"
    for child in route.routes:
        if child.match(alert):
            yield from _matching(child, alert, f"{before}    ")
            if not child.goes_on:
                return


def _name(route: Route) -> str:
    from obskit.model.alert_matchers import matchers_text

    return matchers_text(route.matchers) if route.matchers else "default-route" if route.key == "{}" else "{}"


def _step(step: Step) -> str:
    from obskit.model.durations import format_duration

    return f"{'+'.join(step.to)} after {format_duration(step.after_ms)} unless {step.unless.value}"


def _details(route: Route) -> str:
    from obskit.model.durations import format_duration

    by = "all labels" if route.group_by is None else ", ".join(sorted(route.group_by)) or "nothing"
    waits = (route.group_wait_ms, route.group_interval_ms, route.repeat_interval_ms)
    parts = [f"group by: {by}", f"waits: {'/'.join(map(format_duration, waits))}"]
    parts += ["continue"] if route.goes_on else []
    parts += [f"escalates: {', '.join(map(_step, route.escalate))}"] if route.escalate else []
    parts += [f"repeats grow: {route.growth.factor:g}"] if route.growth.factor > 1 else []
    parts += [f"mute: {', '.join(route.mutes)}"] if route.mutes else []
    parts += [f"active: {', '.join(route.actives)}"] if route.actives else []
    return "".join(f"  {part}" for part in parts)
