"""Block Kit as a local HTML page that looks much as Slack does: for a look at our messages without a workspace.

Draws what our messages are made of; a block that it does not know is shown by its name. Everything is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape, unescape
from typing import Any, Final

_MARKUP: Final = re.compile(
    r"```(?P<pre>.+?)```"
    r"|&lt;!date\^(?P<t>\d+)\^(?P<form>[^|^]*?)\|(?P<instead>.*?)&gt;"
    r"|&lt;(?P<url>https?:[^|\s]*?)\|(?P<name>.*?)&gt;"
    r"|`(?P<code>[^`\n]+)`|\*(?P<bold>[^*\n]+)\*",
    re.DOTALL,
)
_CHART: Final = (460, 150)
_SERIES: Final = ("#1264a3", "#e01e5a", "#2eb67d", "#ecb22e", "#611f69", "#4a154b")

CSS: Final = """
*{box-sizing:border-box} body{margin:0;background:#f4f4f4;font:15px/1.46668 Lato,"Noto Sans",Slack-Lato,"Segoe UI",
Helvetica,Arial,"Noto Color Emoji",sans-serif;color:#1d1c1d} h2{font-size:15px;margin:0;padding:18px 24px 6px;color:#616061}
.row{display:flex;gap:24px;padding:0 24px 10px;align-items:flex-start;flex-wrap:wrap}
.pane{background:#fff;border:1px solid #ddd;border-radius:8px;padding:14px 20px} .desktop{width:760px}
.phone{width:375px;padding:12px 14px;border-radius:22px}
.lock{background:rgba(30,30,36,.9);color:#fff;border-radius:14px;padding:8px 12px;margin:0 0 12px;font-size:13px;line-height:1.35}
.lock b{display:block;font-size:12px;opacity:.8} .lock span{display:-webkit-box;-webkit-line-clamp:4;-webkit-box-orient:vertical;overflow:hidden}
.message{display:flex;gap:8px} .avatar{flex:0 0 36px;height:36px;border-radius:6px;background:#1d1d2b;color:#7ee787;
font-weight:900;display:flex;align-items:center;justify-content:center} .body{flex:1;min-width:0}
.who b{font-weight:900} .app{background:#e8e8e8;color:#616061;font-size:10px;font-weight:700;border-radius:2px;padding:1px 3px;
margin:0 4px;vertical-align:2px} .time,.edited{color:#616061;font-size:12px}
.block{margin:4px 0;overflow-wrap:anywhere;white-space:pre-wrap} .attached .block{margin:0 0 8px}
.attached{display:flex;gap:12px;margin-top:4px} .bar{flex:0 0 4px;border-radius:4px} .attached>div:last-child{flex:1;min-width:0}
.context{color:#616061;font-size:13px;line-height:1.38} .context div+div{margin-top:4px}
.actions{display:flex;flex-wrap:wrap;gap:8px} .actions a{border:1px solid #1d1c1d4d;border-radius:4px;padding:3px 12px;font-weight:700;
font-size:13px;color:#1d1c1d;text-decoration:none;background:#fff}
a{color:#1264a3;text-decoration:none} code{background:#1d1c1d0a;border:1px solid #1d1c1d21;border-radius:3px;color:#e01e5a;
font:12px/1.5 Monaco,Menlo,"DejaVu Sans Mono",monospace;padding:2px 3px 1px} pre{background:#1d1c1d0a;border:1px solid #1d1c1d21;
border-radius:4px;font:12px/1.5 Monaco,Menlo,"DejaVu Sans Mono",monospace;margin:4px 0;padding:8px;white-space:pre-wrap;overflow-wrap:anywhere}
.thread{border-left:2px solid #ddd;margin:10px 0 0 17px;padding:2px 0 2px 14px} .thread .avatar{flex-basis:24px;height:24px;font-size:11px}
.chart{border:1px solid #ddd;border-radius:8px;padding:10px 12px} .chart b{font-size:13px} .chart svg{width:100%;height:auto;display:block}
.key{font-size:12px;color:#616061} .key i{display:inline-block;width:14px;height:3px;margin:0 5px 3px 10px;border-radius:2px}
"""


def page(stories: Iterable[tuple[str, Sequence[Mapping[str, Any]]]]) -> str:
    """The page: each story is a title and messages, the first of them the root, the others its thread."""
    shown = "".join(
        f"<h2>{escape(title)}</h2><div class=row><div class='pane desktop'>{_story(messages)}</div>"
        f"<div class='pane phone'>{_lock_screen(messages)}{_story(messages)}</div></div>"
        for title, messages in stories
    )
    head = "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    return f"{head}<title>obskit in Slack</title><style>{CSS}</style>{shown}\n"


def _lock_screen(messages: Sequence[Mapping[str, Any]]) -> str:
    text = unescape(str(messages[0].get("text", "")).partition("\n")[0])
    return f"<div class=lock><b>Slack · #alerts</b><span>{escape(text)}</span></div>"


def _story(messages: Sequence[Mapping[str, Any]]) -> str:
    root, *replies = messages
    thread = "".join(_message(reply) for reply in replies)
    return _message(root) + (f"<div class=thread>{thread}</div>" if replies else "")


def _message(message: Mapping[str, Any]) -> str:
    # Slack shows `text` only where there are no blocks.
    text = "" if message.get("blocks") else f"<div class=block>{markup(str(message.get('text', '')))}</div>"
    blocks = "".join(_block(block) for block in message.get("blocks") or ())
    attached = "".join(_attachment(each) for each in message.get("attachments") or ())
    who = "<div class=who><b>obskit</b><span class=app>APP</span><span class=time>12:12</span></div>"
    return f"<div class=message><div class=avatar>o</div><div class=body>{who}{text}{blocks}{attached}</div></div>"


def _attachment(attached: Mapping[str, Any]) -> str:
    colour = escape(str(attached.get("color", "#ddd")), quote=True)
    blocks = "".join(_block(block) for block in attached.get("blocks") or ())
    return f"<div class=attached><div class=bar style='background:{colour}'></div><div>{blocks}</div></div>"


def _block(block: Mapping[str, Any]) -> str:
    match block["type"]:
        case "section":
            return f"<div class=block>{markup(block['text']['text'])}</div>"
        case "context":
            parts = "".join(f"<div>{markup(element['text'])}</div>" for element in block["elements"])
            return f"<div class='block context'>{parts}</div>"
        case "actions":
            buttons = "".join(
                f"<a href='{escape(element.get('url', '#'), quote=True)}'>{escape(element['text']['text'])}</a>"
                for element in block["elements"]
            )
            return f"<div class='block actions'>{buttons}</div>"
        case "data_visualization":
            return _chart(block)
        case other:
            return f"<div class=block>[{escape(str(other))}]</div>"


def markup(text: str) -> str:
    """Slack's mrkdwn as HTML; times in UTC."""
    # Its own entities first: what is escaped there shall be shown as it is, not be read as markup.
    shown = (
        escape(text, quote=True).replace("&amp;lt;", "\x01").replace("&amp;gt;", "\x02").replace("&amp;amp;", "&amp;")
    )
    drawn = _MARKUP.sub(_draw, shown)
    return drawn.replace("\x01", "&lt;").replace("\x02", "&gt;")


def _draw(found: re.Match[str]) -> str:
    part = found.groupdict()
    if part["pre"] is not None:
        return f"<pre>{part['pre']}</pre>"
    if part["t"] is not None:
        at = datetime.fromtimestamp(int(part["t"]), UTC)
        return re.sub(r"\{date\w*\}", f"{at:%b %d}", part["form"].replace("{time}", f"{at:%H:%M}"))
    if part["url"] is not None:
        return f"<a href='{part['url']}'>{part['name']}</a>"
    if part["code"] is not None:
        return f"<code>{part['code']}</code>"
    return f"<b>{_MARKUP.sub(_draw, part['bold'])}</b>"


def _chart(block: Mapping[str, Any]) -> str:
    chart, (width, height) = block["chart"], _CHART
    series = chart["series"]
    values = [point["value"] for each in series for point in each["data"]]
    low, high = min(0.0, *values), max(values) * 1.08 or 1.0
    labels = chart["axis_config"]["categories"]
    lines = "".join(
        f"<polyline fill=none stroke='{colour}' stroke-width={2.5 if not number else 1.5}"
        f" stroke-dasharray='{'5 4' if number else ''}' points='{_points(each['data'], low, high)}'/>"
        for number, (each, colour) in enumerate(zip(series, _SERIES, strict=False))
    )
    ticks = "".join(
        f"<text x={34 + at * (width - 60) / max(1, len(labels) - 1):.0f} y={height - 4} text-anchor=middle>{escape(labels[at])}</text>"
        for at in sorted({0, len(labels) // 2, len(labels) - 1})
    )
    scale = f"<text x=0 y=14>{high:.3g}</text><text x=0 y={height - 22}>{low:.3g}</text>"
    key = "".join(
        f"<i style='background:{colour}'></i>{escape(each['name'])}"
        for each, colour in zip(series, _SERIES, strict=False)
    )
    unit = escape(chart["axis_config"].get("y_label", ""))
    svg = f"<svg viewBox='0 0 {width} {height}' font-size=11 fill='#616061'>{scale}{lines}{ticks}</svg>"
    return f"<div class='block chart'><b>{escape(block['title'])}</b> <span class=key>{unit}{key}</span>{svg}</div>"


def _points(data: Sequence[Mapping[str, Any]], low: float, high: float) -> str:
    width, height = _CHART
    step = (width - 60) / max(1, len(data) - 1)
    span = (high - low) or 1.0
    rows = [height - 22 - (point["value"] - low) / span * (height - 36) for point in data]
    return " ".join(f"{34 + number * step:.1f},{row:.1f}" for number, row in enumerate(rows))
