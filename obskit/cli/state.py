"""`obskit status` and `obskit alerts`: how the daemon stands, read from its store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from obskit.cli.options import config_option
from obskit.cli.store import open_store

if TYPE_CHECKING:
    from obskit.store.embedded import EmbeddedStore

FRESH_MS: Final = 60_000
"""Own metrics older than this are of a daemon that has stopped."""


@click.command()
@config_option
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(config_path: Path, output: str) -> None:
    """What is collected, how old it is, and what waits to be delivered.

    Exit code 1 when the daemon does not run, a target is down or a message was given up.

    \b
    Example:
      obskit status -o json
    """
    from obskit.clock import SystemClock

    with open_store(config_path) as store:
        now_ms = SystemClock().now_ms()
        found = _status(store, now_ms)
    if output == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        _print_status(found)
    down = [target for target in found["targets"] if not target["up"]]
    raise SystemExit(1 if down or not found["running"] or found["outbox"]["dead"] else 0)


@click.command()
@config_option
@click.option("--all", "everything", is_flag=True, help="Also those that were resolved lately.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def alerts(config_path: Path, everything: bool, output: str) -> None:
    """List the alerts that are pending or firing.

    \b
    Example:
      obskit alerts --all
    """
    from obskit.clock import SystemClock

    with open_store(config_path) as store:
        found = _alerts(store, everything=everything)
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("no alert is pending or firing")
        return
    now_ms = SystemClock().now_ms()
    rows = [("STATE", "ALERT", "SINCE", "VALUE", "LABELS")]
    for alert in found:
        labels = ", ".join(f"{name}={value}" for name, value in alert["labels"].items() if name != "alertname")
        since = _ago(now_ms - (alert["fired_ms"] or alert["active_ms"]))
        rows.append((alert["state"], alert["labels"].get("alertname", ""), since, alert["value"], labels))
    _print_rows(rows)


def _status(store: EmbeddedStore, now_ms: int) -> dict[str, Any]:
    from obskit.outbox import read_stats

    stats = read_stats(store.database, now_ms)
    up = _instant(store, "obskit_collector_up", now_ms)
    success = {
        _key(labels): value
        for labels, value in _instant(store, "obskit_collector_last_success_timestamp_seconds", now_ms)
    }
    age = {_key(labels): value for labels, value in _instant(store, "obskit_collector_data_age_seconds", now_ms)}
    newest_ms = _newest_own_sample_ms(store, now_ms)
    return {
        "running": newest_ms is not None and now_ms - newest_ms < FRESH_MS,
        "last_seen_ms": newest_ms,
        "targets": [
            {
                "collector": labels.get("collector"),
                "target": labels.get("target"),
                "up": value == 1,
                "last_success_ms": round(success[_key(labels)] * 1000) if _key(labels) in success else None,
                "data_age_s": age.get(_key(labels)),
            }
            for labels, value in up
        ],
        "alerts": len(_alerts(store, everything=False)),
        "outbox": {"waiting": sum(stats.waiting.values()), "dead": stats.dead},
    }


def _instant(store: EmbeddedStore, expression: str, now_ms: int) -> list[tuple[Any, float]]:
    from obskit.model.results import Vector
    from obskit.promql.engine import Engine

    value = Engine(store.metrics).instant(expression, now_ms).value
    return [(element.labels, element.value) for element in value.elements] if isinstance(value, Vector) else []


def _newest_own_sample_ms(store: EmbeddedStore, now_ms: int) -> int | None:
    found = _instant(store, "max(timestamp(obskit_build_info))", now_ms)
    return round(found[0][1] * 1000) if found else None


def _key(labels: Any) -> tuple[str, str]:
    return labels.get("collector"), labels.get("target")


def _alerts(store: EmbeddedStore, *, everything: bool) -> list[dict[str, Any]]:
    states = "" if everything else "WHERE state <> 'inactive'"
    rows = store.database.read(
        "SELECT labels, annotations, state, value, active_ms, fired_ms, resolved_ms FROM alert_state "  # noqa: S608
        f"{states} ORDER BY state = 'firing' DESC, active_ms"
    )
    return [
        {
            "labels": dict(json.loads(labels)),
            "annotations": dict(json.loads(annotations)),
            "state": "resolved" if state == "inactive" else state,
            "value": f"{value:g}" if value is not None else "",
            "active_ms": active_ms,
            "fired_ms": fired_ms,
            "resolved_ms": resolved_ms,
        }
        for labels, annotations, state, value, active_ms, fired_ms, resolved_ms in rows
    ]


def _print_status(found: dict[str, Any]) -> None:
    if not found["running"]:
        click.echo("obskit watch does not run: what follows is what it last knew\n")
    rows = [("COLLECTOR", "TARGET", "STATE", "LAST READ", "NEWEST DATA")]
    for target in found["targets"]:
        last, age = target["last_success_ms"], target["data_age_s"]
        rows.append(
            (
                target["collector"],
                target["target"],
                "up" if target["up"] else "DOWN",
                "never"
                if last is None or found["last_seen_ms"] is None
                else f"{_ago(found['last_seen_ms'] - last)} ago",
                "none yet" if age is None else f"{_ago(age * 1000)} old",
            )
        )
    _print_rows(rows)
    outbox = found["outbox"]
    click.echo(f"\n{found['alerts']} alerts, {outbox['waiting']} messages to deliver, {outbox['dead']} given up")


def _print_rows(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _ago(ms: float) -> str:
    from obskit.cli.status_table import age_text

    return age_text(round(ms))
