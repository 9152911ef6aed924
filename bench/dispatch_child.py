"""obskit's dispatcher and outbox in a process of their own, told on standard input: what bench.dispatch measures.

It imports what they need and nothing else, so that its memory is theirs.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from obskit.clock import SystemClock
from obskit.model.alerts import Alert, Transition, TransitionKind
from obskit.model.labels import Labels
from obskit.notify import ReceiverSettings, build_integrations
from obskit.notify.base import ACTION_KIND
from obskit.outbound import httpx
from obskit.outbox import Outbox
from obskit.routing.dispatch import Dispatcher
from obskit.routing.policy import Policy
from obskit.routing.tree import RouteSettings, build_tree
from obskit.store.database import Database, Transaction

GROUP_INTERVAL_S = 15
ANNOTATIONS = {"summary": "it is busy", "runbook_url": "https://docs.example/busy"}


def labels(group: int, member: int) -> dict[str, str]:
    """The labels of one alert."""
    return {"alertname": "Busy", "team": f"t{group}", "instance": f"i{member}", "severity": "warning", "job": "bench"}


def route() -> dict[str, Any]:
    """The same for both."""
    return {
        "receiver": "hook",
        "group_by": ["team"],
        "group_wait": "1s",
        "group_interval": f"{GROUP_INTERVAL_S}s",
        "repeat_interval": "4h",
    }


async def child(folder: Path, url: str) -> None:
    """obskit's dispatcher and outbox, told by lines of JSON."""
    clock, database = SystemClock(), Database.open(folder)
    receiver = ReceiverSettings.model_validate({"name": "hook", "webhook_configs": [{"url": url}]})
    async with httpx.AsyncClient(timeout=10) as http:
        built = {one.id: one for one in build_integrations(receiver, http)}
        outbox = Outbox(database, clock, {ACTION_KIND: lambda one: built[one.action.destination].deliver(one)})
        tree = Policy(build_tree(RouteSettings.model_validate(route())))
        dispatcher = Dispatcher(database, clock, tree, {"hook": list(built.values())}, decided=outbox.wake)
        running = [asyncio.ensure_future(outbox.run()), asyncio.ensure_future(dispatcher.run())]
        print("up", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            every = list(transitions(order, clock.now_ms()))
            for start in range(0, len(every), 1_000):

                def accept(tx: Transaction, part: list[Transition] = every[start : start + 1_000]) -> None:
                    dispatcher.accept(tx, part)

                await database.write(accept)
                dispatcher.wake()
        for task in running:
            task.cancel()


def transitions(order: dict[str, Any], now_ms: int) -> Iterator[Transition]:
    """What an order says of every alert."""
    kind = TransitionKind.RESOLVED if order["over"] else TransitionKind.FIRED
    for group in range(order["groups"]):
        for member in range(order["start"], order["stop"]):
            yield Transition(
                kind, Alert(Labels(labels(group, member)), ANNOTATIONS, now_ms, now_ms if order["over"] else None, 1.0)
            )


if __name__ == "__main__":
    asyncio.run(child(Path(sys.argv[1]), sys.argv[2]))
