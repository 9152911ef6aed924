"""A whole way from transition to receiver: dispatcher, outbox, and destinations that remember what they heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from obskit.clock import Clock
from obskit.model.actions import Action, Notice, Outcome
from obskit.model.alerts import Alert, Transition, TransitionKind
from obskit.model.digest import Digest
from obskit.model.labels import Labels
from obskit.outbox import Delivery, Outbox
from obskit.routing.dispatch import Dispatcher
from obskit.routing.policy import Policy
from obskit.routing.tree import RouteSettings, build_tree
from obskit.store.database import Database
from obskit.testing.clock import FakeClock


@dataclass
class Told:
    """One notice as it arrived."""

    at: float
    destination: str
    notice: Notice

    @property
    def line(self) -> tuple[float, str, str, str]:
        """(when, to whom, why, the alerts: firing ones in capitals)"""
        names = "".join(a.name.upper() if a.firing else a.name.lower() for a in self.notice.alerts)
        return (round(self.at, 3), self.destination, self.notice.reason.value, names)


@dataclass
class FakeDestination:
    """Makes one action of a notice; with `coalesce`, an unsent one is replaced by the next."""

    id: str
    send_resolved: bool = True
    coalesce: bool = False
    digests: bool = False
    edits: bool = False

    def digest(self, digest: Digest) -> Sequence[Action]:
        return [Action(kind="digest", destination=self.id, lane=digest.id, payload=digest.to_json(), coalesce="digest")]

    def actions(self, notice: Notice) -> Sequence[Action]:
        return [
            Action(
                kind="notify",
                destination=self.id,
                lane=notice.group_key,
                payload=notice.to_json(),
                coalesce=notice.incident if self.coalesce else None,
            )
        ]


@dataclass
class Ears:
    """The handler behind every fake destination: hears what arrives unless `refuse` has an outcome for it."""

    clock: Clock
    heard: list[Told] = field(default_factory=list)
    refused: dict[str, list[Outcome]] = field(default_factory=dict)

    async def __call__(self, delivery: Delivery) -> Outcome:
        destination = delivery.action.destination
        if self.refused.get(destination):
            return self.refused[destination].pop(0)
        self.heard.append(Told(self.clock.monotonic(), destination, Notice.from_json(delivery.action.payload)))
        return Outcome.sent()

    @property
    def lines(self) -> list[tuple[float, str, str, str]]:
        return [told.line for told in self.heard]


def tree(**settings: Any) -> Policy:
    """A policy that is a routing tree alone."""
    whole = {"receiver": "ops", "group_wait": "10s", "group_interval": "60s", **settings}
    return Policy(build_tree(RouteSettings.model_validate(whole)))


class Desk:
    """What a rule's evaluation would do: decide transitions, and hand them over."""

    def __init__(self, database: Database, clock: FakeClock, dispatcher: Dispatcher, outbox: Outbox) -> None:
        self.database = database
        self.clock = clock
        self.dispatcher = dispatcher
        self.outbox = outbox
        self._starts: dict[str, int] = {}

    async def fire(self, *names: str, **labels: str) -> None:
        """These alerts begin to fire."""
        self._starts |= dict.fromkeys(names, self.clock.now_ms())
        await self.hand_over(
            *(
                Transition(TransitionKind.FIRED, Alert(Labels({"alertname": name, **labels}), {}, self.clock.now_ms()))
                for name in names
            )
        )

    async def resolve(self, *names: str, **labels: str) -> None:
        """These alerts are over."""
        now_ms = self.clock.now_ms()
        await self.hand_over(
            *(
                Transition(
                    TransitionKind.RESOLVED,
                    Alert(Labels({"alertname": name, **labels}), {}, self._starts.get(name, now_ms), now_ms),
                )
                for name in names
            )
        )

    async def hand_over(self, *transitions: Transition) -> None:
        await self.database.write(lambda tx: self.dispatcher.accept(tx, transitions))
        self.dispatcher.wake()


@asynccontextmanager
async def desk(
    folder: Path,
    clock: FakeClock,
    ears: Any,
    policy: Policy,
    destinations: dict[str, list[Any]] | None = None,
) -> AsyncIterator[Desk]:
    database = Database.open(folder, reserve_bytes=0)
    outbox = Outbox(database, clock, {"notify": ears}, luck=lambda: 0.0)
    reach = destinations if destinations is not None else {"ops": [FakeDestination("slack")]}
    dispatcher = Dispatcher(database, clock, policy, reach, external_url="http://obs", decided=outbox.wake)
    running = [asyncio.ensure_future(outbox.run()), asyncio.ensure_future(dispatcher.run())]
    try:
        yield Desk(database, clock, dispatcher, outbox)
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await database.close()
