"""The sections of obskit.yaml that belong to no room: global, web, self."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from obskit.model.labels import is_label_name
from obskit.model.settings import Duration, Secret, Settings


def _label_names(labels: dict[str, str]) -> dict[str, str]:
    for name in labels:
        if not is_label_name(name) or name == "__name__":
            raise ValueError(f'"{name}" is not a label name')
    return labels


def parse_listen(text: str) -> tuple[str, int]:
    """`127.0.0.1:9797`, `[::1]:9797` or `:9797` (all addresses) as host and port; ValueError otherwise."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be ADDRESS:PORT, such as 127.0.0.1:9797")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - asked for by leaving the address out


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_guarded(listen: str, token: Secret | None) -> None:
    """ValueError when others than this machine could reach a server that asks for no token."""
    host, _ = parse_listen(listen)
    if not is_loopback(host) and token is None:
        raise ValueError(f"{listen} can be reached from outside: give a token, or listen on 127.0.0.1")


class GlobalSettings(Settings):
    """What everything else starts from; the keys are Prometheus' and Alertmanager's where they have them."""

    evaluation_interval: Duration = Field(15_000, gt=0, description="how often groups without their own run")
    scrape_interval: Duration = Field(15_000, gt=0, description="how often targets without their own are scraped")
    scrape_timeout: Duration = Field(10_000, gt=0, description="when a scrape is given up")
    rule_query_offset: Duration = Field(0, ge=0, description="how far in the past groups without their own look")
    rule_max_delay: Duration = Field(
        120_000,
        ge=0,
        le=120_000,
        description="how long log rules wait at most for sources that deliver late; a line that comes is judged at once",
    )
    query_timeout: Duration = Field(120_000, gt=0, description="when an evaluation or a query is given up")
    query_max_samples: int = Field(
        10_000_000,
        gt=0,
        description="how many samples one query may read: each takes 16 bytes of memory, and its copies",
    )
    external_labels: Annotated[dict[str, str], AfterValidator(_label_names)] = Field(
        default_factory=dict, description="what templates see as $externalLabels"
    )
    resolve_timeout: Duration = Field(
        300_000, gt=0, description="when an alert that others posted without an end is over, unless it is posted again"
    )
    external_url: str = Field("", description="where people reach this obskit; links in messages start with it")
    logs_url: str = Field(
        "",
        pattern=r"^$|^https?://\S*\{query\}\S*$",
        description="a page that shows log lines, with `{query}` (LogQL), `{start_ms}` and `{end_ms}`: the link of log alerts",
    )


class WebSettings(Settings):
    """The HTTP server. It listens on loopback; any other address needs a token."""

    listen: str = Field("127.0.0.1:9797", description="ADDRESS:PORT")
    token: Secret | None = Field(
        None,
        description="asked for as `Authorization: Bearer …` on every path but those of health and of signed webhooks (`/hooks/`)",
    )

    allowed_hosts: list[str] = Field(
        [],
        description="names this server is asked by beside those of loopback, such as a proxy's, while there is no token",
    )

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, listen: str) -> str:
        parse_listen(listen)
        return listen

    @model_validator(mode="after")
    def _guarded(self) -> WebSettings:
        check_guarded(self.listen, self.token)
        return self


class SentHeartbeat(Settings):
    """One address that hears of us."""

    url: Secret = Field(description="a ping URL of healthchecks.io, or of another obskit")
    every: Duration = Field(60_000, ge=10_000, description="how often")

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: Secret) -> Secret:
        parts = urlsplit(url.reveal())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with http:// or https:// and a host")
        return url

    @property
    def host(self) -> str:
        """What of it may be told."""
        return urlsplit(self.url.reveal()).hostname or ""


class SentHeartbeats(Settings):
    """`heartbeats:` our own signs of life."""

    send: list[SentHeartbeat] = Field([], description="pinged while rules are evaluated and messages go out, only then")


class RootKeys(Settings):
    """The names of all sections, for messages and for the JSON Schema; each is validated by its own room."""

    global_: GlobalSettings | None = Field(None, alias="global")
    include: list[str] | str | None = None
    store: Any = None
    web: WebSettings | None = None
    ingest: Any = None
    errors: Any = None
    heartbeats: SentHeartbeats | None = None
    collectors: list[Any] | None = None
    scrape_configs: list[Any] | None = None
    rule_packs: list[str] | None = None
    rule_files: list[str] | None = None
    route: Any = None
    inhibit_rules: list[Any] | None = None
    time_intervals: list[Any] | None = None
    mute_time_intervals: list[Any] | None = None
    maintenance: list[Any] | None = None
    flapping: Any = None
    receivers: list[Any] | None = None
    templates: list[str] | None = None
    alertmanager_config: str | None = None
