"""obskit's dispatcher and outbox in a process of their own, behind its Alertmanager API: what bench.dispatch measures.

It imports what they need and nothing else, so that its memory is theirs.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from obskit.clock import SystemClock
from obskit.notify import ReceiverSettings, build_integrations
from obskit.notify.base import ACTION_KIND
from obskit.outbound import httpx
from obskit.outbox import Outbox
from obskit.routing.dispatch import Dispatcher
from obskit.routing.policy import Policy
from obskit.routing.tree import RouteSettings, build_tree
from obskit.store.database import Database
from obskit.web.alertmanager_api import About, alertmanager_api
from obskit.web.server import bind, serve

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
    """obskit's dispatcher and outbox behind its Alertmanager API; the port is the line it prints."""
    clock, database = SystemClock(), Database.open(folder)
    receiver = ReceiverSettings.model_validate({"name": "hook", "webhook_configs": [{"url": url}]})
    async with httpx.AsyncClient(timeout=10) as http:
        built = {one.id: one for one in build_integrations(receiver, http)}
        outbox = Outbox(database, clock, {ACTION_KIND: lambda one: built[one.action.destination].deliver(one)})
        tree = Policy(build_tree(RouteSettings.model_validate(route())), resolve_timeout_ms=3_600_000)
        dispatcher = Dispatcher(database, clock, tree, {"hook": list(built.values())}, decided=outbox.wake)
        api = alertmanager_api(dispatcher, clock, lambda: About(["hook"], ""), started_ms=clock.now_ms())
        listener = bind("127.0.0.1", 0)
        print(listener.getsockname()[1], flush=True)
        await asyncio.gather(outbox.run(), dispatcher.run(), serve(Starlette(routes=api), listener))


if __name__ == "__main__":
    asyncio.run(child(Path(sys.argv[1]), sys.argv[2]))
