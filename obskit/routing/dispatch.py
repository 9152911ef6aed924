"""The loop that turns transitions into notices: takes alerts in, holds groups for their time, flushes them.

A flush is one transaction: what each destination is told, the note that it was told, and the outbox's actions come to
be together. All state is in rows, so a process that dies between any two steps neither forgets nor repeats.
Which group and when is groups.py's, how it stands plan.py's, whether and why a destination is told decisions.py's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

from obskit.clock import Clock, SteadyTime, wait_for
from obskit.model.actions import Action, Notice, NoticeReason
from obskit.model.alerts import Alert, Transition
from obskit.model.labels import Labels
from obskit.model.telemetry import REGISTRY, Counter, Gauge
from obskit.outbox import put
from obskit.routing import intake, rows
from obskit.routing.acks import Acks
from obskit.routing.decisions import QUIET, Decision, Turn, at_flush, between_flushes
from obskit.routing.floods import Floods
from obskit.routing.flush import stand
from obskit.routing.groups import Group, told_of
from obskit.routing.intervals import muted_by
from obskit.routing.maintenance import open_windows
from obskit.routing.plan import Destination, Moment, Plan
from obskit.routing.policy import Policy
from obskit.routing.silences import Silence, Silences
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


Decide = Callable[[Turn, str, Destination], Decision | None]


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
        self._called: deque[str] = deque()  # filled in the event loop's thread, emptied in the writer's
        self._resilenced: deque[Silence] = deque()
        self.silences = Silences(database, clock, changed=self._heed)
        self.acks = Acks(database, clock, self.tend)
        self.reload(policy, destinations)

    def reload(self, policy: Policy, destinations: Mapping[str, Sequence[Destination]]) -> None:
        """Route by another policy. Groups it has no place for stay until who heard of them heard of their end."""
        self._plan = Plan.of(policy, destinations)
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

    def tend(self, incidents: Iterable[str]) -> None:
        """Look at these incidents at once: somebody has said something of them. From the event loop's thread only."""
        self._called.extend(incidents)
        self.wake()

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
        next_turn_ms = plan.next_turn_ms()
        if self._touched or self._called or self._resilenced or not plan.loaded:
            return 0.0
        if next_turn_ms is None:
            return LONGEST_SLEEP_S
        return min(LONGEST_SLEEP_S, (next_turn_ms - self._time.now_ms()) / 1000)

    def _advance(self, tx: Transaction, plan: Plan) -> list[tuple[str, NoticeReason]]:
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

    def _flush_due(self, tx: Transaction, plan: Plan, now_ms: int) -> list[tuple[str, NoticeReason]]:
        self._take_called(plan, now_ms)
        next_turn_ms = plan.next_turn_ms()
        if next_turn_ms is None or next_turn_ms > now_ms:
            return []  # most transactions only take alerts in: what a flush needs to know is not looked up for them
        told: list[tuple[str, NoticeReason]] = []
        floods = Floods(tx, self._clock.now_ms(), self._external_url)
        moment = self._moment(plan, now_ms)
        plan.look_for_stand_ins(tx, now_ms, moment.wall_ms)
        for count, group in enumerate(plan.groups.due(now_ms), start=1):
            told += self._flush(floods, plan, group, moment)
            if len(told) >= TOLD_AT_ONCE or count >= FLUSHES_AT_ONCE:
                break
        for group in plan.due_looks(now_ms, TOLD_AT_ONCE):
            told += self._look(floods, plan, group, moment)
        for action in floods.sum_up():
            put(tx, action, self._clock.now_ms())
        return told

    def _heed(self, changed: Sequence[Silence]) -> None:
        self._resilenced.extend(changed)
        self.wake()

    def _take_called(self, plan: Plan, now_ms: int) -> None:
        incidents = frozenset(self._called.popleft() for _ in range(len(self._called)))
        silences = [self._resilenced.popleft() for _ in range(len(self._resilenced))]
        if incidents or silences:
            plan.look_again(incidents, silences, now_ms)

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

    def _find(self, tx: Transaction, plan: Plan, fingerprint: str) -> Alert | None:
        """An alert as the rows have it by now."""
        if not plan.loaded:
            return next(rows.load_alerts(tx, [fingerprint]), None)
        return self._touched.get(fingerprint) or plan.groups.alert(fingerprint)

    def _take_over(self, plan: Plan, taken: intake.Intake) -> None:
        """What was posted is committed."""
        self._touch(taken.changed.values())
        for alert in taken.extended.values():
            if plan.loaded and alert.fingerprint not in self._touched:
                plan.groups.extend(alert)
            else:
                self._touch([alert])

    def _end_expired(self, tx: Transaction, plan: Plan, now_ms: int) -> bool:
        """Alerts of others whose end has come; whether that was all of them."""
        wall_ms = self._clock.now_ms()
        ended = [intake.expired(alert) for alert in rows.load_expired(tx, wall_ms, TAKEN_AT_ONCE)]
        for alert in ended:
            rows.save_alert(tx, alert, wall_ms)
            plan.take_in(tx, alert, now_ms)
        return len(ended) < TAKEN_AT_ONCE

    def _flush(self, floods: Floods, plan: Plan, group: Group, moment: Moment) -> list[tuple[str, NoticeReason]]:
        """The group's time has come."""
        tx = floods.tx
        standing, last_told = plan.groups.stand(group), told_of(tx, group)
        kept = set(standing.firing)
        plan.looks.pop(group.key, None)
        if self._muted_by(group, plan):
            SUPPRESSED.labels("time interval").inc(len(standing.alerts))
            # Who was told that they are on hears of their end when the interval allows it.
            kept.update(*(standing.owed(told) for told in last_told.values()))
            stirred = group.stirred
            plan.groups.flushed(tx, group, group.members - kept, moment.now_ms)
            group.stirred = stirred  # what has changed was shown to nobody
            return []
        found = plan.quiet(group, standing, moment.silences)
        SUPPRESSED.labels("silence").inc(len(found.silenced))
        SUPPRESSED.labels("inhibition").inc(len(found.inhibited))
        quiet = found.all
        turn, reach = plan.turn(tx, group, (standing, quiet, last_told), moment)
        reasons = []
        for receiver, destination in reach:
            try:
                reason = self._tell(floods, turn, receiver, destination, at_flush)
            except Exception:  # a defect in one destination must not hold up the others
                log.exception("destination cannot be told: destination=%s", destination.id)
                UNTELLABLE.labels(receiver).inc()
                kept |= group.members  # what is over stays until everybody has been told
                continue
            if reason is None or reason in QUIET:
                kept |= quiet & standing.owed(last_told.get(destination.id))
            if reason is not None:
                reasons.append((receiver, reason))
        plan.groups.flushed(tx, group, group.members - kept, moment.now_ms)
        if not group.members:
            plan.looks.pop(group.key, None)
        return reasons

    def _look(self, floods: Floods, plan: Plan, group: Group, moment: Moment) -> list[tuple[str, NoticeReason]]:
        """Between two flushes: what became of the group is shown, and who is to hear of it by now is told."""
        if group.fresh or self._muted_by(group, plan):
            return []
        tx = floods.tx
        standing = plan.groups.stand(group)
        state = (standing, plan.quiet(group, standing, moment.silences).all, told_of(tx, group))
        turn, reach = plan.turn(tx, group, state, moment)
        told = []
        for receiver, destination in reach:
            try:
                reason = self._tell(floods, turn, receiver, destination, between_flushes)
            except Exception:  # as above; the flush tries again
                log.exception("destination cannot be told: destination=%s", destination.id)
                UNTELLABLE.labels(receiver).inc()
                continue
            if reason is not None:
                told.append((receiver, reason))
        return told

    def _tell(
        self, floods: Floods, turn: Turn, receiver: str, destination: Destination, decide: Decide
    ) -> NoticeReason | None:
        """Put what the destination is told into the outbox, and note it; why it was told."""
        decision = decide(turn, receiver, destination)
        if decision is None:
            return None
        actions = _actions(floods, destination, decision.notice)
        rows.save_told(floods.tx, turn.group.key, destination.id, turn.group.incident, decision.told)
        told_of(floods.tx, turn.group)[destination.id] = decision.told
        for action in actions:
            put(floods.tx, action, self._clock.now_ms())
        return decision.notice.reason

    def _muted_by(self, group: Group, plan: Plan) -> tuple[str, ...]:
        return muted_by(group.mutes, group.actives, plan.policy.intervals, self._clock.now_ms())

    def _moment(self, plan: Plan, now_ms: int) -> Moment:
        wall_ms = self._clock.now_ms()
        windows = open_windows(plan.policy.maintenance, plan.policy.intervals, wall_ms)
        return Moment(now_ms, wall_ms, self.silences.active(wall_ms).plus(windows), self._external_url)


def _actions(floods: Floods, destination: Destination, notice: Notice) -> Sequence[Action]:
    if not notice.alerts:
        return ()
    return floods.sift(destination, notice) if destination.digests else destination.actions(notice)
