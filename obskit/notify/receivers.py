"""The registry of receivers: which key of a receiver is which kind, and how its Integrations are built.

A kind's module is imported when a receiver names it. A new kind is one file, one line here, one docs line and one line
of the contract test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from obskit.model.settings import LateModel, Settings
from obskit.notify.base import Heard, Hook, Integration, Kind, Look, look_away
from obskit.notify.settings import NotifierSettings, NotYet
from obskit.outbound import httpx
from obskit.store.database import Database

KINDS: Final = {
    "slack_configs": "obskit.notify.slack:SLACK",
    "pagerduty_configs": "obskit.notify.pagerduty:PAGERDUTY",
    "opsgenie_configs": "obskit.notify.opsgenie:OPSGENIE",
    "jsm_configs": "obskit.notify.opsgenie:JSM",
    "discord_configs": "obskit.notify.discord:DISCORD",
    "msteamsv2_configs": "obskit.notify.msteams:MSTEAMS",
    "telegram_configs": "obskit.notify.telegram:TELEGRAM",
    "pushover_configs": "obskit.notify.pushover:PUSHOVER",
    "ntfy_configs": "obskit.notify.ntfy:NTFY",
    "email_configs": "obskit.notify.email:EMAIL",
    "sns_configs": "obskit.notify.sns:SNS",
    "webhook_configs": "obskit.notify.webhook:WEBHOOK",
    "apprise_configs": "obskit.notify.apprise:APPRISE",
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
    opsgenie_configs: list[Annotated[NotifierSettings, _SettingsOf("opsgenie_configs")]] = Field(
        [], description="Opsgenie teams"
    )
    jsm_configs: list[Annotated[NotifierSettings, _SettingsOf("jsm_configs")]] = Field(
        [], description="Jira Service Management operations"
    )
    discord_configs: list[Annotated[NotifierSettings, _SettingsOf("discord_configs")]] = Field(
        [], description="Discord channels"
    )
    msteamsv2_configs: list[Annotated[NotifierSettings, _SettingsOf("msteamsv2_configs")]] = Field(
        [], description="Microsoft Teams channels, through workflows"
    )
    telegram_configs: list[Annotated[NotifierSettings, _SettingsOf("telegram_configs")]] = Field(
        [], description="Telegram chats"
    )
    pushover_configs: list[Annotated[NotifierSettings, _SettingsOf("pushover_configs")]] = Field(
        [], description="phones, through Pushover"
    )
    ntfy_configs: list[Annotated[NotifierSettings, _SettingsOf("ntfy_configs")]] = Field(
        [], description="phones and desktops, through ntfy"
    )
    email_configs: list[Annotated[NotifierSettings, _SettingsOf("email_configs")]] = Field(
        [], description="mail addresses"
    )
    sns_configs: list[Annotated[NotifierSettings, _SettingsOf("sns_configs")]] = Field(
        [], description="Amazon SNS topics, and phone numbers"
    )
    webhook_configs: list[Annotated[NotifierSettings, _SettingsOf("webhook_configs")]] = Field(
        [], description="URLs that take Alertmanager's JSON"
    )
    apprise_configs: list[Annotated[NotifierSettings, _SettingsOf("apprise_configs")]] = Field(
        [], description="what Apprise knows and obskit does not"
    )
    console_configs: list[Annotated[NotifierSettings, _SettingsOf("console_configs")]] = Field(
        [], description="the terminal or the log"
    )

    fallback: str = Field(
        "",
        description="the receiver that is told of critical alerts too while this one takes no messages for 2 minutes",
    )

    labels: NotYet = None
    incidentio_configs: NotYet = None
    jira_configs: NotYet = None
    mattermost_configs: NotYet = None
    msteams_configs: NotYet = None
    rocketchat_configs: NotYet = None
    victorops_configs: NotYet = None
    webex_configs: NotYet = None
    wechat_configs: NotYet = None

    def configured(self) -> Iterator[tuple[str, str, NotifierSettings]]:
        """(destination id, receiver key, settings) of each destination, in the order of the registry."""
        for key in KINDS:
            for index, settings in enumerate(getattr(self, key)):
                yield f"{self.name}/{key.removesuffix('_configs')}[{index}]", key, settings


def build_integrations(
    receiver: ReceiverSettings, http: httpx.AsyncClient, look: Look = look_away
) -> list[Integration]:
    """The destinations of a receiver; those that speak HTTP share the client, which stays the caller's to close."""
    built = []
    for destination, key, settings in receiver.configured():
        kind = find_kind(key)
        notifier, transport = kind.connect(settings, http)
        built.append(Integration(destination, kind.name, notifier, transport, settings, look=look))
    return built


def build_hooks(
    receivers: Sequence[ReceiverSettings], http: httpx.AsyncClient, database: Database, heard: Heard = lambda _: None
) -> dict[str, Hook]:
    """Who listens to what services tell us, by kind: one for all receivers of it."""
    wanted: dict[str, list[NotifierSettings]] = {}
    for receiver in receivers:
        for _, key, settings in receiver.configured():
            wanted.setdefault(key, []).append(settings)
    hooks = {}
    for key, configured in wanted.items():
        kind = find_kind(key)
        hook = kind.listen(configured, http, database, heard) if kind.listen is not None else None
        if hook is not None:
            hooks[kind.name] = hook
    return hooks


def preview_integrations(receiver: ReceiverSettings) -> list[Integration]:
    """The same destinations, but each prints what it would be told (`obskit watch --dry-run`)."""
    from obskit.notify import console  # noqa: PLC0415 - a daemon without a console receiver never loads it

    return [
        Integration(destination, key.removesuffix("_configs"), *console.connect_preview(destination), settings)
        for destination, key, settings in receiver.configured()
    ]
