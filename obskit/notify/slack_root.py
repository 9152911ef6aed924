"""The life of a root message: which message of a group's channel a notice belongs to. Pure; one table.

    the group's last root                                  the notice is told by
    none                                                   a new root
    of the same incident                                   editing it
    of another incident, heard of within 15 minutes        editing it: the root is opened again
    of another incident, whose end it was never told       editing it: it would look as if that fired for ever
    of another incident, and the group has flapped since   editing it
    of another incident, over, and longer ago              a new root that links to the last one

What is known of the root is its handle in the outbox: written in the transaction that records the send, kept for as
long as the group is heard of now and then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Self

from obskit.model.actions import Notice

REOPEN_MS: Final = 15 * 60_000
WEEK_MS: Final = 7 * 86_400_000
HOUR_MS: Final = 3_600_000
_KEPT: Final = 30


class Way(StrEnum):
    """How a root tells a notice."""

    POST = "post"
    EDIT = "edit"
    REOPEN = "reopen"


@dataclass(frozen=True, slots=True)
class Root:
    """A group's last root message.

    `posted_ms` is the notice it first told, `seen_ms` the last one. `episodes` are when the group's incidents of the last
    week were first told, `turns` when it began or stopped within the last hour. It was the `nth` root within a week, and
    `before` links to the one before. `link` is its own permalink, once asked for.
    """

    channel: str
    ts: str
    incident: str
    posted_ms: int
    seen_ms: int
    firing: bool = True
    reopened: int = 0
    episodes: tuple[int, ...] = ()
    turns: tuple[int, ...] = ()
    nth: int = 1
    before: str = ""
    link: str = ""

    @classmethod
    def from_handle(cls, handle: Mapping[str, str] | None) -> Self | None:
        """What the outbox kept; None when there is no root."""
        if not handle:
            return None
        return cls(
            channel=handle["channel"],
            ts=handle["ts"],
            incident=handle.get("incident", ""),
            posted_ms=int(handle.get("posted_ms", "0")),
            seen_ms=int(handle.get("seen_ms", "0")),
            firing=handle.get("firing", "1") == "1",
            reopened=int(handle.get("reopened", "0")),
            episodes=_read(handle.get("episodes", "")),
            turns=_read(handle.get("turns", "")),
            nth=int(handle.get("nth", "1")),
            before=handle.get("before", ""),
            link=handle.get("link", ""),
        )

    def to_handle(self) -> dict[str, str]:
        """All but its place, which is the answer's to say."""
        return {
            "incident": self.incident,
            "posted_ms": str(self.posted_ms),
            "seen_ms": str(self.seen_ms),
            "firing": "1" if self.firing else "0",
            "reopened": str(self.reopened),
            "episodes": _written(self.episodes),
            "turns": _written(self.turns),
            "nth": str(self.nth),
            "before": self.before,
        }


def way(root: Root | None, notice: Notice) -> Way:
    """How the notice is told, by the table above."""
    if root is None:
        return Way.POST
    if root.incident == notice.incident:
        return Way.EDIT
    lately = _began_ms(notice) - root.seen_ms <= REOPEN_MS
    return Way.REOPEN if root.firing or notice.care.home or lately else Way.POST


def told(root: Root | None, notice: Notice) -> Root:
    """The root once it has told the notice; of a new one channel and `ts` are still empty."""
    taken, now_ms = way(root, notice), notice.decided_ms
    firing = bool(notice.firing)
    fresh = Root("", "", notice.incident, now_ms, now_ms, firing, 0, (now_ms,), (now_ms,))
    if root is None:
        return fresh
    another = root.incident != notice.incident
    turned = another or firing != root.firing
    kept = replace(
        root,
        incident=notice.incident,
        seen_ms=max(root.seen_ms, now_ms),
        firing=firing,
        reopened=root.reopened + (taken is Way.REOPEN),
        episodes=_since(root.episodes, now_ms - WEEK_MS, now_ms if another else None),
        turns=_since(root.turns, now_ms - HOUR_MS, now_ms if turned else None),
    )
    if taken is not Way.POST:
        return kept
    return replace(fresh, episodes=kept.episodes, turns=kept.turns, nth=len(kept.episodes), before=root.link)


def _began_ms(notice: Notice) -> int:
    return min((alert.starts_ms for alert in notice.alerts), default=notice.decided_ms)


def _since(times: tuple[int, ...], start_ms: int, more: int | None) -> tuple[int, ...]:
    kept = tuple(t_ms for t_ms in times if t_ms > start_ms) + (() if more is None else (more,))
    return kept[-_KEPT:]


def _read(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def _written(times: tuple[int, ...]) -> str:
    return ",".join(map(str, times))
