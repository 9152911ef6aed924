"""The evaluate loop: every group at its slots, and alerting rules at once when data comes that they look at.

It decides when to evaluate and commits what came of it: samples, alert state and what routing makes of the
transitions, in one transaction. What an evaluation means is left to evaluation.py and state.py.

Queries run in one worker thread, in slices, so that a big group holds up neither the event loop nor an arrival.
What could not be committed is not adopted: the next slot decides it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from obskit.clock import Clock
from obskit.errors import StoreError
from obskit.model.alerts import Transition
from obskit.model.labels import Labels
from obskit.model.samples import STALE_NAN
from obskit.rules import ledger, telemetry
from obskit.rules.arrivals import Arrivals, Woken
from obskit.rules.evaluation import Evaluator, Outcome, writes
from obskit.rules.groups import Group, Rule, source_of_rule
from obskit.rules.live import GroupStatus, LiveGroup, LiveRule, Past
from obskit.rules.state import abandon
from obskit.store.database import Database, Transaction
from obskit.store.interface import Batch, Samples, Touched

log = logging.getLogger(__name__)

T = TypeVar("T")
OnTransitions = Callable[[Transaction, Sequence[Transition]], None]

SLICE_S: Final = 0.02
COALESCE_S: Final = 0.01
LONGEST_SLEEP_S: Final = 60.0
LEAVING_MS: Final = 120_000
"""Series of a rule that is gone are ended after this time, unless another rule took them over."""


class RuleStore(Protocol):
    """What the runner needs of the store: an append that takes a part of the transaction with it."""

    @property
    def database(self) -> Database:
        """Where the ledger is read from."""
        ...

    async def append(
        self, batch: Batch, also: Callable[[Transaction], None] | None = None, *, essential: bool = False
    ) -> None:
        """Store the batch, and do what `also` does, in one transaction."""
        ...


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who hears of transitions: `record` inside their transaction, `after_commit` when it has been committed."""

    record: OnTransitions
    after_commit: Callable[[], None]


@dataclass(slots=True)
class _Turn:
    """A group's evaluation at one slot: the rules still to come, and what was found but not yet committed."""

    live: LiveGroup
    slot_ms: int
    to_come: deque[Rule]
    found: list[Outcome]
    written: set[str]


class Runner:
    """Evaluates rule groups until it is cancelled. `wake` is given to the store's subscription."""

    def __init__(
        self,
        store: RuleStore,
        evaluator: Evaluator,
        listeners: Listeners,
        clock: Clock,
        *,
        groups: Iterable[Group] = (),
    ) -> None:
        self._store = store
        self._evaluator = evaluator
        self._listeners = listeners
        self._clock = clock
        self._groups: dict[str, LiveGroup] = {group.key: LiveGroup(group, {}) for group in groups}
        self._arrivals = Arrivals(live.group for live in self._groups.values())
        self._woken = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="obskit-rules")
        self._tasks: asyncio.TaskGroup | None = None
        self._of_groups: list[asyncio.Task[None]] = []
        self._leaving: dict[Labels, int] = {}
        self._restored = False
        self._unsaved = False

    async def run(self) -> None:
        """Evaluate until cancelled; first take up what the last process saved."""
        await self.restore()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._start_groups()
                self._tasks.create_task(self._listen(), name="rules: arrivals")
        finally:
            self._tasks = None
            self._thread.shutdown(wait=False)

    def wake(self, touched: Touched) -> None:
        """Note what an append touched; cheap, and called on the event loop after each commit."""
        if self._arrivals.wake(touched, self._clock.monotonic()):
            self._woken.set()

    async def restore(self) -> None:
        """Take up what was saved. Alerts of rules that are gone end here. Done once; `run` does it."""
        if self._restored:
            return
        self._restored = True
        groups = [live.group for live in self._groups.values()]
        past = Past.of_ledger(await self._store.database.write(ledger.load))
        await self._install(groups, past.after_pause(groups, self._clock.now_ms()))

    async def reload(self, groups: Iterable[Group]) -> None:
        """Go on with these groups: rules with the same key keep their alerts, those of the others end."""
        await self.restore()
        async with AsyncExitStack() as stack:
            # Nobody is in the midst of an evaluation while all locks are held: a cancelled task loses nothing.
            for live in self._groups.values():
                await stack.enter_async_context(live.lock)
            for task in self._of_groups:
                task.cancel()
            dropped = set(self._groups)
            await self._install(list(groups), Past.of_groups(self._groups.values()))
            for key in dropped - set(self._groups):
                telemetry.drop_group(key)
        self._start_groups()

    async def evaluate_all(self, at_ms: int) -> None:
        """Evaluate every group once at this time, in order (`obskit watch --once`)."""
        await self.restore()
        for live in self._groups.values():
            async with live.lock:
                await self._evaluate(live, at_ms)

    def snapshot(self) -> tuple[GroupStatus, ...]:
        """Groups, rules and alerts as they stand."""
        return tuple(live.status() for live in self._groups.values())

    # Start and reload

    async def _install(self, groups: Sequence[Group], past: Past) -> None:
        lives = {group.key: past.continue_in(group) for group in groups}
        kept = {key for live in lives.values() for key in live.rules}
        gone = [key for key in past.rules if key not in kept]
        now_ms = self._clock.now_ms()
        ended = [
            transition
            for key in gone
            for alert in past.rules[key].standing.active.values()
            if (transition := abandon(alert, source_of_rule(key), now_ms)) is not None
        ]
        gone_groups = [key for key in past.groups if key not in lives]
        if gone or gone_groups:

            def also(tx: Transaction) -> None:
                ledger.forget(tx, rules=gone, groups=gone_groups)
                if ended:
                    self._listeners.record(tx, ended)

            await self._store.append(Batch(), also, essential=True)
        for key in gone:
            self._leaving.update(dict.fromkeys(past.rules[key].standing.series, now_ms + LEAVING_MS))
        self._groups = lives
        arrivals = Arrivals(groups)
        arrivals.take_over(self._arrivals)
        self._arrivals = arrivals
        for group in groups:
            telemetry.show_group(group.key, interval_ms=group.interval_ms, rules=len(group.rules))
        if ended:
            self._listeners.after_commit()

    def _start_groups(self) -> None:
        if self._tasks is not None:
            self._of_groups = [
                self._tasks.create_task(self._run_group(live), name=f"rules: {live.group.name}")
                for live in self._groups.values()
            ]

    # Slots

    async def _run_group(self, live: LiveGroup) -> None:
        group = live.group
        live.next_slot_ms = live.first_slot_ms(self._clock.now_ms())
        while True:
            await self._sleep_until_slot(live)
            due_ms = max(group.slot_at(self._clock.now_ms()), live.next_slot_ms)
            missed = (due_ms - live.next_slot_ms) // group.interval_ms
            telemetry.MISSED.labels(group.key).inc(missed)
            telemetry.ITERATIONS.labels(group.key).inc(missed + 1)
            async with live.lock:
                live.next_slot_ms = due_ms + group.interval_ms
                await self._evaluate(live, due_ms)

    async def _sleep_until_slot(self, live: LiveGroup) -> None:
        """Sleep in short stretches, so that a wall clock that was set is noticed."""
        interval_ms = live.group.interval_ms
        while True:
            now_ms = self._clock.now_ms()
            assert live.next_slot_ms is not None
            wait_ms = live.next_slot_ms - now_ms
            if wait_ms <= 0:
                return
            if wait_ms > interval_ms:
                log.warning("clock went back: group=%s by_ms=%d", live.group.key, wait_ms - interval_ms)
                live.next_slot_ms = live.group.slot_at(now_ms) + interval_ms
                continue
            await self._clock.sleep(min(wait_ms / 1000, LONGEST_SLEEP_S))

    async def _evaluate(self, live: LiveGroup, slot_ms: int) -> None:
        """One evaluation of a group; the caller holds its lock."""
        started_s = self._clock.monotonic()
        turn = _Turn(live, slot_ms, deque(rule.rule for rule in live.rules.values()), [], set())
        while True:
            blocked = await self._in_thread(self._slice, turn)
            if blocked or not turn.to_come:
                # A rule that reads what a rule before it wrote must find it in the store.
                await self._commit_turn(turn)
            if not turn.to_come:
                break
        live.last_slot_ms = slot_ms
        live.duration_s = self._clock.monotonic() - started_s
        telemetry.LAST_EVALUATION.labels(live.group.key).set(slot_ms / 1000)
        telemetry.LAST_DURATION.labels(live.group.key).set(live.duration_s)

    def _slice(self, turn: _Turn) -> bool:
        """Evaluate rules until one has to wait for a commit (True), or none is left or the slice is over (False)."""
        group = turn.live.group
        until_s = self._clock.monotonic() + SLICE_S
        while turn.to_come:
            rule = turn.live.rules[turn.to_come[0].key]
            if turn.written and (rule.reads is None or not turn.written.isdisjoint(rule.reads)):
                return True
            turn.to_come.popleft()
            began_s = self._clock.monotonic()
            outcome = self._evaluated(group, rule, turn.slot_ms)
            ended_s = self._clock.monotonic()
            self._note(group, rule, outcome, turn.slot_ms, ended_s - began_s)
            turn.found.append(outcome)
            if outcome.samples:
                turn.written |= writes(rule.rule)
            if ended_s > until_s:
                return False
        return False

    def _evaluated(self, group: Group, rule: LiveRule, slot_ms: int) -> Outcome:
        try:
            return self._evaluator.at_slot(group, rule.rule, rule.standing, slot_ms)
        except Exception as error:  # one rule that meets a bug of ours must not stop the others
            log.exception("rule crashed: group=%s rule=%s", group.key, rule.rule.name)
            return Outcome(rule.rule, rule.standing, error=f"{type(error).__name__}: {error}")

    def _note(self, group: Group, rule: LiveRule, outcome: Outcome, slot_ms: int, duration_s: float) -> None:
        telemetry.EVALUATIONS.labels(group.key).inc()
        telemetry.FAILURES.labels(group.key).inc(bool(outcome.error))
        if not rule.judge(outcome, slot_ms=slot_ms, duration_s=duration_s):
            return
        if outcome.error:
            log.warning("rule fails: group=%s rule=%s reason=%s", group.key, rule.rule.name, outcome.error)
        else:
            log.info("rule works again: group=%s rule=%s", group.key, rule.rule.name)

    async def _commit_turn(self, turn: _Turn) -> None:
        samples = Samples()
        for outcome in turn.found:
            samples.labels += outcome.samples.labels
            samples.times_ms += outcome.samples.times_ms
            samples.values += outcome.samples.values
        if not turn.to_come:
            self._end_leaving(samples, turn.slot_ms - turn.live.group.query_offset_ms)
        await self._commit(turn.live, turn.found, samples, slot_ms=turn.slot_ms)
        turn.found = []
        turn.written = set()

    def _end_leaving(self, samples: Samples, at_ms: int) -> None:
        """Stale markers for the series of rules that a reload removed, once nobody writes them any more."""
        due = [labels for labels, due_ms in self._leaving.items() if due_ms <= at_ms]
        if not due:
            return
        taken_over = {
            series for live in self._groups.values() for r in live.rules.values() for series in r.standing.series
        }
        for labels in due:
            del self._leaving[labels]
            if labels not in taken_over:
                samples.add(labels, at_ms, STALE_NAN)

    # Arrivals

    async def _listen(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            busy = [key for key, live in self._groups.items() if live.lock.locked()]
            for group, woken in _by_group(self._arrivals.take(self._clock.monotonic(), busy)):
                live = self._groups.get(group)
                if live is None:
                    continue
                async with live.lock:
                    if self._groups.get(group) is live:  # no reload took its place while we waited
                        await self._arrive(live, woken)
            await self._clock.sleep(COALESCE_S)
            next_s = self._arrivals.next_s()
            if next_s is not None:
                await self._clock.sleep(max(0.0, next_s - self._clock.monotonic()))
                self._woken.set()

    async def _arrive(self, live: LiveGroup, woken: Sequence[Woken]) -> None:
        now_ms = self._clock.now_ms()
        last_ms = max(live.last_slot_ms or 0, live.last_arrival_ms)
        if last_ms > now_ms:
            return  # the clock went back: the next slot sorts it out
        # Strictly after the last slot, so that what it resolved and what an arrival resolved can be told apart.
        newest_ms = min(max(one.newest_ms for one in woken), now_ms)
        t_ms = max(newest_ms, (live.last_slot_ms or 0) + 1, live.last_arrival_ms)
        found = await self._in_thread(self._evaluated_on_arrival, live, woken, t_ms)
        live.last_arrival_ms = t_ms
        if any(outcome.transitions for outcome in found):
            await self._commit(live, found, Samples(), slot_ms=None)
            telemetry.ARRIVAL_SECONDS.observe(self._clock.monotonic() - min(one.woken_s for one in woken))

    def _evaluated_on_arrival(self, live: LiveGroup, woken: Sequence[Woken], t_ms: int) -> list[Outcome]:
        found = []
        for one in woken:
            live_rule = live.rules.get(one.rule.key)
            if live_rule is None:
                continue
            began_s = self._clock.monotonic()
            try:
                found.append(self._evaluator.on_arrival(live.group, one.rule, live_rule.standing, t_ms))
            except Exception:  # the next slot meets the same bug and tells it
                log.debug("rule crashed on arrival: rule=%s", one.rule.name, exc_info=True)
            ended_s = self._clock.monotonic()
            telemetry.ARRIVALS.inc()
            self._arrivals.rest(one.rule.key, took_s=ended_s - began_s, now_s=ended_s)
        return found

    # Commits

    async def _commit(
        self, live: LiveGroup, outcomes: Sequence[Outcome], samples: Samples, *, slot_ms: int | None
    ) -> None:
        """Write what was found, and take it over as what is true; the caller holds the group's lock."""
        transitions = [transition for outcome in outcomes for transition in outcome.transitions]

        def also(tx: Transaction) -> None:
            self._save(tx, live, outcomes, slot_ms)
            if transitions:
                self._listeners.record(tx, transitions)

        try:
            if samples or transitions or any(_has_alerts(live, outcome) for outcome in outcomes):
                await self._store.append(Batch(samples=samples), also, essential=True)
        except Exception as error:  # noqa: BLE001 - logged there; the loop must outlive a full disk and a bug in routing
            self._note_unsaved(error)
            # Pending alerts go on counting in memory; what must be told is decided again at the next slot.
            for outcome in outcomes:
                if not outcome.transitions:
                    live.rules[outcome.rule.key].standing = outcome.standing
            return
        self._unsaved = False
        for outcome in outcomes:
            rule = live.rules[outcome.rule.key]
            rule.standing = rule.saved = outcome.standing
        if transitions:
            self._listeners.after_commit()

    def _save(self, tx: Transaction, live: LiveGroup, outcomes: Sequence[Outcome], slot_ms: int | None) -> None:
        for outcome in outcomes:
            saved = live.rules[outcome.rule.key].saved
            ledger.save_alerts(tx, outcome.rule.key, saved.active, outcome.standing.active)
        if slot_ms is None:
            return
        ledger.save_slot(tx, live.group.key, slot_ms)
        now = {outcome.rule.key: outcome.standing.series for outcome in outcomes}
        if any(live.rules[key].saved.series.keys() != series.keys() for key, series in now.items()):
            series = {key: now.get(key, rule.saved.series) for key, rule in live.rules.items()}
            ledger.save_series(tx, live.group.key, series)

    def _note_unsaved(self, error: Exception) -> None:
        telemetry.UNSAVED.inc()
        if self._unsaved:
            return
        self._unsaved = True
        expected = isinstance(error, StoreError)
        log.error("rule results cannot be saved: reason=%s", error, exc_info=None if expected else error)

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _has_alerts(live: LiveGroup, outcome: Outcome) -> bool:
    """Whether the slot must be known to the next process: an alert counts by it, now or until now."""
    return bool(outcome.standing.active or live.rules[outcome.rule.key].saved.active)


def _by_group(woken: Iterable[Woken]) -> Iterable[tuple[str, list[Woken]]]:
    groups: dict[str, list[Woken]] = {}
    for one in woken:
        groups.setdefault(one.group, []).append(one)
    return groups.items()
