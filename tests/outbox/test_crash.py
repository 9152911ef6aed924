"""Nothing is lost, lanes keep their order, and nothing is sent twice but across a crash: wherever that happens."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.actions import Outcome, OutcomeReason, OutcomeStatus
from obskit.outbox import Delivery, Outbox, put
from obskit.testing.clock import FakeClock, run
from tests.outbox.crash import Crash, MortalDatabase, lives
from tests.outbox.fakes import action

ANSWERS = {
    "yes": Outcome.sent({"ts": "1"}),
    "server": Outcome.retry(OutcomeReason.SERVER),
    "limited": Outcome.retry(OutcomeReason.RATE_LIMITED, after_s=5),
    "plainer": Outcome(OutcomeStatus.RETRY, OutcomeReason.PAYLOAD, degrade=True),
    "lost": Outcome(OutcomeStatus.RETRY, OutcomeReason.HANDLE_LOST, forget_handle=True),
}
PUTS = st.tuples(st.sampled_from(["d1", "d2"]), st.sampled_from("lm"), st.sampled_from([None, "root"]))
STEPS = st.lists(st.one_of(PUTS, st.sampled_from([0.0, 0.3, 2.0])), max_size=14)


class World:
    """What outlives every process: the receiver's memory, what is still to be put, the answers to come."""

    def __init__(self, todo: list[object], answers: list[str]) -> None:
        self.clock = FakeClock()
        self.todo = list(enumerate(todo))
        self.puts = {number: step for number, step in enumerate(todo) if isinstance(step, tuple)}
        self.answers = list(answers)
        self.accepted: list[tuple[int, Delivery]] = []
        self.life = -1

    async def live(self, database: MortalDatabase) -> bool:
        """One process, until it dies or everything is done; whether it survived."""
        self.life += 1

        async def receiver(delivery: Delivery) -> Outcome:
            database.fuse.step()
            answer = ANSWERS[self.answers.pop(0) if self.answers else "yes"]
            if delivery.degraded and answer.degrade:
                answer = Outcome.sent()
            if answer.status is OutcomeStatus.SENT:
                self.accepted.append((self.life, delivery))
            database.fuse.step()
            return answer

        outbox = Outbox(database, self.clock, {"notify": receiver}, luck=lambda: 0.5)
        running = asyncio.ensure_future(outbox.run())
        try:
            await self._work(database, outbox)
            return not database.fuse.burnt
        except Crash:
            return False
        finally:
            running.cancel()
            (end,) = await asyncio.gather(running, return_exceptions=True)
            assert database.fuse.burnt or isinstance(end, asyncio.CancelledError), end

    async def _work(self, database: MortalDatabase, outbox: Outbox) -> None:
        while self.todo and not database.fuse.burnt:
            number, step = self.todo[0]
            if isinstance(step, tuple):
                to, lane, coalesce = step
                made = action(f"p{number}", to=to, lane=lane, coalesce=coalesce, handle_key=lane)
                # The one who decides knows from its own rows whether its transaction was committed.
                if not database.read("SELECT 1 FROM outbox WHERE payload = ?", (made.payload,)):
                    await database.write(lambda tx: put(tx, made, self.clock.now_ms()))  # noqa: B023 - awaited here
                    outbox.wake()
            else:
                await self.clock.sleep(float(str(step)))
            self.todo.pop(0)
        await self.clock.sleep(3600)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.lists(st.sampled_from(sorted(ANSWERS)), max_size=8), st.lists(st.integers(0, 60), max_size=4))
def test_a_crash_at_any_statement_loses_nothing(steps: list[object], answers: list[str], fuses: list[int]) -> None:
    world = World(steps, answers)

    async def scenario(folder: Path) -> None:
        for database in lives(folder, fuses):
            survived = await world.live(database)
            rows = database.read("SELECT state, payload FROM outbox")
            await database.close()
            if survived:
                break
        check(world, {payload for _, payload in rows}, {state for state, _ in rows})

    with tempfile.TemporaryDirectory() as folder:
        run(scenario(Path(folder)), world.clock)


def check(world: World, kept: set[str], states: set[str]) -> None:
    arrived = {delivery.action.payload for _, delivery in world.accepted}
    assert states <= {"sent"}
    assert kept <= arrived, "what the outbox holds has arrived"
    for number, to in world.puts.items():
        newer = {f"p{n}" for n, other in world.puts.items() if n >= number and other == to and (to[2] or n == number)}
        assert newer & arrived, "it arrived, or a newer one in its place"
    sent_in_a_life = Counter((life, each.id, each.action.payload) for life, each in world.accepted)
    assert all(times == 1 for times in sent_in_a_life.values()), "twice within one life"
    for lane in {(each.action.destination, each.action.lane) for _, each in world.accepted}:
        ids = [each.id for _, each in world.accepted if (each.action.destination, each.action.lane) == lane]
        assert ids == sorted(ids), "out of order"
