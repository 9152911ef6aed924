"""FakeNtfy: publishing as JSON, with sequences, logins and limits. `old` is a server before 2.16."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from obskit.clock import Clock
from obskit.testing.http import Answer, Failure, FakeServer, Received

TOKEN: Final = "tk_fakentfyaccesstoken"
_LIMIT: Final = 4_096


class FakeNtfy(FakeServer):
    """`published` is all that came in; `shown` what a phone shows: of a sequence, the last state alone."""

    def __init__(self, clock: Clock | None = None, *, token: str = "", old: bool = False) -> None:
        self.published: list[dict[str, Any]] = []
        self._token = token
        self._old = old
        super().__init__(clock)

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The notifications on a phone, in the order of their first state."""
        found: dict[str, dict[str, Any]] = {}
        for number, message in enumerate(self.published):
            sequence = "" if self._old else message.get("sequence_id", "")
            found[sequence or f"#{number}"] = message
        return list(found.values())

    def answer(self, request: Received) -> Answer:
        """What the server says, with its own error codes."""
        if self._token and request.headers.get("authorization") != f"Bearer {self._token}":
            return _error(403, 40301, "forbidden")
        try:
            said = json.loads(request.body)
        except ValueError:
            return _error(400, 40024, "invalid request: request body must be message JSON")
        if request.path != "/" or not isinstance(said, dict):
            return _error(404, 40401, "page not found")
        if not re.fullmatch(r"[-_A-Za-z0-9]{1,64}", said.get("topic", "")):
            return _error(400, 40009, "invalid request: topic invalid")
        if not re.fullmatch(r"[-_A-Za-z0-9]{0,64}", said.get("sequence_id", "")):
            return _error(400, 40049, "invalid request: sequence ID invalid")
        if len(said.get("actions", [])) > 3:
            return _error(400, 40018, "invalid request: actions invalid")
        if len(said.get("message", "").encode()) > _LIMIT:
            return _error(413, 41301, "attachment too large")  # it becomes a file, which few servers take
        self.published.append(said)
        return Answer(200, json.dumps({"id": f"m{len(self.published)}", "event": "message"}).encode())

    def fail(self, request: Received, failure: Failure) -> Answer:
        """A planned 429 reads as the server's."""
        if failure.status == 429 and failure.body is None:
            return _error(429, 42901, "limit reached: too many requests")
        return super().fail(request, failure)


def _error(status: int, code: int, words: str) -> Answer:
    return Answer(status, json.dumps({"code": code, "http": status, "error": words}).encode())
