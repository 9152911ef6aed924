"""Floods: when too many groups begin to fire at once, a channel is told of them in one digest.

    the group, at this destination            it is told by
    critical                                  a message of its own; it leaves its digest
    in a digest                               that digest (repeats, once the digest is closed: a message of its own)
    new, a digest is open                     joins it
    new, the seventh within 60 seconds        opens a digest
    else                                      a message of its own

A digest is open until nothing has joined it for 5 minutes; what is in it keeps it up to date for as long as it fires.
All of it is rows, written in the transaction of the flush.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Protocol

from obskit.model.actions import Action, Notice, NoticeReason
from obskit.model.digest import Digest, Entry, Tally
from obskit.model.severity import CRITICAL, rank
from obskit.store.database import Transaction

ROOTS: Final = 6
"""So many new messages within WINDOW_MS a channel gets; the next one opens a digest."""
WINDOW_MS: Final = 60_000
QUIET_MS: Final = 300_000
_ENTRIES: Final = 10
_TALLIES: Final = 10
_NAMES: Final = 3
_PLACES: Final = ("app", "service", "queue", "job", "environment", "env", "cluster", "namespace", "region")
_KEPT: Final = 20


class Channel(Protocol):
    """A destination that people read."""

    id: str

    def actions(self, notice: Notice) -> Sequence[Action]:
        """The actions that tell a notice by itself."""
        ...

    def digest(self, digest: Digest) -> Sequence[Action]:
        """The actions that tell a flood."""
        ...


@dataclass(frozen=True, slots=True)
class _Member:
    """What a digest says of a group."""

    group_key: str
    name: str
    place: str
    severity: str
    rank: int
    since_ms: int
    firing: int


class Floods:
    """The floods of one flush: `sift` each notice, then `sum_up` once."""

    def __init__(self, tx: Transaction, now_ms: int, external_url: str = "") -> None:
        self.tx = tx
        self._now_ms = now_ms
        self._external_url = external_url
        self._changed: dict[str, Channel] = {}

    def sift(self, channel: Channel, notice: Notice) -> Sequence[Action]:
        """The actions of a notice; none when a digest tells it."""
        if notice.reason is NoticeReason.TEST:
            return channel.actions(notice)
        member = _member(notice)
        open_id, home = self._open_id(channel.id), self._home(channel, notice.group_key)
        first = notice.reason is NoticeReason.FIRST
        if home is not None and first and home != open_id:
            self._forget(channel, home, notice.group_key)  # of a flood that is over: this is another one
            home = None
        if home is not None:
            return self._keep(channel, notice, member, home)
        if not first:
            return channel.actions(notice)
        critical = bool(member.firing) and member.rank == CRITICAL
        recent = self._recent(channel.id)
        if critical or (open_id is None and len(recent) < ROOTS):
            self._note_root(channel.id, recent)
            return channel.actions(notice)
        self._join(channel, member, open_id or self._begin(channel.id, notice))
        return ()

    def sum_up(self) -> list[Action]:
        """The actions that tell the digests which have changed."""
        actions: list[Action] = []
        for digest_id, channel in self._changed.items():
            digest = self._read(digest_id)
            actions += channel.digest(digest)
            if not digest.firing and digest_id != self._open_id(channel.id):
                self.tx.execute("DELETE FROM digest WHERE id = ?", (digest_id,))
                self.tx.execute("DELETE FROM digest_group WHERE digest = ?", (digest_id,))
        self._changed.clear()
        return actions

    def _keep(self, channel: Channel, notice: Notice, member: _Member, digest_id: str) -> Sequence[Action]:
        """A notice of a group that a digest tells."""
        self._changed[digest_id] = channel
        speaks_up = notice.reason is NoticeReason.REPEAT and digest_id != self._open_id(channel.id)
        if member.firing and (member.rank == CRITICAL or speaks_up or notice.reason is NoticeReason.ESCALATED):
            self.tx.execute("UPDATE digest SET moved = moved + 1 WHERE id = ?", (digest_id,))
            self._forget(channel, digest_id, member.group_key)
            return channel.actions(notice)
        self._save(channel.id, digest_id, member)
        return ()

    def _forget(self, channel: Channel, digest_id: str, group_key: str) -> None:
        self._changed[digest_id] = channel
        self.tx.execute("DELETE FROM digest_group WHERE destination = ? AND group_key = ?", (channel.id, group_key))

    def _join(self, channel: Channel, member: _Member, digest_id: str) -> None:
        self._changed[digest_id] = channel
        self.tx.execute("UPDATE digest SET joined_ms = ?, total = total + 1 WHERE id = ?", (self._now_ms, digest_id))
        self._save(channel.id, digest_id, member)

    def _begin(self, destination: str, notice: Notice) -> str:
        self.tx.execute(
            "DELETE FROM digest WHERE destination = ? AND NOT EXISTS"
            " (SELECT 1 FROM digest_group WHERE digest = digest.id AND firing > 0)",
            (destination,),
        )
        self.tx.execute(
            "DELETE FROM digest_group WHERE destination = ? AND digest NOT IN (SELECT id FROM digest)", (destination,)
        )
        digest_id = blake2b(f"{destination}@{self._now_ms}".encode(), digest_size=6).hexdigest()
        self.tx.execute(
            "INSERT OR REPLACE INTO digest (id, destination, receiver, since_ms, joined_ms, total) VALUES (?,?,?,?,?,0)",
            (digest_id, destination, notice.receiver, self._now_ms, self._now_ms),
        )
        return digest_id

    def _save(self, destination: str, digest_id: str, member: _Member) -> None:
        self.tx.execute(
            "INSERT OR REPLACE INTO digest_group (destination, group_key, digest, name, place, severity, rank, since_ms,"
            " firing) VALUES (?,?,?,?,?,?,?,?,?)",
            (destination, member.group_key, digest_id, member.name, member.place, member.severity, member.rank,
             member.since_ms, member.firing),
        )  # fmt: skip

    def _home(self, channel: Channel, group_key: str) -> str | None:
        found = self.tx.execute(
            "SELECT digest FROM digest_group WHERE destination = ? AND group_key = ?", (channel.id, group_key)
        ).fetchone()
        return found[0] if found else None

    def _open_id(self, destination: str) -> str | None:
        # Joined in the future: by a wall clock that has been set back since.
        found = self.tx.execute(
            "SELECT id FROM digest WHERE destination = ? AND joined_ms > ? AND joined_ms <= ? ORDER BY joined_ms DESC LIMIT 1",
            (destination, self._now_ms - QUIET_MS, self._now_ms),
        ).fetchone()
        return found[0] if found else None

    def _recent(self, destination: str) -> list[int]:
        found = self.tx.execute("SELECT recent FROM flood WHERE destination = ?", (destination,)).fetchone()
        times: list[int] = json.loads(found[0]) if found else []
        return [t_ms for t_ms in times if self._now_ms - WINDOW_MS < t_ms <= self._now_ms]

    def _note_root(self, destination: str, recent: list[int]) -> None:
        times = json.dumps([*recent, self._now_ms][-_KEPT:])
        self.tx.execute("INSERT OR REPLACE INTO flood (destination, recent) VALUES (?,?)", (destination, times))

    def _read(self, digest_id: str) -> Digest:
        receiver, since_ms, total, moved = self.tx.execute(
            "SELECT receiver, since_ms, total, moved FROM digest WHERE id = ?", (digest_id,)
        ).fetchone()
        tallies = self.tx.execute(
            "SELECT place, name, SUM(firing > 0), COUNT(*) FROM digest_group WHERE digest = ? GROUP BY name, place"
            " ORDER BY 3 DESC, 4 DESC, 2, 1",
            (digest_id,),
        ).fetchall()
        entries = self.tx.execute(
            "SELECT name, place, severity, since_ms FROM digest_group WHERE digest = ? AND firing > 0"
            " ORDER BY rank DESC, since_ms, group_key LIMIT ?",
            (digest_id, _ENTRIES),
        )
        return Digest(
            id=digest_id,
            receiver=receiver,
            since_ms=since_ms,
            decided_ms=self._now_ms,
            total=total,
            firing=sum(firing for _, _, firing, _ in tallies),
            moved=moved,
            more_tallies=max(0, len(tallies) - _TALLIES),
            tallies=tuple(Tally(*row) for row in tallies[:_TALLIES]),
            entries=tuple(Entry(*row) for row in entries),
            external_url=self._external_url,
        )


def _member(notice: Notice) -> _Member:
    alerts = sorted(notice.firing or notice.alerts, key=lambda alert: -rank(alert))
    names = list(dict.fromkeys(alert.name for alert in alerts))[:_NAMES]
    common: Callable[[str], str] = notice.common_labels.get
    return _Member(
        group_key=notice.group_key,
        name=", ".join(names) or "alert",
        place="/".join(value for value in map(common, _PLACES) if value),
        severity=alerts[0].labels.get("severity") if alerts else "",
        rank=rank(alerts[0]) if alerts else 0,
        since_ms=min((alert.starts_ms for alert in alerts), default=notice.decided_ms),
        firing=len(notice.firing),
    )
