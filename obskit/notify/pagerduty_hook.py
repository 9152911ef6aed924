"""What PagerDuty tells us by its v3 webhooks: who has acknowledged an incident of ours, let go of it, or ended it.

Whatever cannot be taken now is answered 503, never 4xx: PagerDuty tries a 5xx again for two days, but drops a delivery
at another 4xx, and after three dropped in a row it throws the whole queue away and rests for a day. So its queue is our
queue, and nothing is stored before it is understood. https://developer.pagerduty.com/docs/webhooks-overview

    event                                  the incident here
    incident.acknowledged                  acked
    incident.unacknowledged, .reopened     open
    incident.resolved                      closed, which says nothing about whether it still fires
    any other                              -
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from obskit.model.actions import OutcomeReason
from obskit.model.telemetry import REGISTRY, Counter
from obskit.notify.base import Heard, NoAnswerError, Request
from obskit.notify.http import HttpTransport, json_object
from obskit.notify.pagerduty import PagerDutySettings, dedup_key
from obskit.outbound import httpx
from obskit.routing.acks import told_groups, within
from obskit.routing.groups import open_incidents
from obskit.store.acks import WHOLE, AckRow, AckState, note_ack
from obskit.store.database import Database

log = logging.getLogger(__name__)

TAKEN: Final = 202
LATER: Final = 503
WHERE: Final = "PagerDuty"
_STATES: Final = {
    "incident.acknowledged": AckState.ACKED,
    "incident.unacknowledged": AckState.OPEN,
    "incident.reopened": AckState.OPEN,
    "incident.resolved": AckState.CLOSED,
}
_REMEMBERED: Final = 1_000
_LOOK_UP_S: Final = 3.0  # PagerDuty waits five

EVENTS: Final = Counter(
    "obskit_hook_events_total", "What services told us, by what became of it.", ("kind", "result"), registry=REGISTRY
)


@dataclass(frozen=True, slots=True)
class _Place:
    """What an event is about, as we know it."""

    group_key: str
    incidents: Sequence[str]
    fingerprint: str


class PagerDutyHook:
    """The one hook of all receivers of this kind: whose secret signed, of whom it is.

    An ack counts for all receivers of the group, and for groups of other routes that hold nothing else.
    """

    def __init__(
        self,
        settings: Sequence[PagerDutySettings],
        http: httpx.AsyncClient,
        database: Database,
        heard: Heard = lambda _: None,
    ) -> None:
        hearing = [each for each in settings if each.webhook_secret is not None]
        self._secrets = [
            secret.encode()
            for each in hearing
            if each.webhook_secret
            for secret in each.webhook_secret.reveal().split()
        ]
        self._askable = [each for each in hearing if each.api_key is not None]
        self._http = http
        self._database = database
        self._heard = heard
        self._keys_of: dict[str, tuple[str, ...]] = {}
        self._trusted = True

    async def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """202 for what is noted or not for us, 503 for what may be understood later."""
        if not self._is_signed(headers.get("x-pagerduty-signature", ""), body):
            return self._answer(LATER, "not signed")
        event = _event(body)
        state = _STATES.get(str(event.get("event_type")))
        data = event.get("data")
        if state is None or not isinstance(data, dict) or data.get("type") != "incident":
            return self._answer(TAKEN, "ignored")
        try:
            place = await self._place(data)
        except NoAnswerError as error:
            log.warning("PagerDuty does not say what an incident is about: reason=%s", error)
            return self._answer(LATER, "unclear")
        if place is None:
            return self._answer(TAKEN, "unknown")
        said = AckRow("", place.group_key, state, _by(event), WHERE, _ms(event), fingerprint=place.fingerprint)
        rows = [replace(said, incident=incident) for incident in place.incidents]
        if place.fingerprint == WHOLE:
            others = within(told_groups(self._database), place.incidents)
            rows += [
                replace(said, incident=each.incident, group_key=each.group_key)
                for each in others
                if each.incident not in place.incidents
            ]
        changed = await self._database.write(lambda tx: [note_ack(tx, row) for row in rows])
        self._heard([row.incident for row in rows])
        return self._answer(TAKEN, "noted" if any(changed) else "repeated")

    def _is_signed(self, header: str, body: bytes) -> bool:
        """Whether one of the signatures is by one of the secrets: while a secret is changed there are two of each."""
        given = [part.strip().removeprefix("v1=").encode() for part in header.split(",")]
        right = [hmac.digest(secret, body, "sha256").hex().encode() for secret in self._secrets]
        # Every pair is compared, whatever the first of them says.
        signed = sum(hmac.compare_digest(one, other) for one in given for other in right) > 0
        if self._trusted and not signed:
            log.warning("a webhook in the name of PagerDuty is not signed with webhook_secret")
        self._trusted = signed
        return signed

    async def _place(self, data: Mapping[str, Any]) -> _Place | None:
        """By `incident_key`, which is often empty; else by the keys of its alerts."""
        groups = open_incidents(self._database)
        known = {dedup_key(group): (group, incidents) for group, incidents in groups.items()}
        found = _known(known, str(data.get("incident_key") or ""))
        if found is not None or not known:
            return found
        for key in await self._alert_keys(str(data.get("id") or "")):
            found = _known(known, key)
            if found is not None:
                return found
        return None

    async def _alert_keys(self, incident: str) -> tuple[str, ...]:
        """The keys of an incident's alerts, asked for once; NoAnswerError when nobody says.

        Asked by id alone: a look-up with an empty key would find every open incident of the account.
        """
        if not incident or not self._askable:
            return ()
        if incident not in self._keys_of:
            if len(self._keys_of) >= _REMEMBERED:
                self._keys_of.clear()
            self._keys_of[incident] = await self._ask(incident)
        return self._keys_of[incident]

    async def _ask(self, incident: str) -> tuple[str, ...]:
        status = 0
        for settings in self._askable:
            assert settings.api_key is not None
            transport = HttpTransport(self._http, settings.model_copy(update={"timeout": round(_LOOK_UP_S * 1000)}))
            headers = {
                "Authorization": f"Token token={settings.api_key.reveal()}",
                "Accept": "application/vnd.pagerduty+json;version=2",
            }
            url = f"{settings.api_url.rstrip('/')}/incidents/{quote(incident, safe='')}/alerts?limit=100"
            response = await transport.send(Request("GET", url, headers=headers))
            alerts = json_object(response).get("alerts")
            if response.status == 200 and isinstance(alerts, list):
                return tuple(
                    str(each["alert_key"]) for each in alerts if isinstance(each, dict) and each.get("alert_key")
                )
            status = response.status
        if status == 404:
            return ()
        raise NoAnswerError(OutcomeReason.SERVER, f"HTTP {status}")

    def _answer(self, status: int, result: str) -> int:
        EVENTS.labels("pagerduty", result).inc()
        return status


def _known(known: Mapping[str, tuple[str, Sequence[str]]], key: str) -> _Place | None:
    group_hash, _, fingerprint = key.partition("-")
    if group_hash not in known:
        return None
    return _Place(*known[group_hash], fingerprint or WHOLE)


def _event(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)["event"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _by(event: Mapping[str, Any]) -> str:
    agent = event.get("agent")
    return str(agent.get("summary") or "")[:200] if isinstance(agent, dict) else ""


def _ms(event: Mapping[str, Any]) -> int:
    """When it happened; an event without a readable time is older than any other."""
    try:
        return round(datetime.fromisoformat(str(event.get("occurred_at"))).timestamp() * 1000)
    except ValueError:
        return 0
