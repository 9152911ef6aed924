"""A flood as one Slack message: how many groups fire, by place and rule, and the worst ten of them."""

from __future__ import annotations

from typing import Final

from obskit.model.digest import Digest, Entry, Tally
from obskit.notify.figures import lasted
from obskit.notify.slack_message import COLOURS, Message, escape, local, section
from obskit.notify.text import Tone

ENTRIES: Final = 10
TALLIES: Final = 10
_NAME: Final = 120


def digest_text(digest: Digest) -> str:
    """One plain line, as a phone's lock screen shows it."""
    if not digest.firing:
        return f"RESOLVED flood: {digest.total} alert groups within {lasted(digest.decided_ms - digest.since_ms)}"
    names = ", ".join(dict.fromkeys(tally.name for tally in digest.tallies[:3]))
    return f"FLOOD: {digest.firing} of {digest.total} alert groups fire - {names}"


def digest_message(digest: Digest) -> Message:
    """`text`, `blocks` and `attachments`, all three."""
    over = not digest.firing
    why = "Too many at once for a message each; critical ones have their own."
    length = lasted(digest.decided_ms - digest.since_ms)
    head = f"🌊 *{digest.firing} alert groups fire*\n{why}"
    if over:
        head = f"✅ *Flood over*  {digest.total} alert groups within {length}"
    rest = [_tallies(digest), _entries(digest) if not over else None, _facts(digest), _link(digest)]
    return {
        "text": escape(digest_text(digest), 1_000),
        "blocks": [section(head)],
        "attachments": [
            {"color": COLOURS[Tone.RESOLVED if over else Tone.WARNING], "blocks": [block for block in rest if block]}
        ],
    }


def plain_digest(digest: Digest) -> Message:
    """The same as text only."""
    rows = [digest_text(digest), *(f"- {_tally(tally)}" for tally in digest.tallies[:TALLIES])]
    return {"text": "\n".join(escape(row, 250) for row in rows), "blocks": [], "attachments": []}


def _tallies(digest: Digest) -> Message | None:
    rows = [f"• {escape(_tally(tally), 2 * _NAME)}" for tally in digest.tallies[:TALLIES]]
    more = digest.more_tallies + len(digest.tallies[TALLIES:])
    return section("\n".join([*rows, *([f"+{more} more kinds"] if more else [])])) if rows else None


def _tally(tally: Tally) -> str:
    count = f"{tally.firing} firing" if tally.firing == tally.total else f"{tally.firing} of {tally.total} firing"
    count = count if tally.firing else f"{tally.total} over"
    return " · ".join(part for part in (tally.name[:_NAME], tally.place[:_NAME], count) if part)


def _entries(digest: Digest) -> Message | None:
    rows = [_entry(entry) for entry in digest.entries[:ENTRIES]]
    shown = f"*The worst {len(rows)}:*" if digest.firing > len(rows) else "*All of them:*"
    return section("\n".join([shown, *rows])) if rows else None


def _entry(entry: Entry) -> str:
    severity = f" `{escape(entry.severity, 40)}`" if entry.severity else ""
    place = f" · {escape(entry.place[:_NAME], _NAME)}" if entry.place else ""
    return f"• {escape(entry.title[:_NAME], _NAME)}{severity}{place} · since {local(entry.since_ms)}"


def _facts(digest: Digest) -> Message:
    moved = f"{digest.moved} with a message of their own" if digest.moved else ""
    parts = (f"since {local(digest.since_ms)}", f"as of {local(digest.decided_ms)}", moved)
    text = " · ".join(part for part in parts if part)
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}


def _link(digest: Digest) -> Message | None:
    if not digest.external_url.startswith(("http://", "https://")) or len(digest.external_url) > 3_000:
        return None
    label = {"type": "plain_text", "text": "Show all", "emoji": True}
    button = {"type": "button", "action_id": "open_all", "text": label, "url": digest.external_url}
    return {"type": "actions", "elements": [button]}
