"""Cloudflare: one account, of which each section of the settings reads or receives a part. Only the parts know what.

A part is a module `cloudflare_<part>.py` with the model of its section, `build_parts` (its collectors) and `checks`
(its share of the doctor).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from obskit.clock import Clock
from obskit.collect import Check, Collector, Kind, Several
from obskit.model.settings import Secret, Settings
from obskit_collectors import cloudflare_logs, cloudflare_receive
from obskit_collectors.cloudflare_account import BASE, Account

_ACCOUNT_ID: Final = re.compile(r"[0-9a-fA-F]{32}")


class CloudflareSettings(Settings):
    """`cloudflare:` one account."""

    name: str = Field("", pattern=r"^[\w.-]*$", description="own name, where there are several")
    account_id: str = Field(description="the account's id: 32 hex digits, in the dashboard's URL")
    token: Secret = Field(description="API token; each section names the permissions it needs")
    url: str = Field(BASE, description="where the API is", pattern=r"^https?://")
    logs: cloudflare_logs.LogsSettings | None = Field(None, description="read the logs of Workers")
    receive: cloudflare_receive.ReceiveSettings | None = Field(None, description="take what is pushed to us")

    @field_validator("account_id")
    @classmethod
    def _an_id(cls, value: str) -> str:
        if _ACCOUNT_ID.fullmatch(value) is None:
            raise ValueError("must be 32 hex digits, as in dash.cloudflare.com/<account_id>")
        return value.lower()

    @model_validator(mode="after")
    def _something_to_do(self) -> CloudflareSettings:
        if not any(getattr(self, part.field) is not None for part in PARTS):
            raise ValueError(f"nothing to do: give at least one of {', '.join(part.field for part in PARTS)}")
        return self

    @property
    def account(self) -> Account:
        """What every part is given."""
        return Account(self.account_id, self.token, self.name, self.url)


@dataclass(frozen=True, slots=True)
class Part:
    """A section of the settings and what it is for. Both functions are given the account and the section."""

    field: str
    build: Callable[[Account, Any], Sequence[Collector]]
    checks: Callable[[Account, Any, Clock], Awaitable[Sequence[Check]]]


PARTS: Final = (
    Part("logs", cloudflare_logs.build_parts, cloudflare_logs.checks),
    Part("receive", cloudflare_receive.build_parts, cloudflare_receive.checks),
)


def build(settings: CloudflareSettings) -> Collector:
    """The collectors of all configured parts, as one."""
    account = settings.account
    parts = [one for part, section in _configured(settings) for one in part.build(account, section)]
    return Several(account.collector, parts)


async def doctor(settings: CloudflareSettings, clock: Clock) -> Sequence[Check]:
    """The checks of all configured parts."""
    account = settings.account
    return [check for part, section in _configured(settings) for check in await part.checks(account, section, clock)]


def _configured(settings: CloudflareSettings) -> list[tuple[Part, Any]]:
    sections = [(part, getattr(settings, part.field)) for part in PARTS]
    return [(part, section) for part, section in sections if section is not None]


KIND: Final = Kind(settings=CloudflareSettings, build=build, doctor=doctor)
