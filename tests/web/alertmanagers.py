"""A dispatcher behind Alertmanager's API, in this process, and the requests that are put to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obskit.model.settings import Secret
from obskit.outbound import httpx
from obskit.routing.dispatch import Dispatcher
from obskit.routing.inhibit import InhibitRuleSettings
from obskit.routing.intervals import TimeIntervalSettings, build_intervals
from obskit.routing.policy import Policy
from obskit.routing.tree import RouteSettings, build_tree
from obskit.store.database import Database
from obskit.testing.clock import FakeClock
from obskit.web.alertmanager_api import About, alertmanager_api
from obskit.web.app import Doors, Health, build_app

ROUTE = {
    "receiver": "a",
    "group_by": ["alertname"],
    "group_wait": "1h",
    "routes": [{"receiver": "b.c", "matchers": ['team="x"'], "mute_time_intervals": ["always"]}],
}
INHIBIT = {"source_matchers": ["severity=critical"], "target_matchers": ["severity=warning"]}
ALWAYS = {"name": "always", "time_intervals": [{}]}


def policy() -> Policy:
    """Two receivers, of which one is muted; critical alerts keep warnings quiet."""
    return Policy(
        build_tree(RouteSettings.model_validate(ROUTE)),
        [InhibitRuleSettings.model_validate(INHIBIT).rule()],
        build_intervals([TimeIntervalSettings.model_validate(ALWAYS)]),
    )


@dataclass
class Api:
    """What a client can ask."""

    http: httpx.AsyncClient
    dispatcher: Dispatcher
    clock: FakeClock

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """A request under /api/v2 with a body of JSON, or of text as it is."""
        content = body if isinstance(body, (bytes, str, type(None))) else json.dumps(body)
        sent = {} if body is None else {"content-type": "application/json"}
        return await self.http.request(method, f"/api/v2{path}", content=content, headers=sent | headers)

    async def get(self, path: str) -> Any:
        """The JSON of an answer that must be 200."""
        answer = await self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, *labels: Mapping[str, str], **more: Any) -> None:
        """Alerts with these labels, which must be taken."""
        answer = await self.ask("POST", "/alerts", [{"labels": each, **more} for each in labels])
        assert (answer.status_code, answer.text) == (200, "")
        await self.clock.sleep(0.1)


@asynccontextmanager
async def serving(folder: Path, clock: FakeClock, token: Secret | None = None) -> AsyncIterator[Api]:
    """The API over a dispatcher that runs."""
    database = Database.open(folder, reserve_bytes=0)
    dispatcher = Dispatcher(database, clock, policy(), {})
    running = asyncio.ensure_future(dispatcher.run())
    routes = alertmanager_api(dispatcher, clock, lambda: About(["a", "b.c"], "route: {}\n"), started_ms=clock.now_ms())

    async def no_reload() -> str:
        return ""

    async def no_change(*_: object) -> bool:
        return False

    doors = Doors(overview=str, reload=no_reload, change_outbox=no_change, change_error=no_change)
    app = build_app(Health(), doors, token=token, apis=routes)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            yield Api(http, dispatcher, clock)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await database.close()
