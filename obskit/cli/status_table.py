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

if TYPE_CHECKING:
    from obskit.collect import TargetStatus
    from obskit.watch.overview import Overview

REFRESHES_PER_SECOND = 1
SHOWN_ALERTS = 8
SHOWN_TARGETS = 20


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
    """The whole table."""
    return Group(Text(), targets_table(overview), Text(), *alert_lines(overview), footer(overview))


def targets_table(overview: Overview) -> Table:
    """A row per target: what it is, whether it is up, how old its newest item is."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (
        ("", "left"),
        ("collector", "left"),
        ("target", "left"),
        ("data", "right"),
        ("items", "right"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]  # rich's literal type
    table.add_column("last error", overflow="ellipsis", no_wrap=True, style="dim")
    for target in overview.targets[:SHOWN_TARGETS]:
        table.add_row(*_cells(target, overview.now_ms))
    hidden = len(overview.targets) - SHOWN_TARGETS
    if hidden > 0:
        table.add_row("", f"… and {hidden} more", "", "", "", "")
    return table


def _cells(target: TargetStatus, now_ms: int) -> list[Text | str]:
    mark = {True: Text("●", "green"), False: Text("●", "red"), None: Text("○", "dim")}[target.up]
    newest = target.newest_data_ms
    age = f"{age_text(now_ms - newest)} ago" if newest is not None else "none yet"
    return [mark, target.collector, target.target, age, f"{target.items:,}", target.error]


def alert_lines(overview: Overview) -> list[Text]:
    """The alerts that fire or are about to."""
    lines: list[Text] = []
    for alert in [*overview.firing, *overview.pending][:SHOWN_ALERTS]:
        firing = alert in overview.firing
        word = Text("FIRING ", "bold red") if firing else Text("pending", "yellow")
        since = age_text(overview.now_ms - alert.active_ms)
        summary = alert.annotations.get("summary", "")
        lines.append(Text.assemble(word, f"  {alert.labels.get('alertname')}  ", (f"{since}  {summary}", "dim")))
    return [*lines, Text()] if lines else []


def footer(overview: Overview) -> Text:
    """One line of numbers."""
    outbox = overview.outbox
    words = [
        count(overview.rules, "rule") + (f", {overview.failing_rules} failing" if overview.failing_rules else ""),
        f"{len(overview.firing)} firing",
        f"{overview.waiting} to deliver" + (f", {outbox.dead} given up" if outbox.dead else ""),
        f"up {age_text(overview.now_ms - overview.started_ms)}",
        "Ctrl-C to stop",
    ]
    return Text("  ·  ".join(words), style="dim")
