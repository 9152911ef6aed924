"""Random transitions, random deaths: in the end every destination knows the truth, and every decision has arrived."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from obskit.model.actions import Notice, NoticeReason, Outcome, OutcomeReason
from obskit.model.alert_matchers import AlertMatcher
from obskit.model.alerts import Alert, Transition, TransitionKind
from obskit.model.labels import Labels
from obskit.model.matchers import MatchOp
from obskit.outbox import Delivery, Outbox
from obskit.routing.dispatch import Dispatcher
from obskit.testing.clock import FakeClock, run
from tests.outbox.crash import Crash, MortalDatabase, lives
from tests.routing.fakes import FakeDestination, tree

ROUTE = tree(
    group_by=["team"],
    group_wait="2s",
    group_interval="7s",
    repeat_interval="40s",
    escalate=[{"after": "9s", "to": "night"}, {"after": "25s", "unless": "resolved", "to": ["night", "boss"]}],
    routes=[{"receiver": "pages", "matchers": ["severity=critical"], "group_wait": "0s", "continue": True}, {}],
)
REACH = {
    "ops": [FakeDestination("slack", coalesce=True, edits=True), FakeDestination("hook")],
    "night": [FakeDestination("phone")],
    "boss": [FakeDestination("mail")],
    "pages": [FakeDestination("pd"), FakeDestination("quiet", send_resolved=False)],
}
ESCALATED = ("phone", "mail")
TEAMS, NAMES = ("web", "db"), ("a", "b", "c")
Group = tuple[str, str]


def labels_of(team: str, name: str) -> Labels:
    return Labels({"alertname": name, "team": team, "severity": "critical" if name == "a" else "warning"})


class World:
    """What outlives every process: the rules' own state, and what each destination has heard."""

    def __init__(self, seed: int) -> None:
        self.clock = FakeClock()
        self.dice = random.Random(seed)
        self.firing: dict[Labels, int] = {}
        self.heard: dict[Group, list[Notice]] = {}
        self.heard_ids: set[int] = set()
        self.unsure: Transition | None = None
        self.healthy = False

    def fuses(self) -> list[int]:
        return [self.dice.randrange(5, 150) for _ in range(self.dice.randrange(12))]

    def transition(self) -> Transition:
        """What the rules decide next: some alert turns."""
        labels = labels_of(self.dice.choice(TEAMS), self.dice.choice(NAMES))
        now_ms = self.clock.now_ms()
        if labels in self.firing:
            return Transition(TransitionKind.RESOLVED, Alert(labels, {}, self.firing[labels], now_ms))
        return Transition(TransitionKind.FIRED, Alert(labels, {}, now_ms))

    def committed(self, transition: Transition) -> None:
        if transition.kind is TransitionKind.FIRED:
            self.firing[transition.alert.labels] = transition.alert.starts_ms
        else:
            del self.firing[transition.alert.labels]

    async def receive(self, delivery: Delivery, database: MortalDatabase) -> Outcome:
        database.fuse.step()
        luck = 1 if self.healthy else self.dice.random()
        if luck < 0.15:
            return Outcome.retry(OutcomeReason.SERVER)
        if luck < 0.2:
            return Outcome.retry(OutcomeReason.RATE_LIMITED, after_s=9)
        notice = Notice.from_json(delivery.action.payload)
        self.heard_ids.add(delivery.id)
        self.heard.setdefault((delivery.action.destination, notice.group_key), []).append(notice)
        database.fuse.step()
        return Outcome.sent()

    async def live(self, database: MortalDatabase, turns: Iterator[int]) -> bool:
        """One process, until it dies or the turns are over and all is quiet; whether it survived."""

        async def receiver(delivery: Delivery) -> Outcome:
            return await self.receive(delivery, database)

        outbox = Outbox(database, self.clock, {"notify": receiver}, luck=self.dice.random)
        dispatcher = Dispatcher(database, self.clock, ROUTE, REACH, decided=outbox.wake)
        running = [asyncio.ensure_future(outbox.run()), asyncio.ensure_future(dispatcher.run())]
        try:
            if self.unsure is not None:  # the rules never learned of this COMMIT, and their state was written in it
                await self.hand_over(self.unsure, database, dispatcher)
            for _ in turns:
                await self.clock.sleep(self.dice.choice([0, 0.5, 3, 8]))
                if self.dice.random() < 0.2:
                    team = AlertMatcher("team", MatchOp.EQUAL, self.dice.choice(TEAMS))
                    await dispatcher.acks.ack("", [team], by="ann")
                await self.hand_over(self.transition(), database, dispatcher)
            self.healthy = True
            await self.clock.sleep(600.1)
            return not database.fuse.burnt
        except Crash:
            return False
        finally:
            for each in running:
                each.cancel()
            ends = await asyncio.gather(*running, return_exceptions=True)
            assert database.fuse.burnt or all(isinstance(end, asyncio.CancelledError) for end in ends), ends

    async def hand_over(self, transition: Transition, database: MortalDatabase, dispatcher: Dispatcher) -> None:
        self.unsure = transition
        await database.write(lambda tx: dispatcher.accept(tx, [transition]))
        self.unsure = None
        self.committed(transition)
        dispatcher.wake()


def truth(world: World) -> dict[Group, set[Labels]]:
    """What fires now, by destination and group."""
    found: dict[Group, set[Labels]] = {}
    for labels in world.firing:
        for route in ROUTE.route.match(labels):
            # By the end everything has fired for longer than it takes to escalate.
            for destination in (*REACH[route.receiver], *REACH["night"], *REACH["boss"]):
                key = (destination.id, route.group_key(route.group_labels(labels)))
                found.setdefault(key, set()).add(labels)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_every_destination_knows_the_truth_in_the_end(tmp_path: Path, seed: int) -> None:
    world = World(seed)
    turns = iter(range(40))

    async def scenario() -> None:
        for database in lives(tmp_path, world.fuses()):
            survived = await world.live(database, turns)
            rows = database.read("SELECT id, state, destination, payload FROM outbox")
            await database.close()
            if survived:
                break
        assert {state for _, state, *_ in rows} <= {"sent"}
        assert {id_ for id_, *_ in rows} <= world.heard_ids
        told = [Notice.from_json(payload) for _, _, destination, payload in rows if destination in ESCALATED]
        firsts = [(one.receiver, one.incident) for one in told if one.reason is NoticeReason.FIRST]
        assert len(firsts) == len(set(firsts))  # once for each incident, whoever died

    run(scenario(), world.clock)
    now = truth(world)
    assert set(now) <= set(world.heard)
    for group, notices in world.heard.items():
        fires = now.get(group, set())
        last = {alert.labels for alert in notices[-1].firing}
        if group[0] == "quiet":
            assert fires <= last
        else:
            assert fires == last, group


def test_the_scenarios_do_crash(tmp_path: Path) -> None:
    world = World(0)

    async def scenario() -> None:
        (first, *_) = lives(tmp_path, [20])
        assert not await world.live(first, iter(range(40)))
        await first.close()

    run(scenario(), world.clock)


def test_the_scenarios_do_escalate(tmp_path: Path) -> None:
    world = World(0)

    async def scenario() -> None:
        (only, *_) = lives(tmp_path, [])
        assert await world.live(only, iter(range(40)))
        await only.close()

    run(scenario(), world.clock)
    assert {destination for destination, _ in world.heard} >= set(ESCALATED)
