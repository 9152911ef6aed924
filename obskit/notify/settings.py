"""What the settings of every receiver share, and how keys of Alertmanager that we do not have are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from obskit.model.settings import Duration, Secret, Settings

if TYPE_CHECKING:
    from obskit.notify.definitions import Definitions

_METADATA_HOSTS: Final = ("metadata.google.internal", "metadata.azure.internal", "instance-data")
_METADATA_ADDRESSES: Final = frozenset(
    # EC2 over IPv6, Alibaba Cloud, Azure's wire server, Oracle Cloud: not link-local, and just as talkative.
    map(ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
# What a pasted file of Alertmanager's may spell out: the template that is used anyway.
_DEFAULT_TEMPLATE: Final = re.compile(r"""\s*\{\{-?\s*template\s+["`]([\w.]*default[\w.]*)["`]\s+\.\s*-?\}\}\s*""")

_NOT_YET: Final = {
    "msteams_configs": "Microsoft has ended the connectors these wrote to: make a workflow and use msteamsv2_configs",
    "payload": "obskit sends Alertmanager's version 4 body",
}


def _refuse(_: Any, info: ValidationInfo) -> Any:
    key = info.field_name or ""
    default = f"obskit does not deliver to {key.removesuffix('_configs')} yet" if key.endswith("_configs") else ""
    reason = _NOT_YET.get(key, default) or "a key of Alertmanager that obskit does not use yet: leave it out"
    raise PydanticCustomError("not_supported", "{reason}", {"reason": reason})


def _no_template(text: str) -> str:
    if _DEFAULT_TEMPLATE.fullmatch(text):
        return ""
    if "{{" in text:
        raise ValueError("templates are not evaluated here: write plain text")
    return text


def _words(text: str, info: ValidationInfo) -> str:
    if "{{" not in text:
        return text
    default, definitions = _DEFAULT_TEMPLATE.fullmatch(text), _definitions(info)
    if default and not is_redefined(default[1], info):
        return ""
    from obskit.notify.wording import check_text  # noqa: PLC0415 - few write templates

    return check_text(text, definitions)


def is_redefined(name: str, info: ValidationInfo) -> bool:
    """Whether a file gives a template of Alertmanager's another meaning."""
    definitions = _definitions(info)
    return definitions is not None and name in definitions.own


def _definitions(info: ValidationInfo) -> Definitions | None:
    """Of the files that `templates:` names; None when there are none."""
    return (info.context or {}).get("templates")


def _web_url(url: str, info: ValidationInfo) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL that begins with http:// or https://")
    if is_machine_metadata(parts.hostname) and not info.data.get("allow_link_local"):
        raise ValueError(
            "points at this machine's link or its cloud metadata, which no receiver lives at (allow_link_local: true"
            " permits it)"
        )
    return url


def is_machine_metadata(host: str) -> bool:
    """Whether a host name or address is link-local, or where a cloud tells a machine its secrets."""
    if host.lower().rstrip(".") in _METADATA_HOSTS:
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_link_local or address in _METADATA_ADDRESSES


def _url_words(url: str, info: ValidationInfo) -> str:
    return _words(url, info) if "{{" in url else _web_url(url, info)


def _secret_web_url(secret: Secret, info: ValidationInfo) -> Secret:
    _web_url(secret.reveal(), info)
    return secret


def _one_line(text: str) -> str:
    if text.splitlines() not in ([], [text]):
        raise ValueError("must be one line")
    return text


NotYet = Annotated[Any, BeforeValidator(_refuse), WithJsonSchema({"not": {}})]
"""A key of Alertmanager's that we refuse with a reason, so that a pasted file never loses meaning in silence."""
PlainText = Annotated[str, AfterValidator(_no_template)]
"""Text that Alertmanager would evaluate as a template and we do not; its default templates read as nothing given."""
Words = Annotated[str, AfterValidator(_words)]
"""Text that may be a template of Alertmanager's; its default templates read as nothing given."""
UrlWords = Annotated[str, AfterValidator(_url_words)]
"""A WebUrl, or a template of one."""
OneLine = Annotated[PlainText, AfterValidator(_one_line)]
"""PlainText that goes into a header or a title."""
WebUrl = Annotated[str, AfterValidator(_web_url)]
"""An http(s) URL; not link-local and not a cloud's metadata service, unless `allow_link_local` says so."""
SecretUrl = Annotated[Secret, AfterValidator(_secret_web_url)]
"""A WebUrl that is a secret by itself."""
Deadline = Annotated[Duration, Field(gt=0)]


class NotifierSettings(Settings):
    """What every receiver has. `send_resolved` is true for all of them.

    Alertmanager has false for Slack, because it would post a second message there; we edit the first.
    """

    send_resolved: bool = Field(True, description="also tell when an alert is over")
    timeout: Deadline = Field(10_000, description="when one attempt is given up")
    allow_link_local: bool = Field(
        False, description="send to link-local addresses and to where clouds keep a machine's metadata, too"
    )

    DEFAULT_TEXTS: ClassVar[Mapping[str, str]] = {}
    """Of which key Alertmanager's default is which template: where a file defines it anew, that is what is said."""
    _given: Definitions | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _take_redefined(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict):
            return data
        redefined = {key: name for key, name in cls.DEFAULT_TEXTS.items() if is_redefined(name, info)}
        return {**{key: f'{{{{ template "{name}" . }}}}' for key, name in redefined.items()}, **data}

    @model_validator(mode="after")
    def _keep_definitions(self, info: ValidationInfo) -> Self:
        self._given = _definitions(info)
        return self

    @property
    def definitions(self) -> Definitions | None:
        """What the texts may refer to by name, beside Alertmanager's own; None when no file defines any."""
        return self._given

    @property
    def timeout_s(self) -> float:
        """The deadline of one attempt, in seconds."""
        return self.timeout / 1000
