"""The loop that turns transitions into notices: takes alerts in, holds groups for their time, flushes them.

A flush is one transaction: what each destination is told, the note that it was told, and the outbox's actions come to
be together. All state is in rows, so a process that dies between any two steps neither forgets nor repeats.
Which group and when is groups.py's, whether and why a destination is told flush.py's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from obskit.clock import Clock, SteadyTime, wait_for
from obskit.model.actions import Action, Notice, NoticeReason
from obskit.model.alerts import Alert, Transition
from obskit.model.labels import Labels
from obskit.model.telemetry import REGISTRY, Counter, Gauge
from obskit.outbox import put
from obskit.routing import rows
from obskit.routing.flush import Standing, Told, decide, stand
from obskit.routing.groups import Group, Groups
from obskit.routing.tree import Route
from obskit.store.database import Database, Transaction

log = logging.getLogger(__name__)

FLUSHES_AT_ONCE: Final = 50
"""Groups per transaction, so that a storm of alerts does not hold up the other writers."""
RETRY_S: Final = 1.0
LONGEST_SLEEP_S: Final = 3_600.0

NOTICES = Counter(
    "obskit_notices",
    "Notices decided, by receiver and by the reason it is told.",
    labelnames=("receiver", "reason"),
    registry=REGISTRY,
)
ALERT_GROUPS = Gauge("obskit_alert_groups", "Alert groups that are open.", registry=REGISTRY)
UNTELLABLE = Counter(
    "obskit_notices_failed",
    "Notices that a destination could not make into actions: a defect in it, tried again at the next flush.",
    labelnames=("receiver",),
    registry=REGISTRY,
)


class Destination(Protocol):
    """One way to reach a receiver."""

    id: str
    send_resolved: bool

    def actions(self, notice: Notice) -> Sequence[Action]:
        """The outbox actions that tell it. Pure."""
        ...


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group for people: its alerts, and when it is looked at next (Unix milliseconds)."""

    receiver: str
    group_key: str
    labels: Labels
    incident: str
    next_flush_ms: int
    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class _Decision:
    """What one destination is told at a flush, and what is noted that it was told."""

    reason: NoticeReason
    told: Told
    actions: Sequence[Action]


@dataclass(slots=True, eq=False)
class _Plan:
    """One routing tree with its destinations and the groups under it; `loaded` when those agree with the rows."""

    groups: Groups
    destinations: Mapping[str, Sequence[Destination]]
    loaded: bool = False

    def load(self, tx: Transaction, now_ms: int) -> None:
        ids = {name: [destination.id for destination in ours] for name, ours in self.destinations.items()}
        self.groups.load(tx, ids, now_ms)
        self.loaded = True


class Dispatcher:
    """Groups alerts by the routing tree and tells each receiver's destinations what they do not know.

    `destinations` are those of each receiver's name; a receiver without any is one that nobody hears. `decided` is
    called after each COMMIT that put something into the outbox (Outbox.wake).
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        route: Route,
        destinations: Mapping[str, Sequence[Destination]],
        *,
        external_url: str = "",
        decided: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._time = SteadyTime(clock)
        self._external_url = external_url
        self._decided = decided
        self._woken = asyncio.Event()
        self._touched: list[str] = []  # in the writer's thread
        self._trouble = ""
        self.reload(route, destinations)

    def reload(self, route: Route, destinations: Mapping[str, Sequence[Destination]]) -> None:
        """Route by another tree. Groups it has no place for stay until those who heard of them heard of their end."""
        self._plan = _Plan(Groups(route), {name: tuple(each) for name, each in destinations.items()})
        self.wake()

    def accept(self, tx: Transaction, transitions: Iterable[Transition]) -> None:
        """Take transitions in, inside the transaction that decided them. Call `wake` after its COMMIT."""
        now_ms = self._clock.now_ms()
        for transition in transitions:
            rows.save_alert(tx, transition.alert, now_ms)
            # Read back inside a transaction of our own: one thread writes, so by then this one stands or is undone.
            self._touched.append(transition.alert.fingerprint)

    def wake(self) -> None:
        """Look at once: transitions were accepted and committed. From the event loop's thread only."""
        self._woken.set()

    async def run(self) -> None:
        """Flush groups as they are due, until cancelled."""
        while True:
            self._woken.clear()
            await wait_for(self._clock, self._woken, await self._turn())

    async def flush_due(self) -> None:
        """Take in and flush what is due now, and return: for a process that looks once."""
        while await self._turn() <= 0:
            pass

    def snapshot(self) -> list[GroupView]:
        """Every open group with its alerts, as they are now."""
        alerts = {alert.fingerprint: alert for alert in map(rows.read_alert, self._database.read(rows.ALERTS))}
        return [
            GroupView(
                receiver=group.receiver,
                group_key=group.group_key,
                labels=group.labels,
                incident=group.incident,
                next_flush_ms=group.next_flush_ms,
                alerts=stand(alerts[each] for each in tuple(group.members) if each in alerts).alerts,
            )
            for group in self._plan.groups.all()
        ]

    async def _turn(self) -> float:
        """Take in and flush what is due; seconds until the next group is."""
        plan = self._plan
        try:
            told = await self._database.write(lambda tx: self._advance(tx, plan), essential=True)
        except Exception as error:  # whatever it was, alerting goes on from the rows
            plan.loaded = False
            if self._trouble != str(error):
                log.exception("groups could not be flushed, trying again")
            self._trouble = str(error)
            return RETRY_S
        self._trouble = ""
        for receiver, reason in told:
            NOTICES.labels(receiver, reason.value).inc()
        if told:
            self._decided()
        ALERT_GROUPS.set(len(plan.groups))
        next_flush_ms = plan.groups.next_flush_ms()
        if next_flush_ms is None:
            return LONGEST_SLEEP_S
        return min(LONGEST_SLEEP_S, (next_flush_ms - self._time.now_ms()) / 1000)

    def _advance(self, tx: Transaction, plan: _Plan) -> list[tuple[str, NoticeReason]]:
        """One transaction's work, in the writer's thread: which receivers were told, and why."""
        now_ms = self._time.now_ms()
        touched, self._touched = self._touched, []
        if not plan.loaded:
            plan.load(tx, now_ms)
        for alert in rows.load_alerts(tx, touched):
            plan.groups.take_in(tx, alert, now_ms)
        told: list[tuple[str, NoticeReason]] = []
        for group in plan.groups.due(now_ms, FLUSHES_AT_ONCE):
            told += self._flush(tx, plan, group, now_ms)
        return told

    def _flush(self, tx: Transaction, plan: _Plan, group: Group, now_ms: int) -> list[tuple[str, NoticeReason]]:
        standing = stand(rows.load_alerts(tx, group.members))
        last_told = rows.load_told(tx, group.key)
        gone: Collection[str] = group.members - standing.firing
        reasons = []
        for destination in plan.destinations.get(group.receiver, ()):
            try:
                decision = self._decide(group, destination, standing, last_told.get(destination.id), now_ms)
            except Exception:  # a defect in one destination must not hold up the others
                log.exception("destination cannot be told: destination=%s", destination.id)
                UNTELLABLE.labels(group.receiver).inc()
                gone = ()  # what is over stays until everybody has been told
                continue
            if decision is not None:
                rows.save_told(tx, group.key, destination.id, group.incident, decision.told)
                for action in decision.actions:
                    put(tx, action, self._clock.now_ms())
                reasons.append((group.receiver, decision.reason))
        plan.groups.flushed(tx, group, gone, now_ms)
        return reasons

    def _decide(
        self, group: Group, destination: Destination, standing: Standing, told: Told | None, now_ms: int
    ) -> _Decision | None:
        if told is None and group.closing:
            return None
        reason = decide(
            told,
            standing,
            now_ms=now_ms,
            repeat_interval_ms=group.repeat_interval_ms,
            send_resolved=destination.send_resolved,
        )
        if reason is None:
            return None
        notice = Notice(
            receiver=group.receiver,
            group_key=group.group_key,
            group_labels=group.labels,
            alerts=tuple(each for each in standing.alerts if each.firing or destination.send_resolved),
            reason=reason,
            incident=group.incident,
            decided_ms=self._clock.now_ms(),
            external_url=self._external_url,
            changed=standing.changed(told),
        )
        actions = destination.actions(notice) if notice.alerts else ()
        return _Decision(reason, Told(standing.firing, standing.resolved, now_ms), actions)
