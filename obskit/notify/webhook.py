"""Webhooks with Alertmanager's version 4 body, byte for byte what its receivers know, with an optional signature.

Ours alone are `resolvedValue` and `resolvedSummary` of an alert whose value at its recovery is known, and `instead` of a
notice to a receiver that stands in for another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from obskit.model.actions import Notice, Outcome
from obskit.model.alerts import Alert
from obskit.model.go_text import go_json, rfc3339
from obskit.model.settings import Secret, Settings
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport
from obskit.notify.http import USER_AGENT, HttpTransport, classify_status
from obskit.notify.settings import NotifierSettings, NotYet, SecretUrl
from obskit.outbound import httpx

POST: Final = "post"
SIGNATURE_HEADER: Final = "X-Obskit-Signature"
_NEVER: Final = "0001-01-01T00:00:00Z"  # Go's zero time: what Alertmanager sends for the end of a firing alert
_DEGRADED_ALERTS: Final = 5
# Outside strings JSON has none of these (encoding/json, HTML escaping).
# Go's regexp.QuoteMeta, through which Alertmanager passes the receiver's name.
_QUOTED: Final = {ord(char): f"\\{char}" for char in r"\.+*?()|[]{}^$"}


class AuthorizationSettings(Settings):
    """`Authorization: <type> <credentials>`."""

    type: str = Field("Bearer", description="the first word of the header")
    credentials: Secret = Field(description="the rest of it")


class BasicAuthSettings(Settings):
    """HTTP basic authentication."""

    username: str = Field("", description="user")
    password: Secret = Field(description="password")


class HttpSettings(Settings):
    """`http_config`: how to log in at the receiver."""

    authorization: AuthorizationSettings | None = Field(None, description="an Authorization header")
    basic_auth: BasicAuthSettings | None = Field(None, description="user and password")
    follow_redirects: Literal[False, "false"] = Field(
        False, description="redirects are never followed: an alert must arrive where you said"
    )

    bearer_token: NotYet = None
    bearer_token_file: NotYet = None
    enable_http2: NotYet = None
    http_headers: NotYet = None
    no_proxy: NotYet = None
    oauth2: NotYet = None
    proxy_connect_header: NotYet = None
    proxy_from_environment: NotYet = None
    proxy_url: NotYet = None
    tls_config: NotYet = None

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if self.authorization is not None and self.basic_auth is not None:
            raise ValueError("give either authorization or basic_auth, not both")
        return self


class WebhookSettings(NotifierSettings):
    """One entry of `webhook_configs`. `secret` signs each body: `X-Obskit-Signature: t=<ms>,v1=<hex HMAC-SHA256>`."""

    url: SecretUrl = Field(description="where to POST")
    max_alerts: int = Field(default=0, ge=0, description="alerts in one body at most; 0: all")
    http_config: HttpSettings | None = Field(None, description="how to log in")
    secret: Secret | None = Field(None, description="signs each body")

    payload: NotYet = None


class Webhook:
    """One POST per notice."""

    min_interval_s = 0.0

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings

    def steps(self, notice: Notice) -> Sequence[Step]:
        """A state of an incident replaces an unsent older one; firing and resolved are never merged."""
        return [Step(POST, coalesce=f"{notice.incident}:{notice.status}")]

    def render(self, notice: Notice, _step: str, _handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """The body with a trailing newline, as Go's encoder writes it; degraded is with five alerts at most."""
        limits = [limit for limit in (self._settings.max_alerts, _DEGRADED_ALERTS if degraded else 0) if limit]
        encoded = go_json(payload(notice, max_alerts=min(limits, default=0))).encode()
        headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
        headers |= _login(self._settings.http_config)
        if self._settings.secret is not None:
            headers[SIGNATURE_HEADER] = signature(self._settings.secret, notice.decided_ms, encoded)
        return Request("POST", self._settings.url.reveal(), encoded, headers)

    def classify(self, response: Response, _step: str) -> Outcome:
        """By status alone."""
        return classify_status(response)


def payload(notice: Notice, *, max_alerts: int = 0) -> dict[str, Any]:
    """Alertmanager's version 4 body (notify/webhook/webhook.go, template/template.go), in its order of keys."""
    shown = notice.alerts[:max_alerts] if max_alerts else notice.alerts
    return {
        "receiver": notice.receiver.translate(_QUOTED),
        "status": notice.status,
        "alerts": [_alert(alert) for alert in shown],
        "notification_reason": notice.reason.value,
        "groupLabels": dict(notice.group_labels),
        "commonLabels": dict(notice.common_labels),
        "commonAnnotations": dict(sorted(notice.common_annotations.items())),
        "externalURL": notice.external_url,
        "version": "4",
        "groupKey": notice.group_key,
        "truncatedAlerts": len(notice.alerts) - len(shown),
        **({"instead": notice.instead} if notice.instead else {}),
    }


def signature(secret: Secret, decided_ms: int, body: bytes) -> str:
    """HMAC-SHA256 over `<t>.<body>`; `t` is when the notice was decided, so a retry carries the same signature."""
    digest = hmac.new(secret.reveal().encode(), b"%d." % decided_ms + body, hashlib.sha256).hexdigest()
    return f"t={decided_ms},v1={digest}"


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "status": "firing" if alert.firing else "resolved",
        "labels": dict(alert.labels),
        "annotations": dict(sorted(alert.annotations.items())),
        "startsAt": rfc3339(alert.starts_ms),
        "endsAt": _NEVER if alert.ends_ms is None else rfc3339(alert.ends_ms),
        "generatorURL": alert.generator_url,
        "fingerprint": alert.fingerprint,
        **_how_it_ended(alert),
    }


def _how_it_ended(alert: Alert) -> dict[str, Any]:
    """What Alertmanager does not know; the keys are there only when there is something to tell."""
    told: dict[str, Any] = {}
    if alert.resolved_value is not None and math.isfinite(alert.resolved_value):
        told["resolvedValue"] = alert.resolved_value
    if alert.resolved_summary:
        told["resolvedSummary"] = alert.resolved_summary
    return told


def _login(settings: HttpSettings | None) -> dict[str, str]:
    if settings is None:
        return {}
    if settings.authorization is not None:
        return {"Authorization": f"{settings.authorization.type} {settings.authorization.credentials.reveal()}"}
    if settings.basic_auth is not None:
        pair = f"{settings.basic_auth.username}:{settings.basic_auth.password.reveal()}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return {}


def _connect(settings: WebhookSettings, http: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    return Webhook(settings), HttpTransport(http, settings)


WEBHOOK: Final = Kind("webhook", WebhookSettings, _connect)
