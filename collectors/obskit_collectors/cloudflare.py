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
from obskit_collectors import (
    cloudflare_ai,
    cloudflare_analytics,
    cloudflare_deploys,
    cloudflare_logs,
    cloudflare_notifications,
    cloudflare_queues,
    cloudflare_receive,
    cloudflare_storage,
)
from obskit_collectors.cloudflare_account import BASE, Account

_ACCOUNT_ID: Final = re.compile(r"[0-9a-fA-F]{32}")


class CloudflareSettings(Settings):
    """`cloudflare:` one account."""

    name: str = Field("", pattern=r"^[\w.-]*$", description="own name, where there are several")
    account_id: str = Field(description="the account's id: 32 hex digits, in the dashboard's URL")
    token: Secret = Field(description="API token; each section names the permissions it needs")
    url: str = Field(BASE, description="where the API is", pattern=r"^https?://")
    logs: cloudflare_logs.LogsSettings | None = Field(None, description="read the logs of Workers")
    analytics: cloudflare_analytics.AnalyticsSettings | None = Field(
        None, description="what was counted in each minute: Workers, queues, R2, D1, KV, Hyperdrive, zones"
    )
    queues: cloudflare_queues.QueuesSettings | None = Field(None, description="queues, as they are now")
    storage: cloudflare_storage.StorageSettings | None = Field(None, description="what is stored in R2, D1 and KV")
    ai_gateway: cloudflare_ai.AiSettings | None = Field(None, description="the logs of AI Gateway")
    deploys: cloudflare_deploys.DeploysSettings | None = Field(None, description="deployments of Workers, and builds")
    notifications: cloudflare_notifications.NotificationsSettings | None = Field(
        None, description="take what the account's Notifications post"
    )
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
    Part("analytics", cloudflare_analytics.build_parts, cloudflare_analytics.checks),
    Part("queues", cloudflare_queues.build_parts, cloudflare_queues.checks),
    Part("storage", cloudflare_storage.build_parts, cloudflare_storage.checks),
    Part("ai_gateway", cloudflare_ai.build_parts, cloudflare_ai.checks),
    Part("deploys", cloudflare_deploys.build_parts, cloudflare_deploys.checks),
    Part("notifications", cloudflare_notifications.build_parts, cloudflare_notifications.checks),
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
