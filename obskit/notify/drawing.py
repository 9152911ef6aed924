"""A notice as a heading and a few lines, for channels that have no layout of their own: what is said first, and what is
left out first where room is short. The words are text.py's; markup and limits are the notifier's.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from obskit.model.actions import Notice, NoticeReason
from obskit.notify import text
from obskit.notify.text import Card

_LONGEST: Final = 1_500
"""Of one fact: a stack trace in a description must not push out what to do."""
# What is kept longest has the lowest number; of equals, the last line goes first.
_SUMMARY, _ACTION, _RUNBOOK, _FACTS, _NEWS, _LINK, _MEMBER, _DETAIL = range(8)


@dataclass(frozen=True, slots=True)
class Markup:
    """How a channel writes: `quote` makes text of users harmless, `bold` and `link` take text that is not quoted yet."""

    quote: Callable[[str], str]
    bold: Callable[[str], str]
    link: Callable[[str, str], str]


def _html(words: str) -> str:
    return html.escape(words, quote=False)


PLAIN: Final = Markup(quote=str, bold=str, link=lambda words, url: f"{words}: {url}")
HTML: Final = Markup(
    quote=_html,
    bold=lambda words: f"<b>{_html(words)}</b>",
    link=lambda words, url: f'<a href="{html.escape(url)}">{_html(words)}</a>',
)


def heading(shown: Card, limit: int) -> str:
    """`🔴 FIRING critical: High5xx`: state, severity and name, in plain text of `limit` characters at most."""
    return text.clip(f"{text.ICONS[shown.tone]} {state(shown)}: {shown.title}", limit)


def state(shown: Card) -> str:
    """`FIRING critical`, `RESOLVED`: what matters about the severity of something that is over is that it is over."""
    return shown.word if shown.until_ms is not None else f"{shown.word} {shown.severity}".rstrip()


def body(notice: Notice, shown: Card, markup: Markup, limit: int, size: Callable[[str], int] = len) -> str:
    """What stands below the heading, at most `limit` by `size`.

    Left out in this order until it fits: the description, the members, links but the runbook, what is new, where and
    since when, the runbook, what to do first. The summary stays, cut if it must be.
    """
    rows = _rows(notice, shown, markup)
    while len(rows) > 1 and size(_joined(rows)) > limit:
        last = max(range(len(rows)), key=lambda at: (rows[at][0], at))
        del rows[last]
    if size(_joined(rows)) <= limit:
        return _joined(rows)
    return _cut(shown.summary or shown.title, markup, limit, size)


def fitted(words: str, limit: int, size: Callable[[str], int] = len) -> str:
    """A text of somebody else's making, cut to `limit` by `size`."""
    if size(words) <= limit:
        return words
    while size(words) > limit - size("…"):
        words = words[: min(len(words) - 1, len(words) * limit // size(words))]
    return words.rstrip() + "…"


def _rows(notice: Notice, shown: Card, markup: Markup) -> list[tuple[int, str]]:
    news = text.news(notice) if notice.changed and notice.reason not in (NoticeReason.FIRST, NoticeReason.TEST) else ""
    rows = [
        (_SUMMARY, markup.bold(text.clip(shown.summary, _LONGEST)) if shown.summary else ""),
        (_NEWS, markup.quote(text.clip(news, _LONGEST))),
        (_FACTS, text.marks(shown, text.utc_stamp, markup.quote)),
        (_DETAIL, markup.quote(text.clip(shown.detail, _LONGEST))),
        *((_MEMBER, markup.quote(f"- {member}")) for member in shown.members),
        (_MEMBER, f"+{shown.more_members} more" if shown.more_members else ""),
        (_FACTS, text.facts(shown, text.utc_stamp, markup.quote)),
        (_ACTION, markup.quote(f"Do first: {text.clip(shown.action, _LONGEST)}") if shown.action else ""),
        *((_RUNBOOK if link.text == "Runbook" else _LINK, markup.link(link.text, link.url)) for link in shown.links),
    ]
    return [row for row in rows if row[1]]


def _joined(rows: list[tuple[int, str]]) -> str:
    return "\n".join(row for _, row in rows)


def _cut(words: str, markup: Markup, limit: int, size: Callable[[str], int]) -> str:
    length = min(limit, _LONGEST)
    while size(cut := markup.quote(text.clip(words, length))) > limit:
        length = length * 3 // 4
    return cut


def byte_size(words: str) -> int:
    """The size of a text where a channel counts bytes."""
    return len(words.encode())
