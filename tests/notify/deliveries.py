"""A receiver as the daemon builds it, driven without an outbox: what the tests of the edges need."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from obskit.model.actions import Action, Notice, Outcome
from obskit.model.context import UNKNOWN, Context
from obskit.notify import ReceiverSettings, build_integrations
from obskit.outbound import httpx
from obskit.outbox import Delivery


class Conversation:
    """One receiver that is told notices in a row; handles are kept as the outbox keeps them."""

    def __init__(self, key: str, settings: Mapping[str, Any], *, known: Context = UNKNOWN) -> None:
        async def look(_: Notice) -> Context:
            return known

        receiver = ReceiverSettings.model_validate({"name": "ops", key: [settings]})
        (self._integration,) = build_integrations(receiver, httpx.AsyncClient(verify=False), look)
        self.handles: dict[str, Mapping[str, str]] = {}

    def actions(self, notice: Notice) -> list[Action]:
        """The actions of a notice."""
        return asyncio.run(self._with(lambda integration: _now(integration.actions(notice))))

    def tell(self, notice: Notice) -> list[Outcome]:
        """Every step of the notice, each tried once."""
        return [self.attempt(action) for action in self.actions(notice)]

    def attempt(self, action: Action, *, degraded: bool = False, doubtful: bool = False) -> Outcome:
        """One attempt at an action; `doubtful` when an earlier one may have arrived."""
        key = action.handle_key or ""
        delivery = Delivery(1, action, 1, self.handles.get(key), degraded, doubtful=doubtful)
        outcome = asyncio.run(self._with(lambda integration: integration.deliver(delivery)))
        if outcome.handle is not None:
            self.handles[key] = outcome.handle
        if outcome.forget_handle:
            self.handles.pop(key, None)
        return outcome

    async def _with(self, work: Any) -> Any:
        return await work(self._integration)


async def _now(value: Any) -> Any:
    return value
