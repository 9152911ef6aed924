"""The table of `obskit watch` on a terminal, drawn to text."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from obskit.cli.status_table import SHOWN_ALERTS, SHOWN_TARGETS, render
from obskit.collect import TargetStatus
from obskit.model.alerts import ActiveAlert, AlertState
from obskit.model.labels import Labels
from obskit.outbox import OutboxStats
from obskit.rules.blind import BlindRule
from obskit.watch.overview import Overview

NOW_MS = 1_700_000_000_000
LONG = "http://api-2.a-very-long-machine-name.region.internal.example.com:9090/metrics"


def target(name: str, *, up: bool | None = True, error: str = "") -> TargetStatus:
    newest_ms = NOW_MS - 4_000 if up else None
    return TargetStatus("prometheus/api", name, up, newest_ms, newest_ms, 1_234_567 if up else 0, 0, error)


def alert(name: str, state: AlertState, summary: str = "") -> ActiveAlert:
    annotations = {"summary": summary} if summary else {}
    return ActiveAlert(Labels({"alertname": name, "queue": "jobs"}), annotations, state, 1.0, NOW_MS - 65_000)


def overview(
    *, targets: tuple[TargetStatus, ...] = (), alerts: tuple[ActiveAlert, ...] = (), dead: int = 0
) -> Overview:
    return Overview(
        now_ms=NOW_MS,
        started_ms=NOW_MS - 90_000_000,
        targets=targets,
        alerts=alerts,
        rules=48,
        failing_rules=1,
        outbox=OutboxStats({"ops/slack[0]": 3}, {"ops/slack[0]": 12.0}, dead, 0),
    )


def drawn(shown: Overview, width: int = 80, *, color: bool = False) -> list[str]:
    out = io.StringIO()
    system = "standard" if color else None
    Console(file=out, width=width, force_terminal=color, color_system=system).print(render(shown))  # type: ignore[arg-type]
    return [line.rstrip() for line in out.getvalue().splitlines()]


BUSY = overview(
    targets=(target("http://api-1:9090/metrics"), target(LONG, up=False, error=f"{LONG}: Connect\ncall failed")),
    alerts=(
        alert("CollectorDown", AlertState.FIRING, f"{LONG} cannot be read, and has not been for the last six minutes"),
        alert("Slow", AlertState.PENDING),
    ),
    dead=1,
)


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_each_thing_takes_one_line_that_fits(width: int) -> None:
    lines = drawn(BUSY, width)
    assert len(lines) == 10
    assert max(map(len, lines)) <= width


def test_it_is_readable_at_eighty_columns() -> None:
    assert drawn(BUSY) == [
        "",
        "   collector       target                                        data      items",
        "✗  prometheus/api  http://api-2.a-very-long-machine-name.r…  none yet          0",
        "●  prometheus/api  http://api-1:9090/metrics                   4s ago  1,234,567",
        "✗ prometheus/api: Connect call failed",
        "",
        "FIRING   CollectorDown    1m5s  http://api-2.a-very-long-machine-name.region.in…",
        'pending  Slow             1m5s  {queue="jobs"}',
        "",
        "1 firing · 3 to deliver, 1 given up · 48 rules, 1 failing · up 1d1h · Ctrl-C st…",
    ]


def test_blind_rules_are_counted() -> None:
    blind = replace(BUSY, blind_rules=(BlindRule("shop.yaml:QueueDeep", 'there is no metric "queue_dept"'),))
    assert "48 rules, 1 failing, 1 blind" in drawn(blind, width=120)[-1]
    assert 'blind     shop.yaml:QueueDeep: there is no metric "queue_dept"' in blind.as_text().splitlines()


def test_what_is_too_much_is_counted() -> None:
    many = overview(
        targets=tuple(target(f"t{number}") for number in range(SHOWN_TARGETS + 3)),
        alerts=tuple(alert(f"A{number}", AlertState.FIRING) for number in range(SHOWN_ALERTS + 2)),
    )
    lines = drawn(many)
    assert "   … and 3 more" in lines
    assert "… and 2 more" in lines


def test_targets_that_are_down_come_first_even_when_not_all_are_shown() -> None:
    targets = (*(target(f"t{number}") for number in range(SHOWN_TARGETS + 3)), target("lost", up=False, error="gone"))
    assert drawn(overview(targets=targets))[2].startswith("✗  prometheus/api  lost")


@pytest.mark.parametrize("name", ["[red]x[/red]", "/var/log/[a-z]*.log", "[/]", ":smile:"])
def test_a_name_is_shown_as_it_is_whatever_brackets_it_has(name: str) -> None:
    lines = drawn(overview(targets=(target(name),), alerts=(alert("A", AlertState.FIRING, name),)))
    assert sum(name in line for line in lines) == 2


def test_colours_are_for_terminals_only() -> None:
    assert not any("\x1b" in line for line in drawn(BUSY))
    assert any("\x1b" in line for line in drawn(BUSY, color=True))
