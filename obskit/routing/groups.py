"""Groups in memory: which alerts are in which group, and when each group is flushed.

Everything here follows from the alert rows, the stored groups and the tree; it is built anew, a page at a time, at the
start, after a reload and after a transaction that failed. It lives in the writer's thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from obskit.model.alerts import Alert
from obskit.model.labels import Labels
from obskit.routing import rows
from obskit.routing.escalation import Step
from obskit.routing.flush import Standing, Told, stand
from obskit.routing.repeats import NO_GROWTH, Growth
from obskit.routing.rows import GroupRow
from obskit.routing.silences import ActiveSilences
from obskit.routing.tree import Route
from obskit.store.database import Database, Transaction

LOADED_AT_ONCE: Final = 500
"""Rows per transaction while everything is built: 10,000 alerts take 0.3 s, and nobody waits that long to append."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """What is kept quiet of a group, and by what that was found: it holds while those are the same."""

    silences: ActiveSilences
    inhibitions: int
    inhibited: frozenset[str]
    silenced: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """The fingerprints of what is kept quiet, by whatever."""
        return self.inhibited | self.silenced


@dataclass(slots=True, eq=False)
class Group:
    """One group of one receiver. Times are steady milliseconds.

    A group is `fresh` until its first flush, and `stirred` when one of its alerts has changed since the last one that
    was not muted. `mutes` and `actives` name time intervals. It is `closing` when no route leads to it any more, since a
    reload: then it takes no new alerts and repeats nothing, but whoever was told that it fires will hear that it is over.
    `standing`, `told` and `quiet` are what the last flush found, None where that may have changed.
    """

    key: str
    group_key: str
    receiver: str
    labels: Labels
    incident: str
    next_flush_ms: int
    group_interval_ms: int
    repeat_interval_ms: int | None
    mutes: tuple[str, ...] = ()
    actives: tuple[str, ...] = ()
    escalate: tuple[Step, ...] = ()
    growth: Growth = NO_GROWTH
    fresh: bool = True
    stirred: bool = True
    members: set[str] = field(default_factory=set)
    standing: Standing | None = None
    told: dict[str, Told] | None = None
    quiet: Quiet | None = None

    @property
    def closing(self) -> bool:
        """Whether only its end is still to be told."""
        return self.repeat_interval_ms is None

    def changed(self) -> None:
        """One of its alerts is not what it was."""
        self.standing = self.quiet = None
        self.stirred = True


@dataclass(slots=True, eq=False)
class _Known:
    """An alert, the routes it takes with its group's key on each, and the groups that hold it."""

    alert: Alert
    ways: tuple[tuple[Route, str], ...]
    homes: tuple[Group, ...] = ()


class Groups:
    """The groups of one routing tree. `destinations` are the ids of each receiver's."""

    def __init__(self, route: Route, destinations: Mapping[str, Collection[str]]) -> None:
        self._route = route
        self._reachable = {each for ids in destinations.values() for each in ids}  # it may have been escalated to any
        self._groups: dict[str, Group] = {}
        self._known: dict[str, _Known] = {}
        self._queue: list[tuple[int, str]] = []
        self._loaded_to = ""
        self._all_alerts_in = False
        self._strays: list[str] = []

    def __len__(self) -> int:
        return len(self._groups)

    def all(self) -> list[Group]:
        """The groups now. Safe from another thread: the copy is one step of the interpreter."""
        return list(self._groups.values())

    def alert(self, fingerprint: str) -> Alert | None:
        """The alert as it was taken in last."""
        known = self._known.get(fingerprint)
        return None if known is None else known.alert

    def next_flush_ms(self) -> int | None:
        """When the first group is due; None without groups."""
        while self._queue:
            due_ms, key = self._queue[0]
            group = self._groups.get(key)
            if group is not None and group.next_flush_ms == due_ms:
                return due_ms
            heapq.heappop(self._queue)
        return None

    def due(self, now_ms: int) -> Iterator[Group]:
        """The groups to flush now, the longest due first. Each is to be `flushed` before the next is asked for."""
        while (due_ms := self.next_flush_ms()) is not None and due_ms <= now_ms:
            yield self._groups[heapq.heappop(self._queue)[1]]

    def load_more(self, tx: Transaction, now_ms: int) -> list[Alert] | None:
        """Take in the next page of the rows; its alerts, or None when all of it is there.

        First the alerts, each with its groups, then the groups that no alert leads to any more.
        """
        if self._all_alerts_in:
            return self._load_groups(tx)
        page = rows.page_of_alerts(tx, self._loaded_to, LOADED_AT_ONCE)
        for alert in page:
            if not self._join(tx, alert, now_ms):
                self._strays.append(alert.fingerprint)
        self._all_alerts_in = not page
        self._loaded_to = page[-1].fingerprint if page else ""
        return page

    def _load_groups(self, tx: Transaction) -> list[Alert] | None:
        page = rows.page_of_groups(tx, self._loaded_to, LOADED_AT_ONCE)
        for row in page:
            if row.key not in self._groups:
                self._close(tx, row)
        if page:
            self._loaded_to = page[-1].key
            return []
        for fingerprint in self._strays:
            if fingerprint not in self._known:
                rows.delete_ended(tx, fingerprint)  # it may be on again since its page was read
        self._strays.clear()
        return None

    def take_in(self, tx: Transaction, alert: Alert, now_ms: int) -> None:
        """An alert has changed: find its groups. One that ended and is in no group is of no interest to anybody."""
        if alert.firing:
            self._join(tx, alert, now_ms)
        elif alert.fingerprint not in self._known:
            rows.delete_alert(tx, alert.fingerprint)
        else:
            self.update(alert)

    def update(self, alert: Alert) -> None:
        """An alert that is known has changed, and is in the groups in which it was."""
        known = self._known[alert.fingerprint]
        known.alert = alert
        for group in known.homes:
            group.changed()

    def extend(self, alert: Alert) -> None:
        """An alert that is known is on for longer: nothing that is told of it."""
        if alert.fingerprint in self._known:
            self._known[alert.fingerprint].alert = alert

    def stand(self, group: Group) -> Standing:
        """How the group stands."""
        if group.standing is None:
            group.standing = stand(self._known[each].alert for each in group.members)
        return group.standing

    def flushed(self, tx: Transaction, group: Group, gone: Collection[str], now_ms: int) -> None:
        """The group's destinations are told: let go what is over, close an empty group, wait for the next turn."""
        for fingerprint in gone:
            self._leave(tx, group, fingerprint)
        group.fresh = group.stirred = False
        if group.members:
            self._move(tx, group, now_ms + group.group_interval_ms)
        else:
            del self._groups[group.key]
            rows.delete_group(tx, group.key)

    def _join(
        self,
        tx: Transaction,
        alert: Alert,
        now_ms: int,
    ) -> bool:
        """Put an alert in its groups; whether it has any."""
        known = self._known.get(alert.fingerprint) or _Known(alert, self._ways(alert.labels))
        known.alert = alert
        for home in known.homes:
            home.changed()
        for route, key in known.ways:
            group = self._groups.get(key) or self._enter(tx, alert, route, key, now_ms)
            if group is None:
                continue
            self._put(known, group)
            if group.fresh and alert.starts_ms + route.group_wait_ms <= now_ms < group.next_flush_ms:
                self._move(tx, group, now_ms)
        return bool(known.homes)

    def _ways(self, labels: Labels) -> tuple[tuple[Route, str], ...]:
        ways = []
        for route in self._route.match(labels):
            key = _key(route, route.group_labels(labels))
            group = self._groups.get(key)
            ways.append((route, key if group is None else group.key))  # one text for all that share it
        return tuple(ways)

    def _put(self, known: _Known, group: Group) -> None:
        fingerprint = known.alert.fingerprint
        if fingerprint not in group.members:
            group.members.add(fingerprint)
            known.homes = (*known.homes, group)
            self._known[fingerprint] = known
            group.changed()

    def _enter(self, tx: Transaction, alert: Alert, route: Route, key: str, now_ms: int) -> Group | None:
        """The group of a firing alert, and of one that ended if it is stored: nobody has heard of another."""
        if not self._all_alerts_in and (row := rows.load_group(tx, key)) is not None:
            return self._resume(tx, row, route, now_ms)
        return self._open(tx, key, route.group_labels(alert.labels), route, now_ms) if alert.firing else None

    def _open(self, tx: Transaction, key: str, labels: Labels, route: Route, now_ms: int) -> Group:
        incident = blake2b(f"{key}@{now_ms}".encode(), digest_size=6).hexdigest()
        row = GroupRow(key, labels, incident, now_ms, now_ms + route.group_wait_ms)
        rows.save_group(tx, row)
        group = self._keep(row, route)
        group.told = {}
        return group

    def _resume(self, tx: Transaction, row: GroupRow, route: Route, now_ms: int) -> Group:
        group = self._keep(row, route)
        group.told = rows.load_told(tx, row.key)
        group.fresh = not group.told
        # Further away than any wait: the intervals were longer, or the wall clock has been set back since.
        latest_ms = now_ms + max(route.group_wait_ms, route.group_interval_ms)
        if row.next_flush_ms > latest_ms:
            self._wait(group, latest_ms)
        return group

    def _close(self, tx: Transaction, row: GroupRow) -> None:
        """No route leads to a stored group any more: keep it for those who were told that it fires."""
        group = self._keep(row, self._route)
        group.repeat_interval_ms, group.mutes, group.actives, group.escalate = None, (), (), ()
        group.told = rows.load_told(tx, row.key)
        heard = frozenset().union(*(told.firing for each, told in group.told.items() if each in self._reachable))
        for alert in rows.load_alerts(tx, heard):
            fingerprint = alert.fingerprint
            self._put(self._known.get(fingerprint) or _Known(alert, self._ways(alert.labels)), group)
        if not group.members:
            self.flushed(tx, group, (), 0)

    def _keep(self, row: GroupRow, route: Route) -> Group:
        receiver, _, group_key = row.key.partition(rows.SEPARATOR)
        group = Group(
            key=row.key,
            group_key=group_key,
            receiver=receiver,
            labels=row.labels,
            incident=row.incident,
            next_flush_ms=row.next_flush_ms,
            group_interval_ms=route.group_interval_ms,
            repeat_interval_ms=route.repeat_interval_ms,
            mutes=route.mutes,
            actives=route.actives,
            escalate=route.escalate,
            growth=route.growth,
        )
        self._groups[row.key] = group
        self._wait(group, row.next_flush_ms)
        return group

    def _move(self, tx: Transaction, group: Group, next_flush_ms: int) -> None:
        rows.move_flush(tx, group.key, next_flush_ms)
        self._wait(group, next_flush_ms)

    def _wait(self, group: Group, next_flush_ms: int) -> None:
        group.next_flush_ms = next_flush_ms
        heapq.heappush(self._queue, (next_flush_ms, group.key))

    def _leave(self, tx: Transaction, group: Group, fingerprint: str) -> None:
        group.members.discard(fingerprint)
        group.changed()
        known = self._known[fingerprint]
        known.homes = tuple(each for each in known.homes if each is not group)
        if not known.homes:
            del self._known[fingerprint]
            rows.delete_alert(tx, fingerprint)


def told_of(tx: Transaction, group: Group) -> dict[str, Told]:
    """What each destination was last told of the group."""
    if group.told is None:
        group.told = rows.load_told(tx, group.key)
    return group.told


def _key(route: Route, group_labels: Labels) -> str:
    return f"{route.receiver}{rows.SEPARATOR}{route.group_key(group_labels)}"


def open_incidents(database: Database) -> dict[str, list[str]]:
    """The incidents that are open, by the group key that messages carry: each receiver of a group has its own."""
    found: dict[str, list[str]] = {}
    for key, incident in database.read("SELECT group_key, incident FROM alert_group"):
        found.setdefault(key.partition(rows.SEPARATOR)[2], []).append(incident)
    return found
