"""Groups in memory: which alerts are in which group, and when each group is flushed.

Everything here follows from the alert rows, the stored groups and the tree; `load` builds it anew, at the start, after
a reload and after a transaction that failed. It lives in the writer's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from obskit.model.alerts import Alert
from obskit.model.labels import Labels
from obskit.routing import rows
from obskit.routing.escalation import Step
from obskit.routing.repeats import NO_GROWTH, Growth
from obskit.routing.rows import GroupRow
from obskit.routing.tree import Route
from obskit.store.database import Database, Transaction


@dataclass(slots=True, eq=False)
class Group:
    """One group of one receiver. Times are steady milliseconds.

    A group is `fresh` until its first flush, and `stirred` when an alert of it came in since the last one. `mutes` and
    `actives` name time intervals. It is `closing` when no route leads to it any more, since a reload: then it takes no
    new alerts and repeats nothing, but whoever was told that it fires will hear that it is over.
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

    @property
    def closing(self) -> bool:
        """Whether only its end is still to be told."""
        return self.repeat_interval_ms is None


class Groups:
    """The groups of one routing tree."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._groups: dict[str, Group] = {}
        self._homes: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def all(self) -> list[Group]:
        """The groups now. Safe from another thread: the copy is one step of the interpreter."""
        return list(self._groups.values())

    def next_flush_ms(self) -> int | None:
        """When the first group is due; None without groups."""
        return min((group.next_flush_ms for group in self._groups.values()), default=None)

    def due(self, now_ms: int, limit: int) -> list[Group]:
        """The groups to flush now, the longest due first."""
        due = [group for group in self._groups.values() if group.next_flush_ms <= now_ms]
        return sorted(due, key=lambda group: (group.next_flush_ms, group.key))[:limit]

    def load(self, tx: Transaction, destinations: Mapping[str, Collection[str]], now_ms: int) -> None:
        """Build everything from the rows. `destinations` are the ids of each receiver's."""
        self._groups.clear()
        self._homes.clear()
        stored = rows.load_groups(tx)
        firing = {alert.fingerprint: alert.firing for alert in self._take_in_all(tx, now_ms, stored)}
        for row in stored.values():
            if row.key not in self._groups:
                self._close(tx, row, destinations, firing.keys())
        for fingerprint, fires in firing.items():
            if not fires and fingerprint not in self._homes:
                rows.delete_alert(tx, fingerprint)

    def take_in(self, tx: Transaction, alert: Alert, now_ms: int) -> None:
        """An alert has changed: find its groups. One that ended and is in no group is of no interest to anybody."""
        if alert.firing:
            self._join(tx, alert, now_ms, {})
        elif alert.fingerprint not in self._homes:
            rows.delete_alert(tx, alert.fingerprint)

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

    def _take_in_all(self, tx: Transaction, now_ms: int, stored: Mapping[str, GroupRow]) -> Iterator[Alert]:
        for alert in rows.load_alerts(tx):
            self._join(tx, alert, now_ms, stored)
            yield alert

    def _join(self, tx: Transaction, alert: Alert, now_ms: int, stored: Mapping[str, GroupRow]) -> None:
        """Put an alert in its groups. Only one that fires opens a group: nobody has heard of one that ended."""
        for route in self._route.match(alert.labels):
            labels = route.group_labels(alert.labels)
            key = _key(route, labels)
            group = self._groups.get(key)
            if group is None and key in stored:
                group = self._resume(tx, stored[key], route, now_ms)
            elif group is None and alert.firing:
                group = self._open(tx, key, labels, route, now_ms)
            if group is None:
                continue
            group.members.add(alert.fingerprint)
            group.stirred = True
            self._homes.setdefault(alert.fingerprint, set()).add(key)
            if group.fresh and alert.starts_ms + route.group_wait_ms <= now_ms < group.next_flush_ms:
                self._move(tx, group, now_ms)

    def _open(self, tx: Transaction, key: str, labels: Labels, route: Route, now_ms: int) -> Group:
        incident = blake2b(f"{key}@{now_ms}".encode(), digest_size=6).hexdigest()
        row = GroupRow(key, labels, incident, now_ms, now_ms + route.group_wait_ms)
        rows.save_group(tx, row)
        return self._keep(row, route)

    def _resume(self, tx: Transaction, row: GroupRow, route: Route, now_ms: int) -> Group:
        group = self._keep(row, route)
        group.fresh = not rows.load_told(tx, row.key)
        # Further away than any wait: the intervals were longer, or the wall clock has been set back since.
        group.next_flush_ms = min(row.next_flush_ms, now_ms + max(route.group_wait_ms, route.group_interval_ms))
        return group

    def _close(
        self, tx: Transaction, row: GroupRow, destinations: Mapping[str, Collection[str]], known: Collection[str]
    ) -> None:
        """No route leads to a stored group any more: keep it for those who were told that it fires."""
        reachable = {each for ids in destinations.values() for each in ids}  # it may have been escalated to any
        group = self._keep(row, self._route)
        group.repeat_interval_ms, group.mutes, group.actives, group.escalate = None, (), (), ()
        for destination, told in rows.load_told(tx, row.key).items():
            if destination in reachable:
                group.members |= told.firing & frozenset(known)
        for fingerprint in group.members:
            self._homes.setdefault(fingerprint, set()).add(group.key)
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
        return group

    def _move(self, tx: Transaction, group: Group, next_flush_ms: int) -> None:
        group.next_flush_ms = next_flush_ms
        rows.move_flush(tx, group.key, next_flush_ms)

    def _leave(self, tx: Transaction, group: Group, fingerprint: str) -> None:
        group.members.discard(fingerprint)
        homes = self._homes.get(fingerprint, set())
        homes.discard(group.key)
        if not homes:
            self._homes.pop(fingerprint, None)
            rows.delete_alert(tx, fingerprint)


def _key(route: Route, group_labels: Labels) -> str:
    return f"{route.receiver}{rows.SEPARATOR}{route.group_key(group_labels)}"


def open_incidents(database: Database) -> dict[str, list[str]]:
    """The incidents that are open, by the group key that messages carry: each receiver of a group has its own."""
    found: dict[str, list[str]] = {}
    for key, incident in database.read("SELECT group_key, incident FROM alert_group"):
        found.setdefault(key.partition(rows.SEPARATOR)[2], []).append(incident)
    return found
