"""`obskit status` and `obskit alerts`: how the daemon stands, read from its store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from obskit.cli.alert_care import care_text, with_care
from obskit.cli.options import OUTPUTS, config_option
from obskit.cli.store import open_configured, open_store
from obskit.cli.tables import age_text, count, print_rows

if TYPE_CHECKING:
    from obskit.model.labels import Labels
    from obskit.store.embedded import EmbeddedStore

FRESH_MS: Final = 60_000
"""Own metrics older than this are of a daemon that has stopped."""
LOOK_BACK_MS: Final = 7 * 86_400_000
"""How old what a stopped daemon last knew may be, to be shown still."""


@click.command()
@config_option
@click.option("-o", "--output", type=OUTPUTS, default="table", show_default=True)
def status(config_path: Path, output: str) -> None:
    """What is up, how old its data is, and what waits to be delivered.

    Exit codes: 0 all is well; 1 the daemon does not run, a target is down or a message was given up; 2 wrong usage.

    \b
    Examples:
      obskit status
      obskit status -o json
    """
    from obskit.clock import SystemClock

    now_ms = SystemClock().now_ms()
    with open_store(config_path) as store:
        found = _status(store, now_ms)
    if output == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        _print_status(found, now_ms)
    down = [target for target in found["targets"] if not target["up"]]
    raise SystemExit(1 if down or not found["running"] or found["outbox"]["dead"] else 0)


@click.command()
@config_option
@click.option("--all", "everything", is_flag=True, help="Also those that were resolved lately.")
@click.option("-o", "--output", type=OUTPUTS, default="table", show_default=True)
def alerts(config_path: Path, everything: bool, output: str) -> None:
    """List the alerts that are pending or firing.

    TAKEN CARE OF says who has acked them, and what keeps them quiet.

    \b
    Examples:
      obskit alerts
      obskit alerts --all -o json
    """
    from obskit.clock import SystemClock

    now_ms = SystemClock().now_ms()
    with open_configured(config_path) as (config, store):
        found = with_care(_alerts(store, everything=everything), config, store.database, now_ms)
        seen_ms = last_seen_ms(store, now_ms)
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    if not runs(seen_ms, now_ms):
        click.echo(_stopped(seen_ms, now_ms), err=True)
    if not found:
        click.echo("no alert is pending or firing")
        return
    titles = ("STATE", "ALERT", "SEVERITY", "SINCE", "VALUE", "TAKEN CARE OF", "LABELS")
    print_rows([titles, *(_row(alert, now_ms) for alert in found)])


def _row(alert: dict[str, Any], now_ms: int) -> tuple[str, ...]:
    labels = dict(alert["labels"])
    name, severity = labels.pop("alertname", ""), labels.pop("severity", "-")
    rest = ", ".join(f"{key}={value}" for key, value in labels.items())
    began_ms = alert["resolved_ms"] or alert["fired_ms"] or alert["active_ms"]
    since, care = age_text(now_ms - began_ms), care_text(alert, now_ms)
    return alert["state"], name, severity, since, _short(alert["value"]), care, rest


def _short(value: str) -> str:
    return f"{float(value):.6g}" if value else "-"


def _status(store: EmbeddedStore, now_ms: int) -> dict[str, Any]:
    from obskit.outbox import read_stats

    stats = read_stats(store.database, now_ms)
    seen_ms = last_seen_ms(store, now_ms)
    # A daemon that has stopped is shown as it was when it last wrote.
    at_ms = now_ms if seen_ms is None else min(now_ms, seen_ms)
    states = [alert["state"] for alert in _alerts(store, everything=False)]
    return {
        "running": runs(seen_ms, now_ms),
        "last_seen_ms": seen_ms,
        "targets": _targets(store, at_ms),
        "alerts": {"firing": states.count("firing"), "pending": states.count("pending")},
        "blind_rules": sorted(labels.get("rule") for labels, _ in _instant(store, "obskit_rule_blind == 1", at_ms)),
        "outbox": {"waiting": sum(stats.waiting.values()), "dead": stats.dead},
    }


def _targets(store: EmbeddedStore, at_ms: int) -> list[dict[str, Any]]:
    success = _by_target(store, "obskit_collector_last_success_timestamp_seconds", at_ms)
    age = _by_target(store, "obskit_collector_data_age_seconds", at_ms)
    return [
        {
            "collector": key[0],
            "target": key[1],
            "up": value == 1,
            "last_success_ms": round(success[key] * 1000) if key in success else None,
            "data_age_s": age.get(key),
        }
        for key, value in sorted(_by_target(store, "obskit_collector_up", at_ms).items())
    ]


def _by_target(store: EmbeddedStore, metric: str, at_ms: int) -> dict[tuple[str, str], float]:
    return {
        (labels.get("collector", ""), labels.get("target", "")): value
        for labels, value in _instant(store, metric, at_ms)
    }


def _instant(store: EmbeddedStore, expression: str, at_ms: int) -> list[tuple[Labels, float]]:
    from obskit.model.results import Vector
    from obskit.promql.engine import Engine

    value = Engine(store.metrics).instant(expression, at_ms).value
    return [(element.labels, element.value) for element in value.elements] if isinstance(value, Vector) else []


def last_seen_ms(store: EmbeddedStore, now_ms: int) -> int | None:
    """When a daemon last stored its own metrics; None when none did lately."""
    from obskit.model.labels import NAME
    from obskit.model.matchers import Matcher, MatchOp

    own = [Matcher(NAME, MatchOp.EQUAL, "obskit_build_info")]
    for back_ms in (FRESH_MS, LOOK_BACK_MS):  # most often the first, small look is enough
        found = store.metrics.select(own, now_ms - back_ms, now_ms)
        if len(found):
            return int(found.times_ms.max())
    return None


def runs(seen_ms: int | None, now_ms: int) -> bool:
    """Whether a daemon runs that was last seen then."""
    return seen_ms is not None and now_ms - seen_ms < FRESH_MS


def _stopped(seen_ms: int | None, now_ms: int) -> str:
    if seen_ms is None:
        return "obskit watch does not run"
    return f"obskit watch does not run: this is what it knew {age_text(now_ms - seen_ms)} ago"


def _alerts(store: EmbeddedStore, *, everything: bool) -> list[dict[str, Any]]:
    from obskit.cli.results import number

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
            "value": number(value) if value is not None else "",
            "active_ms": active_ms,
            "fired_ms": fired_ms,
            "resolved_ms": resolved_ms,
        }
        for labels, annotations, state, value, active_ms, fired_ms, resolved_ms in rows
    ]


def _print_status(found: dict[str, Any], now_ms: int) -> None:
    if not found["running"]:
        click.echo(f"{_stopped(found['last_seen_ms'], now_ms)}\n")
    rows = [("COLLECTOR", "TARGET", "STATE", "LAST READ", "NEWEST DATA")]
    for target in found["targets"]:
        last, age = target["last_success_ms"], target["data_age_s"]
        rows.append(
            (
                target["collector"],
                target["target"],
                "up" if target["up"] else "DOWN",
                "never" if last is None else f"{age_text(found['last_seen_ms'] - last)} ago",
                "none yet" if age is None else f"{age_text(age * 1000)} old",
            )
        )
    if len(rows) > 1:
        print_rows(rows)
    else:
        click.echo("nothing was collected yet")
    if found["blind_rules"]:
        click.echo(f"\nblind rules (they look for series that do not exist): {', '.join(found['blind_rules'])}")
    alerts, outbox = found["alerts"], found["outbox"]
    waiting = count(outbox["waiting"], "message")
    click.echo(
        f"\n{alerts['firing']} firing, {alerts['pending']} pending; {waiting} to deliver, {outbox['dead']} given up"
    )
