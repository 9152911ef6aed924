"""FakePushover: messages with their limits, and receipts of emergencies, which ring until somebody confirms them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from obskit.clock import Clock
from obskit.testing.http import Answer, Failure, FakeServer, Received

USER: Final = "uQiRzpo4DXghDmr9QzzfQu27cmVRsG"
TOKEN: Final = "azGDORePK8gMaC0QOYAMyEEuzJnyUi"
_LIMITS: Final = {"message": 1_024, "title": 250, "url": 512, "url_title": 100}


@dataclass(slots=True)
class Receipt:
    """An emergency: whether it rings still, and how it stopped."""

    id: str
    ended: str = ""


class FakePushover(FakeServer):
    """`pushes` are the fields of each push; `receipts` the emergencies, oldest first."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.pushes: list[dict[str, str]] = []
        self.receipts: list[Receipt] = []
        super().__init__(clock)

    @property
    def url(self) -> str:
        """What goes into a receiver's `api_url`."""
        return f"{self.base_url}/1/"

    def answer(self, request: Received) -> Answer:
        """`status` 1 for a yes; 400 with all complaints."""
        fields = dict(parse_qsl(request.body.decode()))
        if fields.get("token") != TOKEN:
            return _no("application token is invalid", token="invalid")
        cancelled = re.fullmatch(r"/1/receipts/(\w+)/cancel\.json", request.path)
        if cancelled:
            return self._cancel(cancelled[1])
        if request.path != "/1/messages.json":
            return Answer(404, b"")
        if fields.get("user") != USER:
            return _no("user identifier is not a valid user", user="invalid")
        complaints = _complaints(fields)
        if complaints:
            return _no(*complaints)
        self.pushes.append(fields)
        if fields.get("priority") != "2":
            return _yes()
        self.receipts.append(Receipt(f"r{len(self.receipts)}"))
        return _yes(receipt=self.receipts[-1].id)

    def fail(self, request: Received, failure: Failure) -> Answer:
        """A planned 429 is the end of the month's quota."""
        if failure.status == 429 and failure.body is None:
            return Answer(429, json.dumps({"status": 0, "errors": ["application is over its quota"]}).encode())
        return super().fail(request, failure)

    def _cancel(self, id: str) -> Answer:
        receipt = next((one for one in self.receipts if one.id == id), None)
        if receipt is None:
            return _no("receipt not found", receipt="not found")
        receipt.ended = receipt.ended or "cancelled"
        return _yes()


def _complaints(fields: dict[str, str]) -> list[str]:
    found = [f"{name} is too long" for name, limit in _LIMITS.items() if len(fields.get(name, "")) > limit]
    if not fields.get("message"):
        found.append("message cannot be blank")
    if fields.get("priority") == "2":
        if int(fields.get("retry", 0)) < 30:
            found.append("retry must be at least 30 seconds")
        if not 0 < int(fields.get("expire", 0)) <= 10_800:
            found.append("expire must be at most 10800 seconds")
    return found


def _yes(**more: Any) -> Answer:
    return Answer(200, json.dumps({"status": 1, "request": "r", **more}).encode())


def _no(*errors: str, **more: Any) -> Answer:
    return Answer(400, json.dumps({"status": 0, "errors": errors, "request": "r", **more}).encode())
