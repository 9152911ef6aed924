"""The life of one incident, as receivers are told of it: what tests of channels look at afterwards."""

from __future__ import annotations

from dataclasses import replace

from obskit.model.actions import Notice, NoticeReason
from obskit.model.context import Ack, Care, Escalated
from tests.notify.notices import MINUTE_MS, START_MS, alert, notice, resolved

A, B = alert("a"), alert("b", summary="9 % of requests to api failed, limit 2 %")


def at(one: Notice, minutes: int) -> Notice:
    """The same notice, decided so many minutes after the start."""
    return replace(one, decided_ms=START_MS + minutes * MINUTE_MS)


FIRST = at(notice(A), 0)
GROWN = at(notice(A, B, reason=NoticeReason.NEW_ALERTS, changed=frozenset({B.fingerprint})), 2)
SHRUNK = at(notice(A, alert("b", ended=True), reason=NoticeReason.SOME_RESOLVED, changed=frozenset({B.fingerprint})), 3)
AGAIN = at(notice(A, reason=NoticeReason.REPEAT), 5)
OVER = at(resolved("a", "b"), 6)
LIFE = (FIRST, GROWN, SHRUNK, AGAIN, OVER)

_WATCHED = replace(FIRST, incident="0002-again")
_FLAPPING = Care(flaps=5, home=FIRST.incident)
TENDED = at(replace(FIRST, reason=NoticeReason.TENDED, care=Care(ack=Ack("ann", START_MS, note="on it"))), 1)
ESCALATED = at(replace(FIRST, reason=NoticeReason.ESCALATED, care=Care(escalated=(Escalated("boss", 300_000),))), 5)
CARED_FOR = (
    FIRST,
    TENDED,
    ESCALATED,
    replace(OVER, care=_FLAPPING),
    at(replace(_WATCHED, care=_FLAPPING), 7),
    at(replace(_WATCHED, reason=NoticeReason.CALM, care=Care(home=FIRST.incident)), 67),
)
"""One that is acked, escalated, flaps over two incidents, and is calm again."""

NASTY = "<!channel> @everyone <b>x</b> **y** _z_ [a](http://b) `c` & \\ <@1> <script>"
LONG = "x" * 9_000
EVIL = notice(
    *(alert(f"a{number}", summary=f"{NASTY} {number} {LONG}", description=f"{NASTY}\n{LONG}") for number in range(30))
)
"""Thirty alerts that say far too much, in the markup of every channel."""
