"""The registry of receivers: which key of a receiver is which kind, and how its Integrations are built.

A kind's module is imported when a receiver names it. A new kind is one file, one line here, one docs line and one line
of the contract test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from obskit.model.settings import LateModel, Settings
from obskit.notify.base import Integration, Kind
from obskit.notify.settings import NotifierSettings, NotYet
from obskit.outbound import httpx

KINDS: Final = {
    "slack_configs": "obskit.notify.slack:SLACK",
    "pagerduty_configs": "obskit.notify.pagerduty:PAGERDUTY",
    "webhook_configs": "obskit.notify.webhook:WEBHOOK",
    "console_configs": "obskit.notify.console:CONSOLE",
}


def find_kind(key: str) -> Kind:
    """The kind of a receiver's key (`slack_configs`)."""
    module, _, attribute = KINDS[key].partition(":")
    kind: Kind = getattr(import_module(module), attribute)
    return kind


@dataclass(frozen=True)
class _SettingsOf(LateModel):
    """A pydantic type that imports its model only when a value, or the schema, is asked for."""

    key: str

    def model(self) -> type[NotifierSettings]:
        """The settings of the kind."""
        return find_kind(self.key).settings

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(find_kind(self.key).settings.__pydantic_core_schema__)

    def _validate(self, value: Any, info: ValidationInfo) -> NotifierSettings:
        # The context says where relative paths of secret files begin.
        return find_kind(self.key).settings.model_validate(value, context=info.context)


class ReceiverSettings(Settings):
    """One entry of `receivers:`, with Alertmanager's keys."""

    name: str = Field(min_length=1, description="what routes call it")
    slack_configs: list[Annotated[NotifierSettings, _SettingsOf("slack_configs")]] = Field(
        [], description="Slack channels"
    )
    pagerduty_configs: list[Annotated[NotifierSettings, _SettingsOf("pagerduty_configs")]] = Field(
        [], description="PagerDuty services"
    )
    webhook_configs: list[Annotated[NotifierSettings, _SettingsOf("webhook_configs")]] = Field(
        [], description="URLs that take Alertmanager's JSON"
    )
    console_configs: list[Annotated[NotifierSettings, _SettingsOf("console_configs")]] = Field(
        [], description="the terminal or the log"
    )

    labels: NotYet = None
    discord_configs: NotYet = None
    email_configs: NotYet = None
    incidentio_configs: NotYet = None
    jira_configs: NotYet = None
    mattermost_configs: NotYet = None
    msteams_configs: NotYet = None
    msteamsv2_configs: NotYet = None
    opsgenie_configs: NotYet = None
    pushover_configs: NotYet = None
    rocketchat_configs: NotYet = None
    sns_configs: NotYet = None
    telegram_configs: NotYet = None
    victorops_configs: NotYet = None
    webex_configs: NotYet = None
    wechat_configs: NotYet = None

    def configured(self) -> Iterator[tuple[str, str, NotifierSettings]]:
        """(destination id, receiver key, settings) of each destination, in the order of the registry."""
        for key in KINDS:
            for index, settings in enumerate(getattr(self, key)):
                yield f"{self.name}/{key.removesuffix('_configs')}[{index}]", key, settings


def build_integrations(receiver: ReceiverSettings, http: httpx.AsyncClient) -> list[Integration]:
    """The destinations of a receiver; those that speak HTTP share the client, which stays the caller's to close."""
    built = []
    for destination, key, settings in receiver.configured():
        kind = find_kind(key)
        notifier, transport = kind.connect(settings, http)
        built.append(Integration(destination, kind.name, notifier, transport, settings))
    return built


def preview_integrations(receiver: ReceiverSettings) -> list[Integration]:
    """The same destinations, but each prints what it would be told (`obskit watch --dry-run`)."""
    from obskit.notify import console  # noqa: PLC0415 - a daemon without a console receiver never loads it

    return [
        Integration(destination, key.removesuffix("_configs"), *console.connect_preview(destination), settings)
        for destination, key, settings in receiver.configured()
    ]
