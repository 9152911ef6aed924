"""A stored Slack message as Slack would show it, drawn on a terminal: what `make demo` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from obskit.testing.slack import SlackMessage
from obskit.testing.slack_limits import CHART

_MARKUP: Final = re.compile(
    r"<!date\^(?P<t>\d+)\^(?P<form>[^|^>]*)(?:\^[^|>]*)?\|(?P<instead>[^>]*)>"
    r"|<(?P<url>https?:[^|>]*)\|(?P<name>[^>]*)>|<(?P<bare>https?:[^>]*)>"
    r"|`(?P<code>[^`\n]+)`|\*(?P<bold>[^*\n]+)\*"
)
_ENTITIES: Final = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))
_PRETTY_DATE: Final = "%b %d"


def print_message(message: SlackMessage, channel: str, console: Console | None = None) -> None:
    """Print a message with its colour bar and buttons; a reply is set in under an arrow."""
    console = console or Console(highlight=False)
    head = Text.assemble(("obskit ", "bold"), (" APP ", "reverse dim"), (f" {_clock(message.ts)}", "dim"))
    if message.thread_ts is not None:
        where = f"↳ in a thread in #{channel}" + (", also sent to the channel" if message.broadcast else "")
        console.print(Padding(Text.assemble((f"{where}  ", "dim"), draw_markup(message.text)), (0, 0, 0, 4)))
        return
    title = Text.assemble((f"#{channel}  ", "bold cyan"), head)
    if message.edits:
        title.append("  (edited)", style="dim")
    console.print(title)
    # Slack shows `text` only where there are no blocks; beside attachments alone it is the first line.
    rows = [draw_markup(message.text)] if not message.blocks else list(_draw_blocks(message.blocks))
    for row in rows:
        console.print(Padding(row, (0, 0, 0, 2)))
    for attached in message.attachments:
        _print_attachment(attached, console)


def draw_markup(text: str) -> Text:
    """Slack's mrkdwn as a rich Text; links keep their target, times are shown in UTC."""
    drawn, end = Text(), 0
    for match in _MARKUP.finditer(text):
        drawn.append(_plain(text[end : match.start()]))
        drawn.append_text(_draw_match(match))
        end = match.end()
    drawn.append(_plain(text[end:]))
    return drawn


def _draw_match(match: re.Match[str]) -> Text:
    part = match.groupdict()
    if part["t"] is not None:
        return Text(_date(int(part["t"]), part["form"]))
    if part["url"] is not None:
        return Text(_plain(part["name"]), style=Style(color="bright_blue", link=_plain(part["url"])))
    if part["bare"] is not None:
        return Text(_plain(part["bare"]), style="bright_blue underline")
    if part["code"] is not None:
        return Text(f" {_plain(part['code'])} ", style="red on grey15")
    inner = draw_markup(part["bold"])
    inner.stylize("bold")
    return inner


def _print_attachment(attached: dict[str, Any], console: Console) -> None:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=1)
    table.add_column(ratio=1)
    for row in _draw_blocks(attached.get("blocks", [])):
        height = max(1, len(row.wrap(console, max(20, console.width - 4))))
        table.add_row(Text("\n".join(["┃"] * height), style=attached.get("color", "")), row)
    console.print(Padding(table, (0, 0, 0, 2)))


def _draw_blocks(blocks: Any) -> Iterator[Text]:
    for block in blocks:
        if block["type"] in ("section", "header"):
            yield draw_markup(block["text"]["text"])
        elif block["type"] == "context":
            row = Text(" ").join(draw_markup(element["text"]) for element in block["elements"])
            row.stylize("dim")
            yield row
        elif block["type"] == "actions":
            yield Text("  ").join(Text(f" {element['text']['text']} ↗ ", "reverse") for element in block["elements"])
        elif block["type"] == CHART:
            yield Text(f"[chart] {block['title']}", style="dim")
        elif block["type"] == "divider":
            yield Text("────", style="dim")


def _date(seconds: int, form: str) -> str:
    at = datetime.fromtimestamp(seconds, UTC)
    shown = form.replace("{time}", f"{at:%H:%M}").replace("{time_secs}", f"{at:%H:%M:%S}")
    return re.sub(r"\{date\w*\}", f"{at:{_PRETTY_DATE}}", shown)


def _clock(ts: str) -> str:
    return datetime.fromtimestamp(int(ts.partition(".")[0]), UTC).strftime("%H:%M")


def _plain(text: str) -> str:
    for entity, char in _ENTITIES:
        text = text.replace(entity, char)
    return text
