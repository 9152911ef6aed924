"""One alert group as a Slack message: headline blocks, a coloured attachment with the rest, and plain text for phones.

Keeps within Slack's limits by itself: every text is cut after escaping, and a message that is still too big loses its
parts in a fixed order. Knows nothing of channels, threads or answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from obskit.notify.text import ICONS, Card, Link, Tone, facts, headline, lines

COLOURS: Final = {
    Tone.CRITICAL: "#d1242f",
    Tone.WARNING: "#bf8700",
    Tone.INFO: "#0969da",
    Tone.RESOLVED: "#2da44e",
    Tone.ENDED: "#8c959f",
}
SIZE_LIMIT: Final = 12_000
"""Characters of all blocks. Slack refuses somewhat above 13,200 (undocumented, slackapi/bolt-js#2509)."""
_TEXT_LIMIT: Final = 3_000  # chat.update refuses more than 4,000 with msg_too_long
_URL_LIMIT: Final = 3_000
_TITLE_LIMIT: Final = 300
_SUMMARY_LIMIT: Final = 1_200
_MEMBER_LIMIT: Final = 300
_FACT_LIMIT: Final = 700
_TARGET_LIMIT: Final = 1_200
_ACTION_LIMIT: Final = 1_200
_DETAIL_LIMIT: Final = 1_500
_BUTTONS: Final = 5
_DAY_MS: Final = 86_400_000

_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

Message = dict[str, Any]


def message(shown: Card) -> Message:
    """`text`, `blocks` and `attachments`: always all three, so that an edit leaves nothing of the message before."""
    for smaller in _smaller(shown):
        built = _message(smaller)
        if _size(built) <= SIZE_LIMIT:
            return built
    return plain(shown)


def plain(shown: Card) -> Message:
    """The message as text only: what is left when Slack refuses the blocks."""
    body = "\n".join(escape(line, _MEMBER_LIMIT * 2) for line in lines(shown, _utc))
    return {"text": body[:_TEXT_LIMIT], "blocks": [], "attachments": []}


def reply(text: str) -> Message:
    """A line in the thread."""
    return {"text": escape(text, _TEXT_LIMIT)}


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


def _smaller(shown: Card) -> Iterator[Card]:
    """The card, then with ever less of it; what a person can most easily do without goes first."""
    yield shown
    shown = replace(shown, detail="")
    yield shown
    shown = replace(shown, members=shown.members[:1], more_members=shown.more_members + len(shown.members[1:]))
    yield shown
    shown = replace(shown, members=(), more_members=0)
    yield shown
    yield replace(shown, links=(), title_url="")


def _message(shown: Card) -> Message:
    rest = [block for block in (_detail(shown), _members(shown), _facts(shown), _action(shown), _links(shown)) if block]
    return {
        "text": escape(headline(shown), _TEXT_LIMIT),
        "blocks": [_section(_headline(shown))],
        "attachments": [{"color": COLOURS[shown.tone], "blocks": rest}],
    }


def _headline(shown: Card) -> str:
    title, target = escape(shown.title, _TITLE_LIMIT), _link_target(shown.title_url)
    if target and len(target) <= _TARGET_LIMIT:
        title = f"<{target}|{title}>"
    chip = f"  `{escape(shown.severity, 60)}`" if shown.severity and shown.until_ms is None else ""
    # The icon repeats the state for the eye, the word for those who do not see colours.
    word = "" if shown.word == "FIRING" else f"  {escape(shown.word.lower(), 80)}"
    first = f"{ICONS[shown.tone]} *{title}*{chip}{word}"
    return f"{first}\n{escape(shown.summary, _SUMMARY_LIMIT)}" if shown.summary else first


def _detail(shown: Card) -> Message | None:
    return _section(escape(shown.detail, _DETAIL_LIMIT)) if shown.detail else None


def _members(shown: Card) -> Message | None:
    if not shown.members:
        return None
    rows = [f"• {escape(member, _MEMBER_LIMIT)}" for member in shown.members]
    if shown.more_members:
        rows.append(f"+{shown.more_members} more")
    return _section("\n".join(rows))


def _facts(shown: Card) -> Message:
    text = facts(shown, partial(_local, day=shown.lasted_ms >= _DAY_MS), partial(escape, limit=_FACT_LIMIT))
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}


def _action(shown: Card) -> Message | None:
    return _section(f"*Do first:* {escape(shown.action, _ACTION_LIMIT)}") if shown.action else None


def _links(shown: Card) -> Message | None:
    usable = [link for link in shown.links if len(link.url) <= _URL_LIMIT][:_BUTTONS]
    return {"type": "actions", "elements": [_button(link) for link in usable]} if usable else None


def _button(link: Link) -> Message:
    label = {"type": "plain_text", "text": link.text[:75], "emoji": True}
    return {"type": "button", "action_id": f"open_{link.text.lower()}", "text": label, "url": link.url}


def _section(text: str) -> Message:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _link_target(url: str) -> str:
    return url.replace("|", "%7C").replace("<", "%3C").replace(">", "%3E").replace("&", "&amp;")


def _local(ms: int, *, day: bool) -> str:
    """A time that every reader sees in their own zone, with UTC for clients that cannot."""
    form = "{date_short_pretty} {time}" if day else "{time}"
    return f"<!date^{ms // 1000}^{form}|{_utc(ms)}>"


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _size(built: Message) -> int:
    blocks = [*built["blocks"], *(block for attached in built["attachments"] for block in attached["blocks"])]
    return len(json.dumps(blocks, ensure_ascii=False))
