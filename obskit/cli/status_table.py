"""The status table of `obskit watch` on a terminal, drawn in place while messages scroll above it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from obskit.cli.tables import age_text, count
from obskit.model.alerts import AlertState

if TYPE_CHECKING:
    from obskit.collect import TargetStatus
    from obskit.watch.overview import Overview

REFRESHES_PER_SECOND = 1
SHOWN_ALERTS = 8
SHOWN_TARGETS = 20
SHOWN_ERRORS = 5


async def keep_showing(daemon: Any, ended: asyncio.Event) -> bool:
    """Run the daemon and redraw the table each second until it ends."""
    console = Console()
    with Live(console=console, auto_refresh=False, redirect_stdout=True, redirect_stderr=True, transient=True) as live:
        _log_through(live)
        drawing = asyncio.ensure_future(_redraw(daemon, live))
        try:
            return bool(await daemon.run(ended))
        finally:
            drawing.cancel()


async def _redraw(daemon: Any, live: Live) -> None:
    from obskit.clock import SystemClock

    clock = SystemClock()
    while True:
        live.update(render(daemon.overview()), refresh=True)
        await clock.sleep(1 / REFRESHES_PER_SECOND)


def _log_through(live: Live) -> None:
    """Log lines go above the table, not through it."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(_Lines(live.console))


class _Lines:
    """A stream that prints whole lines on a rich console, as they are."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> None:
        if text.strip():
            self._console.print(Text(text.rstrip("\n")), soft_wrap=True)

    def flush(self) -> None:
        """Nothing is held back."""


def render(overview: Overview) -> Group:
    """The whole table. Each thing takes one line, whatever the width: what does not fit is cut with an ellipsis."""
    return Group(
        Text(),
        targets_table(overview),
        *error_lines(overview),
        Text(),
        *alert_lines(overview),
        footer(overview),
    )


def targets_table(overview: Overview) -> Table:
    """A row per target, those that are down first: whether it is up, what it is, how old its newest item is."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("")
    table.add_column("collector", no_wrap=True)
    table.add_column("target", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("data", no_wrap=True, justify="right")
    table.add_column("items", no_wrap=True, justify="right")
    shown = sorted(overview.targets, key=lambda target: target.up is not False)[:SHOWN_TARGETS]
    for target in shown:
        table.add_row(*_cells(target, overview.now_ms))
    hidden = len(overview.targets) - len(shown)
    if hidden > 0:
        table.add_row("", f"… and {hidden} more", "", "", "")
    return table


def _cells(target: TargetStatus, now_ms: int) -> list[Text | str]:
    mark = {True: Text("●", "green"), False: Text("✗", "red"), None: Text("○", "dim")}[target.up]
    newest = target.newest_data_ms
    age = f"{age_text(now_ms - newest)} ago" if newest is not None else "none yet"
    # Texts, not markup: a path may hold brackets.
    return [mark, Text(target.collector), Text(target.target), age, f"{target.items:,}"]


def error_lines(overview: Overview) -> list[Text]:
    """Why targets are down: a line each, below the table, where there is room to read it."""
    down = [target for target in overview.targets if target.up is False][:SHOWN_ERRORS]
    return [_one_line(("✗ ", "red"), f"{target.collector}: ", (_reason(target), "dim")) for target in down]


def _reason(target: TargetStatus) -> str:
    """The error, on one line, without the target's name in front: the table has it."""
    return " ".join(target.error.split()).removeprefix(f"{target.target}: ")


def alert_lines(overview: Overview) -> list[Text]:
    """The alerts that fire, then those that are about to."""
    alerts = [*overview.firing, *overview.pending]
    shown = alerts[:SHOWN_ALERTS]
    width = max((len(alert.labels.get("alertname")) for alert in shown), default=0)
    lines = []
    for alert in shown:
        firing = alert.state is AlertState.FIRING
        word = ("FIRING ", "bold red") if firing else ("pending", "yellow")
        since = age_text(overview.now_ms - alert.active_ms)
        summary = " ".join(alert.annotations.get("summary", "").split()) or str(alert.labels.without("alertname"))
        name = f"  {alert.labels.get('alertname'):<{width}}  "
        lines.append(_one_line(word, name, (f"{since:>6}  {summary}", "dim")))
    if len(alerts) > len(shown):
        lines.append(_one_line((f"… and {len(alerts) - len(shown)} more", "dim")))
    return [*lines, Text()] if lines else []


def footer(overview: Overview) -> Text:
    """One line of numbers, what matters first."""
    outbox = overview.outbox
    blind = f", {len(overview.blind_rules)} blind" if overview.blind_rules else ""
    words = [
        f"{len(overview.firing)} firing",
        f"{overview.waiting} to deliver" + (f", {outbox.dead} given up" if outbox.dead else ""),
        count(overview.rules, "rule")
        + (f", {overview.failing_rules} failing" if overview.failing_rules else "")
        + blind,
        f"up {age_text(overview.now_ms - overview.started_ms)}",
        "Ctrl-C stops",
    ]
    return _one_line((" · ".join(words), "dim"))


def _one_line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
