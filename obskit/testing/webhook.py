"""FakeWebhook: a receiver of Alertmanager's version 4 webhooks that keeps what it was sent."""

from __future__ import annotations

import json
from typing import Any, Final

from obskit.clock import Clock
from obskit.testing.http import Answer, FakeServer, Received

TOKEN: Final = "fake-webhook-token"


class FakeWebhook(FakeServer):
    """Takes every POST. `bodies` are those it answered well, decoded, in order of arrival."""

    def __init__(self, clock: Clock | None = None, *, status: int = 200) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._status = status
        super().__init__(clock)

    @property
    def url(self) -> str:
        """Where to send to; the last part stands for the token such URLs hold."""
        return f"{self.base_url}/hook/{TOKEN}"

    def answer(self, request: Received) -> Answer:
        """200 and nothing, or 400 for what is not a JSON object."""
        try:
            body = json.loads(request.body)
        except ValueError:
            return Answer(400, b"not JSON", "text/plain")
        if not isinstance(body, dict):
            return Answer(400, b"not an object", "text/plain")
        self.bodies.append(body)
        return Answer(self._status)

    def states(self, group_key: str) -> list[str]:
        """The states one group was reported in, in order."""
        return [body["status"] for body in self.bodies if body.get("groupKey") == group_key]
