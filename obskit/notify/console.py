"""The console: the same facts on a terminal, or plain lines where nobody looks. The receiver when none is configured,
and what `--dry-run` puts in the place of all others."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, Final, TextIO

from obskit.model.actions import Notice, NoticeReason, Outcome
from obskit.notify import text
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport
from obskit.notify.settings import NotifierSettings
from obskit.notify.text import ICONS, Tone
from obskit.outbound import httpx

PRINT: Final = "print"
_STYLES: Final = {
    Tone.CRITICAL: "red",
    Tone.WARNING: "yellow",
    Tone.INFO: "blue",
    Tone.RESOLVED: "green",
    Tone.ENDED: "bright_black",
}


class ConsoleSettings(NotifierSettings):
    """One entry of `console_configs`."""


class Console:
    """What is printed, as data: the transport knows whether it faces a person."""

    min_interval_s = 0.0

    def __init__(self, addressee: str = "") -> None:
        self._addressee = addressee

    def steps(self, notice: Notice) -> Sequence[Step]:
        """One message per notice."""
        return [Step(PRINT, coalesce=f"{notice.incident}:{notice.status}")]

    def render(self, notice: Notice, _step: str, _handle: Mapping[str, str] | None, _degraded: bool) -> Request | None:
        """A JSON object: tone, headline, and rows of (style, text); `plain` holds the lines for a log."""
        shown = text.card(notice)
        heading, *rest = text.lines(shown, text.utc_stamp)
        quiet = text.facts(shown, text.utc_stamp)
        said = {
            "to": self._addressee,
            "tone": shown.tone.value,
            "title": shown.title,
            "state": f"{shown.word.lower()} {shown.severity}".rstrip(),
            "summary": shown.summary,
            "news": text.news(notice) if notice.reason is not NoticeReason.FIRST and notice.changed else "",
            "rows": [("dim" if row == quiet else "", row) for row in rest],
            "plain": [heading, *rest],
        }
        return Request("PRINT", "console:", json.dumps(said).encode())

    def classify(self, _response: Response, _step: str) -> Outcome:
        """Printing does not fail."""
        return Outcome.sent()


class ConsoleTransport:
    """Prints to `stream`, by default the standard output of the moment."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    async def send(self, request: Request) -> Response:
        """Always 200."""
        stream = self._stream or sys.stdout
        said = json.loads(request.body or b"{}")
        if stream.isatty():
            _draw(said, stream)
        else:
            prefix = f"[{said['to']}] " if said["to"] else ""
            stream.write(
                "".join(f"{prefix if not number else '  '}{row}\n" for number, row in enumerate(said["plain"]))
            )
            stream.flush()
        return Response(200)


def _draw(said: Mapping[str, Any], stream: TextIO) -> None:
    from rich.console import Console as Terminal  # noqa: PLC0415 - 7 MB, and only a terminal needs it
    from rich.text import Text  # noqa: PLC0415

    tone = Tone(said["tone"])
    bar = Text("┃ ", style=_STYLES[tone])
    title = Text.assemble(f"{ICONS[tone]} ", (said["title"], "bold"), "  ", (said["state"], _STYLES[tone]))
    if said["to"]:
        title.append(f"  → {said['to']}", style="dim")
    rows = [title, Text(said["summary"]), Text(said["news"], style="italic")]
    rows += [Text(row, style=style) for style, row in said["rows"]]
    # Drawn first, written then: rich would go past a stream that a live display has put in the terminal's place.
    terminal = Terminal(file=StringIO(), highlight=False, force_terminal=True)
    with terminal.capture() as drawn:
        for row in rows:
            if row.plain:
                terminal.print(bar + row, soft_wrap=True)
        terminal.print()
    stream.write(drawn.get())


def connect_preview(destination: str) -> tuple[Notifier, Transport]:
    """A console that says for whom each message would have been."""
    return Console(destination), ConsoleTransport()


def _connect(_: ConsoleSettings, __: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    return Console(), ConsoleTransport()


CONSOLE: Final = Kind("console", ConsoleSettings, _connect)
