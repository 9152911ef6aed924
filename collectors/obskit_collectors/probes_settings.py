"""Settings of the collector `probes`: what is asked, how often, and what a good answer is."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from obskit.errors import PatternError
from obskit.model.labels import is_label_name
from obskit.model.patterns import compile_pattern
from obskit.model.settings import Duration, Secret, Settings
from obskit.outbound import httpx
from obskit_collectors.probes_addresses import Family
from obskit_collectors.probes_certificates import TlsSettings

_STATUS: Final = re.compile(r"[1-5](\d\d|xx)")
_LONGEST_MS: Final = 240_000
"""A sample that is older than 5 minutes is gone for queries."""
_PORT: Final = re.compile(r"(?P<host>.+):(?P<port>\d{1,5})")


def _patterns(patterns: list[str]) -> list[str]:
    for pattern in patterns:
        try:
            compile_pattern(pattern)
        except PatternError as error:
            raise ValueError(str(error)) from None
    return patterns


class Probe(Settings, ABC):
    """What every probe has."""

    name: str = Field("", description="the `instance` label; default: what is probed")
    every: Duration | None = Field(
        None, gt=0, le=_LONGEST_MS, description="how often, if not as the others; at most 4m"
    )
    timeout: Duration | None = Field(None, gt=0, description="when an attempt is given up, if not as the others")
    confirm: int | None = Field(None, ge=1, le=5, description="attempts that must fail at once, if not as the others")
    ip: Family = Field("any", description="`4` or `6`: this family of addresses only")
    labels: dict[str, str] = Field(default={}, description="labels of the probe's series, such as tier")

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for name in labels:
            if not is_label_name(name) or name in ("instance", "job", "__name__"):
                raise ValueError(f'"{name}" cannot be a label here')
        return labels

    @property
    @abstractmethod
    def instance(self) -> str:
        """The `instance` label."""


class HttpProbe(Probe):
    """A page over HTTP. An item may also be just its URL."""

    url: Secret = Field(description="http:// or https://; a token in its query is told to nobody")
    method: Literal["GET", "HEAD", "POST", "PUT", "OPTIONS"] = Field("GET", description="the method")
    headers: dict[str, Secret] = Field(default={}, description="headers to send; `Host` and `Authorization` too")
    body: str = Field("", description="the body to send")
    status: list[str] = Field(["2xx"], min_length=1, description="good statuses, such as 204 or 3xx")
    redirects: bool = Field(True, description="follow redirects, ten at most")
    body_matches: list[str] = Field([], description="RE2 patterns of which each must be found in the body")
    body_not_matches: list[str] = Field([], description="RE2 patterns of which none may be found in the body")
    header_matches: dict[str, str] = Field(default={}, description="header → RE2 pattern that must be found in it")
    json_: dict[str, str] = Field(
        default={},
        alias="json",
        description="path in the JSON body (`checks.db[0].status`) → RE2 pattern of its whole value",
    )
    slower_than: Duration | None = Field(None, gt=0, description="an answer that takes longer is a failure")
    tls: TlsSettings = Field(TlsSettings(), description="whom to trust over https")

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: Secret) -> Secret:
        try:
            parsed = httpx.URL(url.reveal())
        except httpx.InvalidURL:
            raise ValueError("not a URL") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError("must begin with http:// or https:// and a host")
        if parsed.userinfo:
            raise ValueError("user and password belong into headers: { Authorization: Basic … }")
        return url

    @field_validator("status", mode="before")
    @classmethod
    def _are_statuses(cls, status: Any) -> Any:
        listed = status if isinstance(status, list) else [status]
        wrong = [each for each in listed if not _STATUS.fullmatch(str(each))]
        if wrong:
            raise ValueError(f"not a status: {wrong[0]} (like 200 or 2xx)")
        return [str(each) for each in listed]

    @field_validator("headers")
    @classmethod
    def _fit(cls, headers: dict[str, Secret]) -> dict[str, Secret]:
        for name, value in headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not value.reveal().isprintable():
                raise ValueError(f"{name}: not a header, or its value has a line break")
        return headers

    @field_validator("body_matches", "body_not_matches")
    @classmethod
    def _are_patterns(cls, patterns: list[str]) -> list[str]:
        return _patterns(patterns)

    @field_validator("header_matches", "json_")
    @classmethod
    def _have_patterns(cls, patterns: dict[str, str]) -> dict[str, str]:
        _patterns(list(patterns.values()))
        return patterns

    @property
    def instance(self) -> str:
        """The name, or the URL without its query."""
        url = httpx.URL(self.url.reveal())
        return self.name or str(url.copy_with(query=None, fragment=None))

    def is_good(self, status: int) -> bool:
        """Whether a status is among those wanted."""
        return any(str(status) == each or f"{status // 100}xx" == each for each in self.status)


class TcpProbe(Probe):
    """A port over TCP. An item may also be just `host:port`."""

    address: str = Field(description="host:port; IPv6 in brackets")
    tls: TlsSettings | None = Field(None, description="shake hands over TLS; `{}`: and trust the system's authorities")
    slower_than: Duration | None = Field(None, gt=0, description="a connection that takes longer is a failure")

    @field_validator("address")
    @classmethod
    def _has_a_port(cls, address: str) -> str:
        match = _PORT.fullmatch(address)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise ValueError("must be host:port")
        return address

    @property
    def host(self) -> str:
        """Without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.address.rpartition(":")[2])

    @property
    def instance(self) -> str:
        """The name, or the address."""
        return self.name or self.address


class DnsProbe(Probe):
    """A record of DNS. An item may also be just a name: its addresses."""

    query: str = Field(min_length=1, max_length=253, description="the name that is asked for")
    type: Literal["A", "AAAA", "CAA", "CNAME", "MX", "NS", "SOA", "SRV", "TXT"] = Field(
        "A", description="the kind of record; all but A and AAAA need the extra dns-srv"
    )
    server: str = Field("", description="address of the server to ask, with `:port` if not 53; default: the machine's")
    answers: list[str] = Field([], description="RE2 patterns; each must be the whole of some answer")

    @field_validator("answers")
    @classmethod
    def _are_patterns(cls, patterns: list[str]) -> list[str]:
        return _patterns(patterns)

    @property
    def instance(self) -> str:
        """The name, or what is asked."""
        asked = f"{self.query} {self.type}"
        return self.name or (f"{asked} @{self.server}" if self.server else asked)


def _or(model: type[Settings], key: str) -> BeforeValidator:
    """An item may also be just the one key that it cannot do without."""

    def expanded(item: Any) -> Any:
        return {key: item} if isinstance(item, str) else item

    return BeforeValidator(expanded, json_schema_input_type=model | str)


class ProbesSettings(Settings):
    """`probes:` what is asked from here."""

    name: str = Field("", description="own name, where there are several")
    job: str = Field("probes", description="the `job` label")
    every: Duration = Field(60_000, gt=0, le=_LONGEST_MS, description="how often each is asked; at most 4m")
    timeout: Duration = Field(10_000, gt=0, description="when an attempt is given up")
    confirm: int = Field(2, ge=1, le=5, description="how many attempts, one right after the other, must fail")
    at_once: int = Field(10, ge=1, le=100, description="how many are asked at the same time, at most")
    allow_link_local: bool = Field(
        False, description="let names lead to link-local and cloud metadata addresses (169.254.169.254)"
    )
    http: list[Annotated[HttpProbe, _or(HttpProbe, "url")]] = Field([], description="pages")
    tcp: list[Annotated[TcpProbe, _or(TcpProbe, "address")]] = Field([], description="ports")
    dns: list[Annotated[DnsProbe, _or(DnsProbe, "query")]] = Field([], description="records of DNS")

    @model_validator(mode="after")
    def _told_apart(self) -> ProbesSettings:
        instances = [probe.instance for probe in self.probes]
        if not instances:
            raise ValueError("nothing to probe: give http, tcp or dns")
        twice = {instance for instance in instances if instances.count(instance) > 1}
        if twice:
            raise ValueError(f"two probes are called {min(twice)}: give one of them a name")
        return self

    @property
    def probes(self) -> list[HttpProbe | TcpProbe | DnsProbe]:
        """All of them."""
        return [*self.http, *self.tcp, *self.dns]


def target_labels(settings: ProbesSettings, probe: Probe) -> Mapping[str, str]:
    """The labels of every series of a probe."""
    return {**probe.labels, "job": settings.job, "instance": probe.instance}
