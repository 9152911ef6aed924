"""FakePagerDuty: Events API v2 with its state machine per (routing_key, dedup_key), its checks and its limits; change
events; the REST call for an incident's alerts; and the v3 webhooks that it sends, as `signed` bodies.

state          trigger        acknowledge    resolve
none           → triggered    dropped, 202   dropped, 202
triggered      updated        → acknowledged → resolved
acknowledged   updated        stays          → resolved
resolved       → triggered, as a new incident; the others are dropped, 202
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from obskit.clock import Clock
from obskit.testing.http import Answer, Failure, FakeServer, Received

ENQUEUE: Final = "/v2/enqueue"
CHANGE: Final = "/v2/change/enqueue"
API_KEY: Final = "fake-pagerduty-rest-key"
WEBHOOK_SECRET: Final = "fake-pagerduty-webhook-secret"
ROUTING_KEY: Final = "0123456789abcdef0123456789abcdef"
_EVENT_LIMIT: Final = 512 * 1024
_PER_MINUTE: Final = 120
_SEVERITIES: Final = ("critical", "error", "warning", "info")
_ACTIONS: Final = ("trigger", "acknowledge", "resolve")


@dataclass(slots=True)
class Incident:
    """One incident and every event that reached it."""

    dedup_key: str
    id: str = ""
    state: str = "triggered"
    summary: str = ""
    severity: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)


class FakePagerDuty(FakeServer):
    """`incidents` holds all there ever were, oldest first; `dropped` the events that had none to act on."""

    def __init__(
        self, clock: Clock | None = None, *, routing_keys: tuple[str, ...] = (ROUTING_KEY,), limited: bool = False
    ) -> None:
        self.incidents: list[Incident] = []
        self.dropped: list[dict[str, Any]] = []
        self.changes: list[dict[str, Any]] = []
        self._routing_keys = routing_keys
        self._limited = limited
        self._taken_ms: list[int] = []
        self._open: dict[tuple[str, str], Incident] = {}
        super().__init__(clock)

    @property
    def url(self) -> str:
        """What goes into a receiver's `url`."""
        return self.base_url + ENQUEUE

    def state(self, dedup_key: str) -> str:
        """The state of the newest incident of this key; empty when there never was one."""
        found = [incident.state for incident in self.incidents if incident.dedup_key == dedup_key]
        return found[-1] if found else ""

    def answer(self, request: Received) -> Answer:
        """202 for a good event, 400 with every complaint, 429 above 120 a minute when `limited`."""
        if request.method == "GET":
            return self._alerts_of(request)
        if request.path not in (ENQUEUE, CHANGE):
            return Answer(404, b"404 page not found", "text/plain")
        if self._limited and not self._take_turn():
            return Answer(429, b"429 - Request Limit Exceeded", "text/plain")
        if len(request.body) > _EVENT_LIMIT:
            return Answer(413, b"Request Entity Too Large", "text/plain")
        event = _decoded(request.body)
        if request.path == CHANGE:
            return self._change(event)
        complaints = self._complaints(event)
        if complaints:
            said = {"status": "invalid event", "message": "Event object is invalid", "errors": complaints}
            return Answer(400, json.dumps(said).encode())
        key = self._apply(event)
        done = {"status": "success", "message": "Event processed", "dedup_key": key}
        return Answer(202, json.dumps(done).encode())

    def fail(self, request: Received, failure: Failure) -> Answer:
        """A planned 429 reads as the service's."""
        if failure.status == 429 and failure.body is None:
            failure = Failure(429, body="429 - Request Limit Exceeded", retry_after=failure.retry_after)
        return super().fail(request, failure)

    def _alerts_of(self, request: Received) -> Answer:
        if request.headers.get("authorization") != f"Token token={API_KEY}":
            return Answer(401, b'{"error":{"code":2006}}')
        match = re.fullmatch(r"/incidents/(\w+)/alerts(\?.*)?", request.path)
        found = [one for one in self.incidents if match is not None and one.id == match[1]]
        if not found:
            return Answer(404, b'{"error":{"message":"Not Found","code":2100}}')
        return Answer(200, json.dumps({"alerts": [{"id": "PA1", "alert_key": found[0].dedup_key}]}).encode())

    def _change(self, event: dict[str, Any]) -> Answer:
        payload = event.get("payload", {})
        if event.get("routing_key") not in self._routing_keys or not 0 < len(payload.get("summary", "")) <= 1024:
            return Answer(400, b'{"status":"invalid event","errors":["Invalid routing key or summary"]}')
        self.changes.append(payload)
        return Answer(202, b'{"status":"success","message":"Change event processed"}')

    def _take_turn(self) -> bool:
        now_ms = self.now_ms()
        self._taken_ms = [taken for taken in self._taken_ms if taken > now_ms - 60_000]
        if len(self._taken_ms) >= _PER_MINUTE:
            return False
        self._taken_ms.append(now_ms)
        return True

    def _complaints(self, event: dict[str, Any]) -> list[str]:
        action = event.get("event_action")
        found = []
        if event.get("routing_key") not in self._routing_keys:
            found.append("Invalid routing key")
        if action not in _ACTIONS:
            found.append("'event_action' is invalid (must be one of trigger, acknowledge, resolve)")
        if len(str(event.get("dedup_key", ""))) > 255:
            found.append("'dedup_key' is too long (maximum is 255 characters)")
        if action in ("acknowledge", "resolve") and not event.get("dedup_key"):
            found.append("'dedup_key' is missing or blank")
        if action == "trigger":
            found += _payload_complaints(event.get("payload"))
            found += [f"'links' needs href: {link}" for link in event.get("links", []) if not link.get("href")]
        return found

    def _apply(self, event: dict[str, Any]) -> str:
        key = str(event.get("dedup_key") or f"generated-{len(self.incidents)}")
        place = (event["routing_key"], key)
        incident = self._open.get(place)
        if event["event_action"] == "trigger":
            if incident is None:
                incident = self._open[place] = Incident(key, f"PI{len(self.incidents) + 1}")
                self.incidents.append(incident)
            incident.summary = event["payload"]["summary"]
            incident.severity = event["payload"]["severity"]
        elif incident is None:
            self.dropped.append(event)
            return key
        elif event["event_action"] == "acknowledge":
            incident.state = "acknowledged"
        else:
            incident.state = "resolved"
            del self._open[place]
        incident.events.append(event)
        return key


def webhook(
    event_type: str,
    incident: Incident,
    *,
    by: str = "Ann",
    occurred_at: str = "2026-11-20T12:00:00Z",
    with_key: bool = True,
) -> bytes:
    """The body of a v3 webhook about an incident; without `with_key`, its `incident_key` is null, as it often is."""
    agent = {"id": "PU1", "type": "user_reference", "summary": by} if by else None
    data = {
        "id": incident.id,
        "type": "incident",
        "number": 2,
        "status": event_type.partition(".")[2],
        "incident_key": incident.dedup_key if with_key else None,
        "title": incident.summary,
    }
    event = {
        "id": f"01-{event_type}-{incident.id}",
        "event_type": event_type,
        "resource_type": "incident",
        "occurred_at": occurred_at,
        "agent": agent,
        "client": None,
        "data": data,
    }
    return json.dumps({"event": event}).encode()


def signed(body: bytes, *secrets: str) -> dict[str, str]:
    """The headers of a webhook: a signature by each secret, several while one is changed for another."""
    digests = [hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() for secret in secrets]
    return {"x-pagerduty-signature": ",".join(f"v1={digest}" for digest in digests), "x-webhook-id": "1"}


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _payload_complaints(payload: Any) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing or blank"]
    found = [
        f"'payload.{name}' is missing or blank" for name in ("summary", "source", "severity") if not payload.get(name)
    ]
    if len(str(payload.get("summary", ""))) > 1024:
        found.append("'payload.summary' is too long (maximum is 1024 characters)")
    if payload.get("severity") and payload["severity"] not in _SEVERITIES:
        found.append("'payload.severity' is invalid (must be one of critical, error, warning, info)")
    if not isinstance(payload.get("custom_details", {}), dict):
        found.append("'payload.custom_details' is invalid (must be an object)")
    return found
