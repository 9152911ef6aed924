"""A receiver that answers as told and remembers what it was asked, and a store with an outbox around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from obskit.clock import Clock
from obskit.model.actions import Action, Outcome
from obskit.outbox import Delivery, Limits, Outbox, Paces, put
from obskit.store.database import Database
from obskit.testing.clock import FakeClock, run

Answer = Callable[[Delivery], Outcome]


def yes(_: Delivery) -> Outcome:
    return Outcome.sent()


@dataclass
class Receiver:
    """Answers with `answer`; `took_s` is how long each answer takes."""

    clock: Clock
    answer: Answer = yes
    took_s: float = 0.0
    calls: list[tuple[float, Delivery]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    together: int = 0
    most_together: int = 0

    async def __call__(self, delivery: Delivery) -> Outcome:
        self.calls.append((self.clock.monotonic(), delivery))
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        try:
            if self.took_s:
                await self.clock.sleep(self.took_s)
            return self.answer(delivery)
        finally:
            self.together -= 1

    @property
    def payloads(self) -> list[str]:
        return [delivery.action.payload for _, delivery in self.calls]

    @property
    def times(self) -> list[float]:
        return [round(at, 3) for at, _ in self.calls]


def answers(*outcomes: Outcome) -> Answer:
    """These outcomes in turn, then yes for ever."""
    rest = list(outcomes)
    return lambda _: rest.pop(0) if rest else Outcome.sent()


def action(payload: str, *, to: str = "slack:ops:0", lane: str = "g", **more: Any) -> Action:
    return Action(kind="notify", destination=to, lane=lane, payload=payload, **more)


class House:
    """A database and a running outbox."""

    def __init__(self, database: Database, clock: FakeClock, outbox: Outbox) -> None:
        self.database = database
        self.clock = clock
        self.outbox = outbox

    async def put(self, *actions: Action) -> list[int]:
        now_ms = self.clock.now_ms()
        ids = await self.database.write(lambda tx: [put(tx, each, now_ms) for each in actions])
        self.outbox.wake()
        return ids


@asynccontextmanager
async def house(
    folder: Path, clock: FakeClock, receiver: Any, *, paces: Paces | None = None, **limits: Any
) -> AsyncIterator[House]:
    database = Database.open(folder, reserve_bytes=0)
    handlers = {"notify": receiver, "digest": receiver}
    outbox = Outbox(database, clock, handlers, paces=paces, limits=Limits(**limits), luck=lambda: 0.0)
    running = asyncio.ensure_future(outbox.run())
    try:
        yield House(database, clock, outbox)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await database.close()


def play(scenario: Callable[[FakeClock], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario on a clock of its own."""
    clock = FakeClock()
    run(scenario(clock), clock)
