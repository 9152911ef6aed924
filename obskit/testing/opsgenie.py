"""FakeOpsgenie: alerts by alias, created, updated and closed; every answer is 202 before anything is looked at, and what
was wrong shows in `dropped` alone. Jira Service Management's integration events are the same calls below another path.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from obskit.clock import Clock
from obskit.testing.http import Answer, Failure, FakeServer, Received

KEY: Final = "fake-genie-key-0123456789"
_LIMITS: Final = {"message": 130, "description": 15_000, "alias": 512, "entity": 512, "source": 100}


@dataclass(slots=True)
class OpsgenieAlert:
    """An alert, open or closed; `count` is how often it was created."""

    alias: str
    fields: dict[str, Any] = field(default_factory=dict)
    count: int = 1
    closed: bool = False


class FakeOpsgenie(FakeServer):
    """`alerts` holds all there ever were, oldest first; `dropped` the requests that came to nothing."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.alerts: list[OpsgenieAlert] = []
        self.dropped: list[dict[str, Any]] = []
        super().__init__(clock)

    def answer(self, request: Received) -> Answer:
        """422 for what can be seen at once, else 202."""
        if request.headers.get("authorization") != f"GenieKey {KEY}":
            return Answer(401, b'{"message":"Could not authenticate"}')
        match = re.fullmatch(
            r".*/v2/alerts(?:/([^/?]+)/(close|message|description)\?identifierType=alias)?", request.path
        )
        said = json.loads(request.body)
        if match is None:
            return Answer(404, b'{"message":"Not found"}')
        long = [name for name, limit in _LIMITS.items() if len(said.get(name, "")) > limit]
        if long or (match[1] is None and not said.get("message")):
            return Answer(422, json.dumps({"message": "Request body is not processable", "errors": long}).encode())
        self._apply(match[1], match[2], said)
        return Answer(202, json.dumps({"result": "Request will be processed", "requestId": "r"}).encode())

    def fail(self, request: Received, failure: Failure) -> Answer:
        """A planned 429 reads as the service's."""
        if failure.status == 429 and failure.body is None:
            failure = Failure(
                429, body='{"message":"You are making too many requests!"}', retry_after=failure.retry_after
            )
        return super().fail(request, failure)

    def _apply(self, alias: str | None, what: str | None, said: dict[str, Any]) -> None:
        name = alias or said["alias"]
        alert = next((one for one in self.alerts if one.alias == name and not one.closed), None)
        if what is None and alert is None:
            self.alerts.append(OpsgenieAlert(name, said))
        elif alert is None:
            self.dropped.append(said)
        elif what is None:
            alert.count += 1
        elif what == "close":
            alert.closed = True
        else:
            alert.fields[what] = said[what]
