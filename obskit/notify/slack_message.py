"""One alert group as a Slack message: headline blocks, a coloured attachment with the rest, and plain text for phones.

Keeps within Slack's limits by itself: every text is cut after escaping, and a message that is still too big loses its
parts in a fixed order: sparkline and detail, members, top error, deploy, links. Knows nothing of channels, threads or
answers; the message in the thread that gives the context is slack_context.py's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from obskit.notify.text import ICONS, Card, Link, Tone, facts, headline, lines, marks

COLOURS: Final = {
    Tone.CRITICAL: "#d1242f",
    Tone.WARNING: "#bf8700",
    Tone.INFO: "#0969da",
    Tone.ACKED: "#8250df",
    Tone.SILENCED: "#8c959f",
    Tone.FLAPPING: "#bc4c00",
    Tone.RESOLVED: "#2da44e",
    Tone.ENDED: "#8c959f",
}
SIZE_LIMIT: Final = 12_000
"""Characters of all blocks. Slack refuses somewhat above 13,200 (undocumented, slackapi/bolt-js#2509)."""
TEXT_LIMIT: Final = 3_000  # chat.update refuses more than 4,000 with msg_too_long
_URL_LIMIT: Final = 3_000
_TITLE_LIMIT: Final = 300
_SUMMARY_LIMIT: Final = 1_200
_MEMBER_LIMIT: Final = 300
_FACT_LIMIT: Final = 700
_MARK_LIMIT: Final = 300
_TARGET_LIMIT: Final = 1_200
_ACTION_LIMIT: Final = 1_200
_DETAIL_LIMIT: Final = 1_500
_SAMPLE_LIMIT: Final = 350
_CONTROLS: Final = 5
_FIRST_LINK: Final = "Logs"
_DAY_MS: Final = 86_400_000

_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

Message = dict[str, Any]


def message(shown: Card, footnote: str = "") -> Message:
    """`text`, `blocks` and `attachments`: always all three, so that an edit leaves nothing of the message before.

    `footnote` is markup of ours, which is not escaped: how the message hangs together with others.
    """
    for smaller in _smaller(shown):
        built = _message(smaller, footnote)
        if _size(built) <= SIZE_LIMIT:
            return built
    return plain(shown)


def plain(shown: Card) -> Message:
    """The message as text only: what is left when Slack refuses the blocks."""
    body = "\n".join(escape(line, _MEMBER_LIMIT * 2) for line in lines(shown, utc))
    return {"text": body[:TEXT_LIMIT], "blocks": [], "attachments": []}


def reply(text: str) -> Message:
    """A line in the thread."""
    return {"text": escape(text, TEXT_LIMIT)}


def escape(text: str, limit: int) -> str:
    """`text` with Slack's three entities, cut to `limit` characters as Slack counts them: after escaping."""
    pieces = [_ESCAPES.get(char, char) for char in text]
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    kept, size = [], 1
    for piece in pieces:
        size += len(piece)
        if size > limit:
            break
        kept.append(piece)
    return "".join(kept).rstrip() + "…"


def section(text: str) -> Message:
    """A block of markup; what users wrote in it must be escaped."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def local(ms: int, *, day: bool = False) -> str:
    """A time that every reader sees in their own zone, with UTC for clients that cannot."""
    form = "{date_short_pretty} {time}" if day else "{time}"
    return f"<!date^{ms // 1000}^{form}|{utc(ms)}>"


def utc(ms: int) -> str:
    """`2023-11-14 22:13 UTC`."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _smaller(shown: Card) -> Iterator[Card]:
    """The card, then with ever less of it; what a person can most easily do without goes first."""
    yield shown
    shown = replace(shown, sparkline="", detail="")
    yield shown
    shown = replace(shown, members=shown.members[:1], more_members=shown.more_members + len(shown.members[1:]))
    yield shown
    shown = replace(shown, members=(), more_members=0, samples=shown.samples[-1:])
    yield shown
    shown = replace(shown, error="")
    yield shown
    shown = replace(shown, deploy="")
    yield shown
    yield replace(shown, links=(), title_url="", page_url="")


def _message(shown: Card, footnote: str) -> Message:
    rest = (
        _marks(shown),
        _members(shown),
        _around(shown),
        _samples(shown),
        _action(shown),
        _facts(shown, footnote),
        _links(shown),
    )
    return {
        "text": escape(headline(shown), TEXT_LIMIT),
        "blocks": [section(_headline(shown))],
        "attachments": [{"color": COLOURS[shown.tone], "blocks": [block for block in rest if block]}],
    }


def _headline(shown: Card) -> str:
    """What every message begins with; the title is a link, and the state says who made it so, where there is room."""
    target = _link_target(shown.title_url)
    word = escape(shown.word.lower(), 80)
    fullest = _first_lines(shown, target if len(target) <= _TARGET_LIMIT else "", _state(shown))
    return fullest if len(fullest) <= TEXT_LIMIT else _first_lines(shown, "", word)


def _first_lines(shown: Card, target: str, state: str) -> str:
    title = escape(shown.title, _TITLE_LIMIT)
    if target:
        title = f"<{target}|{title}>"
    chip = f"  `{escape(shown.severity, 60)}`" if shown.severity and shown.until_ms is None else ""
    # The icon repeats the state for the eye, the word for those who do not see colours.
    word = "" if shown.word == "FIRING" else f"  {state}"
    first = f"{ICONS[shown.tone]} *{title}*{chip}{word}"
    limit = escape(f"({shown.limit})", 80) if shown.limit else ""
    said = " ".join(part for part in (escape(shown.summary, _SUMMARY_LIMIT), limit) if part)
    second = " · ".join(part for part in (said, shown.sparkline, escape(shown.reach, 120)) if part)
    return f"{first}\n{second}" if second else first


def _state(shown: Card) -> str:
    """`acked by ann 12:08` says more than `acked`."""
    said = _said_of(shown)
    return said if said.startswith(shown.word.lower()) else escape(shown.word.lower(), 80)


def _said_of(shown: Card) -> str:
    return marks(shown, partial(local, day=shown.lasted_ms >= _DAY_MS), partial(escape, limit=_MARK_LIMIT))


def _marks(shown: Card) -> Message | None:
    said = _said_of(shown)
    return section(said) if said and said != _state(shown) else None


def _members(shown: Card) -> Message | None:
    if not shown.members:
        return None
    rows = [f"• {escape(member, _MEMBER_LIMIT)}" for member in shown.members]
    if shown.more_members:
        rows.append(f"+{shown.more_members} more")
    return section("\n".join(rows))


def _around(shown: Card) -> Message | None:
    """The rule's own words, then what happened around it."""
    said = (
        escape(shown.detail, _DETAIL_LIMIT),
        f"📦 {escape(shown.deploy, _MEMBER_LIMIT)}" if shown.deploy else "",
        f"📄 {escape(shown.error, _MEMBER_LIMIT)}" if shown.error else "",
    )
    rows = [row for row in said if row]
    return section("\n".join(rows)) if rows else None


def _samples(shown: Card) -> Message | None:
    """Lines as they were, in fixed width: what would end the block is changed."""
    rows = [escape(line.replace("`" * 3, '"'), _SAMPLE_LIMIT) for line in shown.samples]
    return section("\n".join(["```", *rows, "```"])) if rows else None


def _action(shown: Card) -> Message | None:
    return section(f"*Do first:* {escape(shown.action, _ACTION_LIMIT)}") if shown.action else None


def _facts(shown: Card, footnote: str) -> Message:
    text = facts(shown, partial(local, day=shown.lasted_ms >= _DAY_MS), partial(escape, limit=_FACT_LIMIT))
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": part} for part in (text, footnote) if part]}


def _links(shown: Card) -> Message | None:
    # Only what opens something: Ack and Silence need a connection that hears the click.
    found = [*sorted(shown.links, key=lambda link: link.text != _FIRST_LINK), Link("obskit", shown.page_url)]
    usable = [link for link in found if 0 < len(link.url) <= _URL_LIMIT][:_CONTROLS]
    return {"type": "actions", "elements": [_button(link) for link in usable]} if usable else None


def _button(link: Link) -> Message:
    label = {"type": "plain_text", "text": link.text[:75], "emoji": True}
    return {"type": "button", "action_id": f"open_{link.text.lower()}", "text": label, "url": link.url}


def _link_target(url: str) -> str:
    return url.replace("|", "%7C").replace("<", "%3C").replace(">", "%3E").replace("&", "&amp;")


def _size(built: Message) -> int:
    blocks = [*built["blocks"], *(block for attached in built["attachments"] for block in attached["blocks"])]
    return len(json.dumps(blocks, ensure_ascii=False))
