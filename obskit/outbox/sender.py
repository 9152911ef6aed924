"""The loop that empties the outbox: who may be tried now, how many at a time, and for how long.

One destination never delays another: each has its own slots, pause and pace. What an outcome means is verdict.py's to
say, what the rows look like afterwards rows.py's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from obskit.clock import Clock, SteadyTime, wait_for
from obskit.errors import StoreError
from obskit.model.actions import Outcome, OutcomeReason, OutcomeStatus
from obskit.outbox import measure, rows
from obskit.outbox.measure import OutboxStats
from obskit.outbox.pace import Pacer, Paces
from obskit.outbox.rows import BEHIND, Delivery, OutboxRow
from obskit.outbox.verdict import (
    LONGEST_BACKOFF_MS,
    OUT_OF_REACH,
    Limits,
    RowState,
    Tried,
    Verdict,
    judge,
    probe_wait_ms,
)
from obskit.store.database import Database, Transaction

log = logging.getLogger(__name__)

T = TypeVar("T")

Handler = Callable[[Delivery], Awaitable[Outcome]]
"""Carries one action out. Its exceptions are counted as `internal` and the action is tried again."""

STORE_RETRY_S: Final = 1.0
MEASURE_S: Final = 15.0
MEASURE_GAP_S: Final = 1.0
THIN_S: Final = 15.0
PRUNE_S: Final = 3_600.0
HURRY_GAP_S: Final = 60.0


@dataclass(slots=True)
class _Receiver:
    """What this process knows of a destination. Times are steady milliseconds."""

    in_flight: int = 0
    paused_until_ms: int = 0
    probe_ms: int = 0
    paced_until_ms: int = 0
    hurried_ms: int = 0
    failures: int = 0
    failing: OutcomeReason = OutcomeReason.NONE

    def free(self, parallel: int) -> int:
        """How many more attempts may begin. A destination that fails gets one at a time, to see when it is back."""
        return (1 if self.failing else parallel) - self.in_flight

    @property
    def open_ms(self) -> int:
        """From when on it may be tried at all: it asked us to wait, or does not answer and the next probe is then."""
        return max(self.paused_until_ms, self.probe_ms)

    @property
    def ready_ms(self) -> int:
        """When the next attempt may begin, its pace considered."""
        return max(self.open_ms, self.paced_until_ms)


@dataclass(slots=True)
class _Plan:
    """Whom to try now, with how many slots; and when to look again (steady milliseconds)."""

    slots: dict[str, int] = field(default_factory=dict)
    next_ms: int = BEHIND
    due: bool = False


class Outbox:
    """Sends what `put` has stored, until it has arrived or is known never to.

    `handlers` maps an action's kind to what carries it out; `paces` says how fast. Guarantees, with kill -9 at any instant:
    nothing is lost, the actions of one lane arrive in order, and nothing is sent twice unless the process died between
    the receiver's yes and its COMMIT.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        handlers: Mapping[str, Handler],
        *,
        paces: Paces | None = None,
        limits: Limits | None = None,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._clock = clock
        self._time = SteadyTime(clock)
        self._limits = limits or Limits()
        self._luck = luck
        self._pacer = Pacer()
        self._receivers: dict[str, _Receiver] = {}
        self._woken = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._draining = False
        self._serving: asyncio.Task[None] | None = None
        self._measured_s = float("-inf")
        self._pruned_s = float("-inf")
        self._thinned_s = float("-inf")
        self._over = False
        self._trouble = ""
        self.reload(handlers, paces or Paces())

    def reload(self, handlers: Mapping[str, Handler], paces: Paces) -> None:
        """Take other handlers and paces; attempts in flight end with the old ones."""
        self._handlers = dict(handlers)
        self._intervals = {name: seconds for name, seconds in paces.intervals.items() if seconds > 0}
        self._budget = paces.budget
        self.wake()

    def wake(self) -> None:
        """Look at once: something was put and committed. From the event loop's thread only."""
        self._woken.set()

    async def run(self) -> None:
        """Send until cancelled, or until `drain` has ended it; at once when that was before."""
        if self._over:
            return
        self._ended.clear()
        self._serving = serving = asyncio.ensure_future(self._serve())
        try:
            await asyncio.wait((serving,))
        finally:
            serving.cancel()
            await asyncio.wait((serving,))
            self._ended.set()
        if not serving.cancelled():
            serving.result()

    async def drain(self, seconds: float) -> None:
        """Finish what is in flight, try what is due, and end `run`, for good; after `seconds` break off.

        What was broken off is tried again by the next process.
        """
        self._over = self._draining = True
        self.wake()
        await wait_for(self._clock, self._ended, seconds)
        if self._serving is not None:
            self._serving.cancel()
        await self._ended.wait()

    async def retry(self, id: int) -> bool:
        """Try a dead, dropped or backing-off action again now; False when there is nothing to hurry."""
        now_ms = self._clock.now_ms()
        done = await self._write(lambda tx: rows.retry(tx, id, now_ms))
        if done:
            self._trust(id)
        self.wake()
        return done

    async def drop(self, id: int) -> bool:
        """Give up a waiting or dead action; False when it is in flight, arrived or unknown."""
        now_ms = self._clock.now_ms()
        done = await self._write(lambda tx: rows.drop(tx, id, now_ms))
        self.wake()
        return done

    def rows(self, state: RowState, *, limit: int = 1000) -> list[OutboxRow]:
        """The oldest actions in a state."""
        return measure.read_rows(self._database, state, limit=limit)

    def _trust(self, id: int) -> None:
        """Who asks for a retry says that the destination is mended: it need not wait, unless it asked us to."""
        for (destination,) in self._database.read("SELECT destination FROM outbox WHERE id = ?", (id,)):
            receiver = self._receiver(destination)
            if receiver.failing is not OutcomeReason.RATE_LIMITED:
                receiver.paused_until_ms = receiver.probe_ms = 0

    @property
    def stats(self) -> OutboxStats:
        """What waits and what is dead, read now."""
        return measure.read_stats(self._database, self._clock.now_ms(), in_flight=self._in_flight)

    @property
    def _in_flight(self) -> int:
        return sum(receiver.in_flight for receiver in self._receivers.values())

    async def _serve(self) -> None:
        await self._insist(self._recover)
        async with asyncio.TaskGroup() as attempts:
            while (wait_s := await self._guarded_turn(attempts)) is not None:
                await wait_for(self._clock, self._woken, wait_s)

    async def _guarded_turn(self, attempts: asyncio.TaskGroup) -> float | None:
        try:
            return await self._turn(attempts)
        except (StoreError, sqlite3.Error) as error:
            self._note_trouble(error)
            return STORE_RETRY_S

    async def _turn(self, attempts: asyncio.TaskGroup) -> float | None:
        """Begin what may be tried now; seconds until there may be more, None when a drain is through."""
        self._woken.clear()
        plan = self._plan()
        if self._draining and not plan.due and not self._in_flight:
            return None
        if plan.slots:
            return 0.0 if await self._begin(plan, attempts) else STORE_RETRY_S
        return await self._idle_s(plan)

    def _plan(self) -> _Plan:
        now_ms, plan = self._time.now_ms(), _Plan()
        for destination, due_ms in self._database.read(rows.QUEUES):
            receiver = self._receiver(destination)
            plan.due = plan.due or (due_ms <= now_ms and receiver.open_ms <= now_ms)
            free = receiver.free(1 if destination in self._intervals else self._limits.parallel)
            ready_ms = max(due_ms, receiver.ready_ms)
            if free <= 0:
                continue
            if ready_ms <= now_ms:
                plan.slots[destination] = free
            else:
                plan.next_ms = min(plan.next_ms, ready_ms)
        return plan

    async def _begin(self, plan: _Plan, attempts: asyncio.TaskGroup) -> int:
        """Lease what the plan allows and begin the attempts; how many."""
        now_ms = self._time.now_ms()
        until_ms = now_ms + round(self._limits.attempt_s * 2000)
        deliveries = await self._write(lambda tx: rows.take(tx, plan.slots, now_ms, until_ms))
        for delivery in deliveries:
            receiver = self._receiver(delivery.action.destination)
            receiver.in_flight += 1
            receiver.paced_until_ms = now_ms + round(self._intervals.get(delivery.action.destination, 0) * 1000)
            attempts.create_task(self._attempt(delivery, receiver))
        return len(deliveries)

    async def _attempt(self, delivery: Delivery, receiver: _Receiver) -> None:
        try:
            await self._take_turn(delivery)
            outcome = await self._carry_out(delivery, receiver)
            if not outcome.called:
                receiver.paced_until_ms = 0
            tried = Tried(
                attempt=delivery.attempt,
                age_ms=self._clock.now_ms() - delivery.renewed_ms,
                degraded=delivery.degraded,
                had_handle=delivery.handle is not None,
            )
            verdict = judge(outcome, tried, self._limits, self._luck())
            await self._insist(lambda: self._settle(delivery, outcome, verdict, receiver))
            self._tell(delivery, outcome, verdict, receiver)
        except Exception:
            # A defect of ours. The row keeps its lease: better late, after a restart, than again and again.
            log.exception(
                "attempt could not be recorded: id=%d destination=%s", delivery.id, delivery.action.destination
            )
        finally:
            receiver.in_flight -= 1
            self.wake()

    async def _take_turn(self, delivery: Delivery) -> None:
        """Wait for the place in a budget that is shared: first come, first served."""
        budget = self._budget(delivery)
        if budget is not None and (wait_ms := self._pacer.spend(budget, self._time.now_ms())):
            await self._clock.sleep(wait_ms / 1000)

    async def _carry_out(self, delivery: Delivery, receiver: _Receiver) -> Outcome:
        """The handler's outcome, or what its silence, its exception or its absence amounts to."""
        action = delivery.action
        handler = self._handlers.get(action.kind)
        if handler is None:
            return Outcome.permanent(OutcomeReason.CONFIG, f"nothing here carries out {action.kind}")
        attempt: asyncio.Future[Outcome] = asyncio.ensure_future(handler(delivery))
        timer = asyncio.ensure_future(self._clock.sleep(self._limits.attempt_s))
        try:
            await asyncio.wait((attempt, timer), return_when=asyncio.FIRST_COMPLETED)
            if attempt.cancelled():
                return Outcome.retry(OutcomeReason.INTERNAL, "the handler cancelled itself")
            if attempt.done():
                return attempt.result()
            return Outcome.retry(OutcomeReason.TIMEOUT, f"no answer within {self._limits.attempt_s:g} s")
        except Exception as error:
            if receiver.failing is not OutcomeReason.INTERNAL:
                log.exception("handler failed: kind=%s destination=%s", action.kind, action.destination)
            return Outcome.retry(OutcomeReason.INTERNAL, type(error).__name__)
        finally:
            timer.cancel()
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)

    async def _settle(self, delivery: Delivery, outcome: Outcome, verdict: Verdict, receiver: _Receiver) -> None:
        now_ms, steady_ms = self._clock.now_ms(), self._time.now_ms()
        due_ms = steady_ms + verdict.wait_ms if verdict.wait_ms else rows.AT_ONCE
        hurry = self._is_back(outcome, receiver, steady_ms)
        self._pause(receiver, outcome, verdict, steady_ms)

        def work(tx: Transaction) -> None:
            rows.settle(tx, delivery, outcome, verdict, now_ms=now_ms, due_ms=due_ms)
            if hurry:
                rows.hurry(tx, delivery.action.destination)

        await self._write(work)
        if hurry:
            receiver.hurried_ms = steady_ms

    def _pause(self, receiver: _Receiver, outcome: Outcome, verdict: Verdict, steady_ms: int) -> None:
        """Leave the whole destination alone for as long as this outcome says."""
        if verdict.pause:
            receiver.paused_until_ms = max(receiver.paused_until_ms, steady_ms + verdict.wait_ms)
        if outcome.reason not in OUT_OF_REACH:
            receiver.failures = receiver.probe_ms = 0
        elif steady_ms >= receiver.probe_ms:  # lanes that fail together fail once
            receiver.failures += 1
            receiver.probe_ms = steady_ms + probe_wait_ms(receiver.failures)

    def _is_back(self, outcome: Outcome, receiver: _Receiver, steady_ms: int) -> bool:
        """Whether a destination that failed has answered, so that its other lanes need not sit out their back-off.

        At most once a minute: an action that is poison must not be tried with every success of another.
        """
        return (
            outcome.status is OutcomeStatus.SENT
            and bool(receiver.failing)
            and steady_ms - receiver.hurried_ms >= HURRY_GAP_S * 1000
        )

    def _tell(self, delivery: Delivery, outcome: Outcome, verdict: Verdict, receiver: _Receiver) -> None:
        """Count, and log what changed."""
        destination, failing = delivery.action.destination, OutcomeReason.NONE
        measure.count(destination, outcome)
        if verdict.state is RowState.SENT:
            measure.LATENCY.observe(max(0, self._clock.now_ms() - delivery.renewed_ms) / 1000)
        elif verdict.state is RowState.WAITING:
            failing = receiver.failing if verdict.in_another_form else outcome.reason
        else:
            log.error(
                "action given up: id=%d destination=%s step=%s reason=%s detail=%s",
                delivery.id,
                destination,
                delivery.action.step,
                outcome.reason,
                outcome.detail,
            )
        if failing and failing is not receiver.failing:
            log.warning("destination fails: destination=%s reason=%s detail=%s", destination, failing, outcome.detail)
        elif receiver.failing and verdict.state is RowState.SENT:
            log.info("destination answers again: destination=%s", destination)
        receiver.failing = failing

    async def _recover(self) -> None:
        now_ms = self._time.now_ms()
        await self._write(lambda tx: rows.recover(tx, now_ms))
        for destination, until_ms in self._database.read(rows.PAUSED, (now_ms, BEHIND)):
            self._receiver(destination).paused_until_ms = until_ms

    async def _insist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Repeat `work` until the store takes it."""
        while True:
            try:
                return await work()
            except (StoreError, sqlite3.Error) as error:
                self._note_trouble(error)
            await self._clock.sleep(STORE_RETRY_S)

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        result = await self._database.write(work, essential=True)
        self._trouble = ""
        return result

    def _note_trouble(self, error: Exception) -> None:
        """Log what the store says, once until a write has gone well."""
        if self._trouble != str(error):
            log.error("outbox cannot use the store: %s", error)
        self._trouble = str(error)

    async def _idle_s(self, plan: _Plan) -> float:
        """How long nothing is due. Uses the pause to measure and to prune."""
        now_s = self._clock.monotonic()
        if now_s - self._pruned_s >= PRUNE_S and not self._draining:
            self._pruned_s = now_s
            await self._prune()
        if now_s - self._thinned_s >= THIN_S:
            self._thinned_s = now_s
            await self._thin(plan)
        until_due_s = (plan.next_ms - self._time.now_ms()) / 1000
        return max(0.001, min(until_due_s, self._measure(now_s, plan)))

    def _measure(self, now_s: float, plan: _Plan) -> float:
        """Refresh the gauges unless that was done a moment ago; seconds until they want it again."""
        since_s = now_s - self._measured_s
        if since_s < MEASURE_GAP_S:
            return MEASURE_GAP_S - since_s
        self._measured_s = now_s
        measure.show(self.stats, self._receivers)
        # While something waits its age grows, so we look up now and then; with nothing waiting we sleep.
        return MEASURE_S if plan.next_ms < BEHIND or self._in_flight else PRUNE_S

    async def _thin(self, plan: _Plan) -> None:
        """Keep what waits within its limit, where newer content allows it; and within reach."""
        now_ms, steady_ms = self._clock.now_ms(), self._time.now_ms()
        if plan.next_ms > steady_ms + LONGEST_BACKOFF_MS:
            await self._write(lambda tx: rows.bring_near(tx, steady_ms))
        while (excess := sum(self.stats.waiting.values()) - self._limits.waiting) > 0:
            left_out = await self._write(lambda tx: rows.thin(tx, excess, now_ms))
            if not left_out:
                return
            log.warning("too much waits, older states are left out: actions=%d", left_out)

    async def _prune(self) -> None:
        now_ms = self._clock.now_ms()
        while await self._write(lambda tx: rows.prune(tx, now_ms, self._limits)) >= rows.PRUNE_PAGE:
            pass

    def _receiver(self, destination: str) -> _Receiver:
        return self._receivers.setdefault(destination, _Receiver())
