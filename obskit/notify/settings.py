"""What the settings of every receiver share, and how keys of Alertmanager that we do not have are refused."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from obskit.model.settings import Duration, Secret, Settings

_METADATA_HOSTS: Final = ("metadata.google.internal", "fd00:ec2::254")

_NOT_YET: Final = {
    "email_configs": "obskit does not send e-mail yet",
    "title": "obskit builds the message itself: put what it shall say into the rule's summary and description",
    "text": "obskit builds the message itself: put what it shall say into the rule's summary and description",
    "color": "obskit colours the message by severity and state",
    "payload": "obskit sends Alertmanager's version 4 body",
}


def _refuse(_: Any, info: ValidationInfo) -> Any:
    key = info.field_name or ""
    default = f"obskit does not deliver to {key.removesuffix('_configs')} yet" if key.endswith("_configs") else ""
    reason = _NOT_YET.get(key, default) or "a key of Alertmanager that obskit does not use yet: leave it out"
    raise PydanticCustomError("not_supported", "{reason}", {"reason": reason})


def _no_template(text: str) -> str:
    if "{{" in text:
        raise ValueError("templates are not evaluated here: write plain text")
    return text


def _web_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL that begins with http:// or https://")
    if _is_machine_metadata(parts.hostname):
        raise ValueError("points at this machine's link or its cloud metadata, which no receiver lives at")
    return url


def _is_machine_metadata(host: str) -> bool:
    if host.lower() in _METADATA_HOSTS:
        return True
    try:
        return ip_address(host).is_link_local
    except ValueError:
        return False


def _secret_web_url(secret: Secret) -> Secret:
    _web_url(secret.reveal())
    return secret


NotYet = Annotated[Any, BeforeValidator(_refuse), WithJsonSchema({"not": {}})]
"""A key of Alertmanager's that we refuse with a reason, so that a pasted file never loses meaning in silence."""
PlainText = Annotated[str, AfterValidator(_no_template)]
"""Text that Alertmanager would evaluate as a template and we do not."""
WebUrl = Annotated[str, AfterValidator(_web_url)]
"""An http(s) URL, not link-local and not a cloud's metadata service."""
SecretUrl = Annotated[Secret, AfterValidator(_secret_web_url)]
"""A WebUrl that is a secret by itself."""
Deadline = Annotated[Duration, Field(gt=0)]


class NotifierSettings(Settings):
    """What every receiver has. `send_resolved` is true for all of them.

    Alertmanager has false for Slack, because it would post a second message there; we edit the first.
    """

    send_resolved: bool = Field(True, description="also tell when an alert is over")
    timeout: Deadline = Field(10_000, description="when one attempt is given up")

    @property
    def timeout_s(self) -> float:
        """The deadline of one attempt, in seconds."""
        return self.timeout / 1000
