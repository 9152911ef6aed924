"""FakeHealthchecks: the ping side of a healthchecks.io, with its answers and its limits.

with FakeHealthchecks() as service:
    ...post(f"{service.ping_url}/start")
    service.pings      # [Heard("start", body=b"", run="")]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from obskit.clock import Clock
from obskit.testing.http import Answer, FakeServer, Received

BODY_LIMIT: Final = 10_000
_WORDS: Final = frozenset({"", "start", "fail", "log"})


@dataclass(frozen=True, slots=True)
class Heard:
    """One ping: `start`, `fail`, `log`, an exit status, or nothing for success; `run` is its `rid`."""

    word: str
    body: bytes
    run: str


class FakeHealthchecks(FakeServer):
    """One check, with a UUID of its own."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.uuid = str(uuid4())
        self.pings: list[Heard] = []
        super().__init__(clock)

    @property
    def ping_url(self) -> str:
        """What a job is given."""
        return f"{self.base_url}/{self.uuid}"

    def answer(self, request: Received) -> Answer:
        """`OK`, or why not."""
        url = urlsplit(request.path)
        uuid, _, word = url.path.strip("/").partition("/")
        if uuid != self.uuid:
            return _text(404, "not found")
        if word not in _WORDS and not (re.fullmatch(r"\d{1,3}", word) and int(word) <= 255):
            return _text(400, "invalid url format")
        run = parse_qs(url.query).get("rid", [""])[0]
        if run and not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", run):
            return _text(400, "invalid uuid format")
        self.pings.append(Heard(word, request.body[:BODY_LIMIT], run))
        return _text(200, "OK")


def _text(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), "text/plain; charset=utf-8", {"Ping-Body-Limit": str(BODY_LIMIT)})
