"""ntfy (ntfy.sh or one's own): one notification per incident, revised in place by its sequence id (ntfy 2.16; an older
server ignores the id and shows each state by itself). https://docs.ntfy.sh/publish/
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from obskit.model.actions import Notice, Outcome
from obskit.model.settings import Secret
from obskit.notify import drawing, text
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport
from obskit.notify.http import HttpTransport, classify_status, json_request
from obskit.notify.settings import NotifierSettings, WebUrl
from obskit.notify.text import Tone
from obskit.outbound import httpx

PUBLISH: Final = "publish"
_MESSAGE_LIMIT: Final = 4_000  # bytes; of 4,096, above which it becomes an attachment
_TITLE_LIMIT: Final = 200
_ACTIONS: Final = 3
_PRIORITIES: Final = {Tone.CRITICAL: 5, Tone.WARNING: 4, Tone.INFO: 3, Tone.RESOLVED: 2, Tone.ENDED: 2}
_TAGS: Final = {
    Tone.CRITICAL: "rotating_light",
    Tone.WARNING: "warning",
    Tone.INFO: "information_source",
    Tone.RESOLVED: "white_check_mark",
    Tone.ENDED: "white_circle",
}


class NtfySettings(NotifierSettings):
    """One entry of `ntfy_configs`."""

    topic: Annotated[str, Field(pattern=r"^[-_A-Za-z0-9]{1,64}$")] = Field(
        description="who knows it may read along, unless the server asks for a login"
    )
    url: WebUrl = Field("https://ntfy.sh", description="the server")
    token: Secret | None = Field(None, description="an access token (tk_…)")
    username: str = Field("", description="login, instead of a token")
    password: Secret | None = Field(None, description="its password")
    priority: int | None = Field(None, ge=1, le=5, description="for what fires; default: by severity, 5 if critical")
    tags: list[str] = Field([], description="more tags")

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if self.token is not None and (self.username or self.password is not None):
            raise ValueError("give either a token, or username and password")
        if bool(self.username) != (self.password is not None):
            raise ValueError("username and password go together")
        return self


class Ntfy:
    """One JSON publish per state."""

    min_interval_s = 5.0  # what is left of the free server's burst of 60 once it is used up

    def __init__(self, settings: NtfySettings) -> None:
        self._settings = settings

    def steps(self, notice: Notice) -> Sequence[Step]:
        """The newest state replaces an unsent older one: it is the same notification."""
        return [Step(PUBLISH, coalesce=f"{notice.incident}:{PUBLISH}")]

    def render(self, notice: Notice, _step: str, _handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """The notification, its links as buttons; degraded, as text alone."""
        shown = text.card(notice)
        links = shown.links if degraded else shown.links[_ACTIONS:]
        said: dict[str, Any] = {
            "topic": self._settings.topic,
            "title": text.clip(f"{drawing.state(shown)}: {shown.title}", _TITLE_LIMIT),
            "message": drawing.body(
                notice, replace(shown, links=links), drawing.PLAIN, _MESSAGE_LIMIT, drawing.byte_size
            ),
        }
        if not degraded:
            priority = self._settings.priority if notice.firing else None
            said |= {
                "sequence_id": hashlib.sha256(notice.incident.encode()).hexdigest()[:32],
                "priority": priority or _PRIORITIES[shown.tone],
                "tags": [_TAGS[shown.tone], *self._settings.tags],
                "actions": [{"action": "view", "label": link.text, "url": link.url} for link in shown.links[:_ACTIONS]],
            }
            if shown.title_url:
                said["click"] = shown.title_url
        return json_request("POST", self._settings.url.rstrip("/") + "/", said, **self._login())

    def classify(self, response: Response, _step: str) -> Outcome:
        """By status alone."""
        return classify_status(response)

    def _login(self) -> dict[str, str]:
        if self._settings.token is not None:
            return {"Authorization": f"Bearer {self._settings.token.reveal()}"}
        if self._settings.password is not None:
            pair = f"{self._settings.username}:{self._settings.password.reveal()}"
            return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        return {}


def _connect(settings: NtfySettings, http: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    return Ntfy(settings), HttpTransport(http, settings)


NTFY: Final = Kind("ntfy", NtfySettings, _connect)
