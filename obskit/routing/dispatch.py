"""The loop that turns transitions into notices: takes alerts in, holds groups for their time, flushes them.

A flush is one transaction: what each destination is told, the note that it was told, and the outbox's actions come to
be together. All state is in rows, so a process that dies between any two steps neither forgets nor repeats.
Which group and when is groups.py's, whether and why a destination is told flush.py's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, Protocol

from obskit.clock import Clock, SteadyTime, wait_for
from obskit.model.actions import Action, Notice, NoticeReason
from obskit.model.alerts import Alert, Transition
from obskit.model.digest import Digest
from obskit.model.labels import Labels
from obskit.model.telemetry import REGISTRY, Counter, Gauge
from obskit.outbox import put
from obskit.routing import intake, rows
from obskit.routing.floods import Floods
from obskit.routing.flush import Standing, Told, stand, tell
from obskit.routing.groups import Group, Groups, Quiet
from obskit.routing.inhibit import Inhibitor
from obskit.routing.intervals import muted_by
from obskit.routing.policy import Policy
from obskit.routing.silences import Silences
from obskit.routing.views import AlertView, view_alerts
from obskit.store.database import Database, Transaction

log = logging.getLogger(__name__)

TOLD_AT_ONCE: Final = 50
"""Notices per transaction, so that a storm of alerts does not hold up the other writers."""
FLUSHES_AT_ONCE: Final = 500
"""Groups per transaction: one of which there is nothing to tell takes a hundredth of a millisecond."""
TAKEN_AT_ONCE: Final = 500
"""Alerts per transaction that find their groups, for the same reason."""
RETRY_S: Final = 1.0
LONGEST_SLEEP_S: Final = 3_600.0

NOTICES = Counter(
    "obskit_notices",
    "Notices decided, by receiver and by the reason it is told.",
    labelnames=("receiver", "reason"),
    registry=REGISTRY,
)
ALERT_GROUPS = Gauge("obskit_alert_groups", "Alert groups that are open.", registry=REGISTRY)
SUPPRESSED = Counter(
    "obskit_alerts_suppressed",
    "Alerts left out at a flush, by what kept them quiet.",
    labelnames=("reason",),
    registry=REGISTRY,
)
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
    digests: bool

    def digest(self, digest: Digest) -> Sequence[Action]:
        """The outbox actions that tell it of a flood, if it `digests` them. Pure."""
        ...

    def actions(self, notice: Notice) -> Sequence[Action]:
        """The outbox actions that tell it. Pure."""
        ...


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group for people: its alerts, when it is looked at next (Unix milliseconds), which intervals keep it quiet."""

    receiver: str
    group_key: str
    labels: Labels
    incident: str
    next_flush_ms: int
    alerts: tuple[Alert, ...]
    muted_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Decision:
    """What one destination is told at a flush, and what is noted that it was told. Nothing is said without alerts."""

    notice: Notice
    told: Told


@dataclass(slots=True, eq=False)
class _Plan:
    """One policy with its destinations, the groups and who inhibits; `loaded` when those agree with the rows."""

    policy: Policy
    groups: Groups
    destinations: Mapping[str, Sequence[Destination]]
    inhibitor: Inhibitor
    loaded: bool = False

    @classmethod
    def of(cls, policy: Policy, destinations: Mapping[str, Sequence[Destination]]) -> _Plan:
        reach = {name: tuple(each) for name, each in destinations.items()}
        ids = {name: [destination.id for destination in ours] for name, ours in reach.items()}
        return cls(policy, Groups(policy.route, ids), reach, Inhibitor(policy.inhibit_rules))

    def load_more(self, tx: Transaction, now_ms: int) -> None:
        """The next page of the rows; `loaded` when there was none."""
        page = self.groups.load_more(tx, now_ms)
        for alert in page or ():
            self.inhibitor.note(alert)
        self.loaded = page is None

    def anew(self) -> _Plan:
        return _Plan.of(self.policy, self.destinations)

    def take_in(self, tx: Transaction, alert: Alert, now_ms: int) -> None:
        self.inhibitor.note(alert)
        self.groups.take_in(tx, alert, now_ms)


class Dispatcher:
    """Groups alerts by the routing tree and tells each receiver's destinations what they do not know.

    `destinations` are those of each receiver's name; a receiver without any is one that nobody hears. `decided` is
    called after each COMMIT that put something into the outbox (Outbox.wake). `silences` are heeded at each flush.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        policy: Policy,
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
        self._touched: dict[str, Alert] = {}  # in the writer's thread: committed, and not yet in their groups
        self._trouble = ""
        self.silences = Silences(database, clock)
        self.reload(policy, destinations)

    def reload(self, policy: Policy, destinations: Mapping[str, Sequence[Destination]]) -> None:
        """Route by another policy. Groups it has no place for stay until who heard of them heard of their end."""
        self._plan = _Plan.of(policy, destinations)
        self.wake()

    @property
    def policy(self) -> Policy:
        """What it decides by now."""
        return self._plan.policy

    def accept(self, tx: Transaction, transitions: Iterable[Transition]) -> None:
        """Take transitions in, inside the transaction that decided them. Call `wake` after its COMMIT."""
        now_ms = self._clock.now_ms()
        alerts = [transition.alert for transition in transitions]
        for alert in alerts:
            rows.save_alert(tx, alert, now_ms)
        self._database.after_commit(lambda: self._touch(alerts))

    async def post(self, posted: Sequence[intake.Posted]) -> None:
        """Take in alerts that others decided."""
        for start in range(0, len(posted), TAKEN_AT_ONCE):
            part = posted[start : start + TAKEN_AT_ONCE]
            await self._database.write(partial(self._take_posted, part), essential=True)
        self.wake()

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
        with self._database.snapshot() as connection:
            alerts = {alert.fingerprint: alert for alert in map(rows.read_alert, connection.execute(rows.ALERTS))}
        return [
            GroupView(
                receiver=group.receiver,
                group_key=group.group_key,
                labels=group.labels,
                incident=group.incident,
                next_flush_ms=group.next_flush_ms,
                alerts=stand(alerts[each] for each in tuple(group.members) if each in alerts).alerts,
                muted_by=self._muted_by(group, self._plan),
            )
            for group in self._plan.groups.all()
        ]

    def alerts(self) -> dict[str, AlertView]:
        """Every alert that is on, by its fingerprint."""
        return view_alerts(self._database, self.policy, self.silences, self._clock.now_ms())

    async def _turn(self) -> float:
        """Take in and flush what is due; seconds until the next group is."""
        plan = self._plan
        try:
            told = await self._database.write(lambda tx: self._advance(tx, plan), essential=True)
        except Exception as error:  # whatever it was, alerting goes on from the rows
            if self._plan is plan:
                self._plan = plan.anew()
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
        if self._touched or not plan.loaded:
            return 0.0
        if next_flush_ms is None:
            return LONGEST_SLEEP_S
        return min(LONGEST_SLEEP_S, (next_flush_ms - self._time.now_ms()) / 1000)

    def _advance(self, tx: Transaction, plan: _Plan) -> list[tuple[str, NoticeReason]]:
        """One transaction's work, in the writer's thread: which receivers were told, and why."""
        now_ms = self._time.now_ms()
        if not plan.loaded:
            plan.load_more(tx, now_ms)
            return []
        for fingerprint in list(islice(self._touched, TAKEN_AT_ONCE)):
            plan.take_in(tx, self._touched.pop(fingerprint), now_ms)
        all_ended = self._end_expired(tx, plan, now_ms)
        if self._touched or not all_ended:
            return []  # groups are flushed when everybody is in
        return self._flush_due(tx, plan, now_ms)

    def _flush_due(self, tx: Transaction, plan: _Plan, now_ms: int) -> list[tuple[str, NoticeReason]]:
        told: list[tuple[str, NoticeReason]] = []
        floods = Floods(tx, self._clock.now_ms(), self._external_url)
        for count, group in enumerate(plan.groups.due(now_ms), start=1):
            told += self._flush(floods, plan, group, now_ms)
            if len(told) >= TOLD_AT_ONCE or count >= FLUSHES_AT_ONCE:
                break
        for action in floods.sum_up():
            put(tx, action, self._clock.now_ms())
        return told

    def _touch(self, alerts: Iterable[Alert]) -> None:
        self._touched.update((alert.fingerprint, alert) for alert in alerts)

    def _take_posted(self, posted: Sequence[intake.Posted], tx: Transaction) -> None:
        now_ms, plan = self._clock.now_ms(), self._plan
        taken = intake.Intake(now_ms, self.policy.resolve_timeout_ms, lambda each: self._find(tx, plan, each))
        for each in posted:
            taken.take(each)
        for alert in taken.changed.values():
            rows.save_alert(tx, alert, now_ms)
        rows.extend_alerts(tx, taken.extended.values(), now_ms)
        self._database.after_commit(lambda: self._take_over(plan, taken))

    def _find(self, tx: Transaction, plan: _Plan, fingerprint: str) -> Alert | None:
        """An alert as the rows have it by now."""
        if not plan.loaded:
            return next(rows.load_alerts(tx, [fingerprint]), None)
        return self._touched.get(fingerprint) or plan.groups.alert(fingerprint)

    def _take_over(self, plan: _Plan, taken: intake.Intake) -> None:
        """What was posted is committed."""
        self._touch(taken.changed.values())
        for alert in taken.extended.values():
            if plan.loaded and alert.fingerprint not in self._touched:
                plan.groups.extend(alert)
            else:
                self._touch([alert])

    def _end_expired(self, tx: Transaction, plan: _Plan, now_ms: int) -> bool:
        """Alerts of others whose end has come; whether that was all of them."""
        wall_ms = self._clock.now_ms()
        ended = [intake.expired(alert) for alert in rows.load_expired(tx, wall_ms, TAKEN_AT_ONCE)]
        for alert in ended:
            rows.save_alert(tx, alert, wall_ms)
            plan.take_in(tx, alert, now_ms)
        return len(ended) < TAKEN_AT_ONCE

    def _flush(self, floods: Floods, plan: _Plan, group: Group, now_ms: int) -> list[tuple[str, NoticeReason]]:
        tx = floods.tx
        standing = plan.groups.stand(group)
        if group.told is None:
            group.told = rows.load_told(tx, group.key)
        last_told = group.told
        destinations = plan.destinations.get(group.receiver, ())
        kept = set(standing.firing)
        if self._muted_by(group, plan):
            SUPPRESSED.labels("time interval").inc(len(standing.alerts))
            # Who was told that they are on hears of their end when the interval allows it.
            kept.update(*(standing.owed(last_told.get(destination.id)) for destination in destinations))
            plan.groups.flushed(tx, group, group.members - kept, now_ms)
            return []
        quiet = self._kept_quiet(plan, group, standing)
        reasons = []
        for destination in destinations:
            told = last_told.get(destination.id)
            try:
                decision = self._decide(group, destination, (told, standing, quiet), now_ms)
                actions = _actions(floods, destination, decision.notice) if decision else ()
            except Exception:  # a defect in one destination must not hold up the others
                log.exception("destination cannot be told: destination=%s", destination.id)
                UNTELLABLE.labels(group.receiver).inc()
                kept |= group.members  # what is over stays until everybody has been told
                continue
            if decision is None:
                kept |= quiet & standing.owed(told)
                continue
            rows.save_told(tx, group.key, destination.id, group.incident, decision.told)
            last_told[destination.id] = decision.told
            for action in actions:
                put(tx, action, self._clock.now_ms())
            reasons.append((group.receiver, decision.notice.reason))
        plan.groups.flushed(tx, group, group.members - kept, now_ms)
        return reasons

    def _muted_by(self, group: Group, plan: _Plan) -> tuple[str, ...]:
        return muted_by(group.mutes, group.actives, plan.policy.intervals, self._clock.now_ms())

    def _kept_quiet(self, plan: _Plan, group: Group, standing: Standing) -> frozenset[str]:
        """The fingerprints of the alerts that are silenced or inhibited."""
        silences, inhibitor = self.silences.active(self._clock.now_ms()), plan.inhibitor
        if not silences and not plan.policy.inhibit_rules:
            return frozenset()
        quiet = group.quiet
        if quiet is None or quiet.silences is not silences or quiet.inhibitions != inhibitor.version:
            ours = standing.alerts
            inhibited = frozenset(each.fingerprint for each in ours if inhibitor.inhibiting(each.labels))
            silenced = frozenset(each.fingerprint for each in ours if silences.covering(each.labels)) - inhibited
            quiet = group.quiet = Quiet(silences, inhibitor.version, inhibited, silenced)
        SUPPRESSED.labels("inhibition").inc(len(quiet.inhibited))
        SUPPRESSED.labels("silence").inc(len(quiet.silenced))
        return quiet.inhibited | quiet.silenced

    def _decide(
        self,
        group: Group,
        destination: Destination,
        state: tuple[Told | None, Standing, frozenset[str]],
        now_ms: int,
    ) -> _Decision | None:
        """What the destination is told, from what it was told, how the group stands, and what is kept quiet of it."""
        told, standing, quiet = state
        if told is None and group.closing:
            return None
        found = tell(
            told,
            standing,
            quiet,
            now_ms=now_ms,
            repeat_interval_ms=group.repeat_interval_ms,
            send_resolved=destination.send_resolved,
        )
        if found is None:
            return None
        reason, shown = found
        notice = Notice(
            receiver=group.receiver,
            group_key=group.group_key,
            group_labels=group.labels,
            alerts=tuple(each for each in shown.alerts if each.firing or destination.send_resolved),
            reason=reason,
            incident=group.incident,
            decided_ms=self._clock.now_ms(),
            external_url=self._external_url,
            changed=shown.changed(told),
        )
        return _Decision(notice, Told(shown.firing, shown.resolved, now_ms))


def _actions(floods: Floods, destination: Destination, notice: Notice) -> Sequence[Action]:
    if not notice.alerts:
        return ()
    return floods.sift(destination, notice) if destination.digests else destination.actions(notice)
