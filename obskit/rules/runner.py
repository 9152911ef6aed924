"""The evaluate loop: every group at its slots, and alerting rules at once when data comes that they look at.

It decides when to evaluate. What an evaluation means is left to evaluation.py and state.py, writing it to commits.py,
whom an arrival concerns to arrivals.py and, for log lines, log_windows.py.

Queries run in one worker thread, in slices, so that a big group holds up neither the event loop nor an arrival.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, TypeVar

from obskit.clock import Clock, wait_for
from obskit.errors import StoreError
from obskit.model.labels import Labels
from obskit.model.samples import STALE_NAN
from obskit.rules import ledger, telemetry
from obskit.rules.arrivals import Arrivals, Woken
from obskit.rules.batches import Sharing
from obskit.rules.commits import Commits, Listeners, RuleStore
from obskit.rules.evaluation import Evaluator, Outcome, writes
from obskit.rules.groups import Group
from obskit.rules.leaves import LeafState
from obskit.rules.live import GroupStatus, LiveGroup, LiveRule, Past
from obskit.rules.log_windows import LogWindows
from obskit.store.interface import Samples, Touched

log = logging.getLogger(__name__)

T = TypeVar("T")

SLICE_S: Final = 0.02
COALESCE_S: Final = 0.01
LONGEST_SLEEP_S: Final = 60.0
WARM_AGAIN_S: Final = 0.2
LOOK_AGAIN_S: Final = 0.5


@dataclass(slots=True)
class _Turn:
    """A group's evaluation at one slot: the rules still to come, and what was found but not yet committed.

    `sharing` is of the rules between two commits: none of them reads what another has written.
    """

    live: LiveGroup
    slot_ms: int
    to_come: deque[LiveRule]
    found: list[Outcome] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    sharing: Sharing | None = None


class Runner:
    """Evaluates rule groups until it is cancelled. `wake` is given to the store's subscription.

    `logs` are the windows of log rules, which the evaluator asks too; without them such rules are judged at their slots
    only. `worked_s` tells what evaluations on arrival cost (CPU seconds of the calling thread); without it, all time
    counts.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each
        self,
        store: RuleStore,
        evaluator: Evaluator,
        listeners: Listeners,
        clock: Clock,
        *,
        groups: Iterable[Group] = (),
        logs: LogWindows | None = None,
        worked_s: Callable[[], float] | None = None,
    ) -> None:
        self._commits = Commits(store, listeners)
        self._database = store.database
        self._evaluator = evaluator
        self._clock = clock
        self._logs = logs
        self._cold = asyncio.Event()
        self._worked_s = worked_s or clock.monotonic
        self._groups: dict[str, LiveGroup] = {group.key: LiveGroup(group, {}) for group in groups}
        self._arrivals = Arrivals(live.group for live in self._groups.values())
        self._woken = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="obskit-rules")
        self._tasks: asyncio.TaskGroup | None = None
        self._of_groups: list[asyncio.Task[None]] = []
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_s = 0.0
        self._leaving: dict[Labels, set[str]] = {}
        self._changing = asyncio.Lock()
        self._restored = False

    async def run(self) -> None:
        """Evaluate until cancelled; first take up what the last process saved."""
        await self.restore()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._start_groups()
                self._tasks.create_task(self._listen(), name="rules: arrivals")
                if self._logs is not None:
                    self._tasks.create_task(self._warm(self._logs), name="rules: windows of log rules")
        finally:
            self._tasks = None
            self._thread.shutdown(wait=False)

    def wake(self, touched: Touched) -> None:
        """Note what an append touched; cheap, and called on the event loop after each commit."""
        if touched.records and self._logs is not None:
            self._logs.offer(touched.records)
            self._woken.set()
        if self._arrivals.wake(touched, self._clock.monotonic()):
            self._woken.set()

    async def restore(self) -> None:
        """Take up what was saved. Alerts of rules that are gone end here. Done once; `run` does it."""
        async with self._changing:
            if self._restored:
                return
            groups = [live.group for live in self._groups.values()]
            past = Past.of_ledger(await self._database.write(ledger.load))
            try:
                await self._end_gone(groups, past)
            except StoreError as error:  # alerting goes on from memory; what is left to end, the next start ends
                log.error("rules that are gone cannot be ended: reason=%s", error)
            await self._install(groups, past.after_pause(groups, self._clock.now_ms()))
            self._restored = True

    async def reload(self, groups: Iterable[Group]) -> None:
        """Go on with these groups: rules with the same key keep their alerts, those of the others end.

        Raises StoreError when that cannot be saved; the groups before then go on.
        """
        await self.restore()
        async with self._changing, AsyncExitStack() as stack:
            # Nobody is in the midst of an evaluation while all locks are held: a cancelled task loses nothing.
            for live in self._groups.values():
                await stack.enter_async_context(live.lock)
            past, wanted, before = Past.of_groups(self._groups.values()), list(groups), set(self._groups)
            await self._end_gone(wanted, past)
            for task in self._of_groups:
                task.cancel()
            await self._install(wanted, past)
            for key in before - set(self._groups):
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

    def log_windows(self) -> Mapping[LeafState, int]:
        """How many windows of log rules are in which state."""
        return {} if self._logs is None else self._logs.states()

    # Start and reload

    async def _end_gone(self, groups: Sequence[Group], past: Past) -> None:
        self._leaving |= await self._commits.end_gone(groups, past, self._clock.now_ms())

    async def _install(self, groups: Sequence[Group], past: Past) -> None:
        if self._logs is not None:
            await self._in_thread(self._logs.watch, groups)
            self._cold.set()
        self._groups = {group.key: past.continue_in(group) for group in groups}
        arrivals = Arrivals(groups)
        arrivals.take_over(self._arrivals)
        self._arrivals = arrivals
        for group in groups:
            telemetry.show_group(group.key, interval_ms=group.interval_ms, rules=len(group.rules))

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
            late_ms = 0
            if self._logs is not None and group.type.reads_logs:
                late_ms = await self._wait_for_lines(live, self._logs)
            due_ms = max(group.slot_at(self._clock.now_ms() - late_ms), live.next_slot_ms)
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

    async def _wait_for_lines(self, live: LiveGroup, logs: LogWindows) -> int:
        """Wait as long as sources lag, and say how long that is; lines of before the slot are judged meanwhile.

        Slots that come due in this time are not missed: they are late, each by as much.
        """
        group, slot_ms = live.group, live.next_slot_ms
        assert slot_ms is not None
        live.waits = asyncio.Event()
        try:
            while not live.waits.is_set():
                ready_ms = await self._in_thread(logs.ready_at_ms, group.key, slot_ms - group.query_offset_ms)
                now_ms = self._clock.now_ms()
                left_ms = ready_ms + group.query_offset_ms - now_ms
                if left_ms <= 0 or now_ms < slot_ms:
                    break
                await wait_for(self._clock, live.waits, min(left_ms / 1000, LOOK_AGAIN_S))
        finally:
            live.waits = None
        return logs.lag_ms(group.key)

    async def _evaluate(self, live: LiveGroup, slot_ms: int) -> None:
        """One evaluation of a group; the caller holds its lock."""
        started_s = self._clock.monotonic()
        if self._logs is not None and live.group.type.reads_logs:
            self._hear(self._logs, await self._in_thread(self._logs.take_in))
            self._logs.judged(live.group.key, slot_ms - live.group.query_offset_ms)
        turn = _Turn(live, slot_ms, deque(live.rules.values()))
        while True:
            if turn.sharing is None:
                turn.sharing = self._sharing(live, slot_ms, self._clock.monotonic)
            blocked = await self._in_thread(self._slice, turn)
            if blocked or not turn.to_come:
                # A rule that reads what a rule before it wrote must find it in the store.
                await self._commit_turn(turn)
            if not turn.to_come:
                break
        live.last_slot_ms, live.last_arrival_ms = slot_ms, 0
        live.duration_s = self._clock.monotonic() - started_s
        telemetry.LAST_EVALUATION.labels(live.group.key).set(slot_ms / 1000)
        telemetry.LAST_DURATION.labels(live.group.key).set(live.duration_s)

    def _slice(self, turn: _Turn) -> bool:
        """Evaluate rules until one has to wait for a commit (True), or none is left or the slice is over (False)."""
        group = turn.live.group
        until_s = self._clock.monotonic() + SLICE_S
        before = len(turn.found)
        blocked = False
        while turn.to_come:
            rule = turn.to_come[0]
            blocked = bool(turn.written) and (rule.reads is None or not turn.written.isdisjoint(rule.reads))
            if blocked:
                break
            turn.to_come.popleft()
            if self._evaluate_rule(turn, rule) > until_s:
                break
        _count(group, turn.found[before:])
        return blocked

    def _evaluate_rule(self, turn: _Turn, rule: LiveRule) -> float:
        """Evaluate a rule at the turn's slot; when that ended."""
        share_s = 0.0 if turn.sharing is None else turn.sharing.prepare(rule.rule)
        began_s = self._clock.monotonic()
        outcome = self._evaluated(turn, rule)
        ended_s = self._clock.monotonic()
        self._note(turn, rule, outcome, ended_s - began_s + share_s)
        turn.found.append(outcome)
        if outcome.samples:
            turn.written |= writes(rule.rule)
        return ended_s

    def _evaluated(self, turn: _Turn, rule: LiveRule) -> Outcome:
        group = turn.live.group
        try:
            return self._evaluator.at_slot(group, rule.rule, rule.standing, turn.slot_ms, turn.sharing)
        except Exception as error:  # one rule that meets a bug of ours must not stop the others
            log.exception("rule crashed: group=%s rule=%s", group.key, rule.rule.name)
            return Outcome(rule.rule, rule.standing, error=f"{type(error).__name__}: {error}")

    def _sharing(self, live: LiveGroup, t_ms: int, seconds: Callable[[], float]) -> Sharing | None:
        return self._evaluator.sharing(live.group, live.batches, t_ms, seconds=seconds)

    def _note(self, turn: _Turn, rule: LiveRule, outcome: Outcome, duration_s: float) -> None:
        if not rule.judge(outcome, slot_ms=turn.slot_ms, duration_s=duration_s):
            return
        group = turn.live.group
        if outcome.error:
            log.warning("rule fails: group=%s rule=%s reason=%s", group.key, rule.rule.name, outcome.error)
        else:
            log.info("rule works again: group=%s rule=%s", group.key, rule.rule.name)

    async def _commit_turn(self, turn: _Turn) -> None:
        samples = Samples()
        for outcome in turn.found:
            samples.extend(outcome.samples)
        if not turn.to_come:
            self._end_leaving(turn, samples)
        await self._commits.commit(turn.live, turn.found, samples, slot_ms=turn.slot_ms)
        turn.found, turn.written, turn.sharing = [], set(), None

    def _end_leaving(self, turn: _Turn, samples: Samples) -> None:
        """Stale markers for the series that a rule could have gone on with after a reload, once none of them did."""
        if not self._leaving:
            return
        group, rules = turn.live.group, turn.live.rules.values()
        written = {series for rule in rules for series in rule.standing.series}
        written.update(series for outcome in turn.found for series in outcome.standing.series)
        for series, heirs in list(self._leaving.items()):
            heirs.intersection_update(self._groups.keys() - {group.key})
            if series in written:
                del self._leaving[series]
            elif not heirs:
                del self._leaving[series]
                samples.add(series, turn.slot_ms - group.query_offset_ms, STALE_NAN)

    # Arrivals

    async def _listen(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            if self._logs is not None and self._logs.behind:
                found = await self._in_thread(self._logs.take_in, self._clock.monotonic() + SLICE_S)
                self._hear(self._logs, found)
            for group, woken in _by_group(self._arrivals.take(self._clock.monotonic(), self._busy())):
                live = self._groups.get(group)
                if live is None:
                    continue
                async with live.lock:
                    if self._groups.get(group) is live:  # no reload took its place while we waited
                        await self._arrive(live, woken)
            await self._clock.sleep(COALESCE_S)
            self._wake_for_rested()

    def _wake_for_rested(self) -> None:
        """See to it that the next round comes when the first of the waiting rules is rested, if not before."""
        rested_s, now_s = self._arrivals.next_s(), self._clock.monotonic()
        if rested_s is None:
            return
        if rested_s <= now_s:
            self._woken.set()
        elif self._tasks is not None and (self._alarm is None or self._alarm.done() or rested_s < self._alarm_s):
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_s = rested_s
            self._alarm = self._tasks.create_task(self._ring(rested_s - now_s), name="rules: a rest ends")

    async def _ring(self, in_s: float) -> None:
        await self._clock.sleep(in_s)
        self._woken.set()

    def _hear(self, logs: LogWindows, found: Mapping[str, int]) -> None:
        """Log lines that concern some rules were found."""
        self._arrivals.wake_rules(found, self._clock.monotonic())
        if found or logs.behind:
            self._woken.set()
        if logs.cold:
            self._cold.set()

    async def _warm(self, logs: LogWindows) -> None:
        """Read windows from the store, piece by piece, whenever there are cold ones."""
        while True:
            await self._cold.wait()
            self._cold.clear()
            while logs.cold:
                await self._in_thread(logs.read_piece)
                await self._database.call(lambda: None)  # by then, all is told that was committed before
                found, kept = await self._in_thread(logs.judge_piece)
                self._hear(logs, found)
                if not kept:
                    await self._clock.sleep(WARM_AGAIN_S)

    def _busy(self) -> set[str]:
        """The groups that are being evaluated, or about to be: an arrival must not overtake a slot."""
        now_ms = self._clock.now_ms()
        return {key for key, live in self._groups.items() if live.lock.locked() or live.slot_is_due(now_ms)}

    async def _arrive(self, live: LiveGroup, woken: Sequence[Woken]) -> None:
        """Evaluate woken rules, slice by slice, until all are done or the group's slot is due; with its lock held."""
        left = deque(woken)
        while left:
            now_ms = self._clock.now_ms()
            if live.slot_is_due(now_ms) or _overtakes(live, left):
                self._arrivals.put_back(left)
                return
            if max(live.last_slot_ms or 0, live.last_arrival_ms) > now_ms:
                return  # the clock went back: the next slot sorts it out
            # Strictly after the last slot, so that what it resolved and what an arrival resolved can be told apart.
            newest_ms = min(max(one.newest_ms for one in left), now_ms)
            t_ms = max(newest_ms, _latest_slot_ms(live, now_ms) + 1, live.last_arrival_ms)
            woken_s = min(one.woken_s for one in left)
            found = await self._in_thread(self._arrival_slice, live, left, t_ms)
            live.last_arrival_ms = t_ms
            if any(outcome.transitions for outcome in found):
                await self._commits.commit(live, found, Samples(), slot_ms=None)
                telemetry.ARRIVAL_SECONDS.observe(self._clock.monotonic() - woken_s)

    def _arrival_slice(self, live: LiveGroup, left: deque[Woken], t_ms: int) -> list[Outcome]:
        found = []
        until_s = self._clock.monotonic() + SLICE_S
        ended_s = 0.0
        sharing = self._sharing(live, t_ms, self._worked_s)
        if sharing is not None:
            sharing.only([one.rule.key for one in left])
        while left and ended_s <= until_s:
            rule = left.popleft().rule
            share_s = 0.0 if sharing is None else sharing.prepare(rule)
            began_s = self._worked_s()
            try:
                standing = live.rules[rule.key].standing
                found.append(self._evaluator.on_arrival(live.group, rule, standing, t_ms, sharing))
            except Exception:  # the next slot meets the same bug and tells it
                log.debug("rule crashed on arrival: rule=%s", rule.name, exc_info=True)
            cost_s, ended_s = self._worked_s() - began_s, self._clock.monotonic()
            telemetry.ARRIVALS.inc()
            self._arrivals.rest(rule.key, took_s=cost_s + share_s, now_s=ended_s)
        return found

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _latest_slot_ms(live: LiveGroup, now_ms: int) -> int:
    """The last slot. Before the first one what comes may be old (a history is brought in), but is not judged as of then."""
    return now_ms - live.group.interval_ms if live.last_slot_ms is None else live.last_slot_ms


def _overtakes(live: LiveGroup, woken: Iterable[Woken]) -> bool:
    """Whether lines of after a slot came while that waits: it waits no longer, or they would be judged before it."""
    if live.waits is None or live.next_slot_ms is None:
        return False
    if max(one.newest_ms for one in woken) > live.next_slot_ms:
        live.waits.set()
        return True
    return False


def _count(group: Group, outcomes: Sequence[Outcome]) -> None:
    telemetry.EVALUATIONS.labels(group.key).inc(len(outcomes))
    telemetry.FAILURES.labels(group.key).inc(sum(bool(outcome.error) for outcome in outcomes))


def _by_group(woken: Iterable[Woken]) -> Iterable[tuple[str, list[Woken]]]:
    groups: dict[str, list[Woken]] = {}
    for one in woken:
        groups.setdefault(one.group, []).append(one)
    return groups.items()
