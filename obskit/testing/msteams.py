"""FakeTeams: a workflow's webhook that takes messages with adaptive cards of at most 28 KB."""

from __future__ import annotations

import json
from typing import Any, Final

from obskit.clock import Clock
from obskit.testing.http import Answer, FakeServer, Received

SIGNATURE: Final = "fake-teams-workflow-signature"
_LIMIT: Final = 28 * 1024


class FakeTeams(FakeServer):
    """`cards` are those that were posted."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.cards: list[dict[str, Any]] = []
        super().__init__(clock)

    @property
    def url(self) -> str:
        """What goes into a receiver's `webhook_url`."""
        return f"{self.base_url}/workflows/1/triggers/manual/paths/invoke?api-version=1&sig={SIGNATURE}"

    def answer(self, request: Received) -> Answer:
        """202 before anything is posted, as a workflow does."""
        if not request.path.endswith(f"sig={SIGNATURE}"):
            return Answer(401, b'{"error":{"code":"DirectApiAuthorizationRequired"}}')
        if len(request.body) > _LIMIT:
            return Answer(413, b'{"error":{"code":"RequestEntityTooLarge"}}')
        try:
            message = json.loads(request.body)
            (attachment,) = message["attachments"]
            card = attachment["content"]
        except (ValueError, KeyError, TypeError):
            return Answer(400, b'{"error":{"code":"TriggerInputSchemaMismatch"}}')
        if attachment["contentType"] != "application/vnd.microsoft.card.adaptive" or card["type"] != "AdaptiveCard":
            return Answer(400, b'{"error":{"code":"TriggerInputSchemaMismatch"}}')
        self.cards.append(card)
        return Answer(202)
