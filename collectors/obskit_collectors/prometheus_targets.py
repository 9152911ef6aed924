"""One item of `scrape_configs` as settings, and the targets that it makes of discovered groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import Field, model_validator

from obskit.errors import CollectorError
from obskit.model.durations import format_duration, parse_duration
from obskit.model.labels import Labels
from obskit.model.settings import Duration, Settings, Size
from obskit_collectors.prometheus_discovery import (
    DnsSettings,
    FileSettings,
    HttpSettings,
    StaticSettings,
    TargetGroup,
)
from obskit_collectors.prometheus_http import Access, AuthorizationSettings, BasicAuthSettings, TlsSettings
from obskit_collectors.prometheus_relabel import RelabelRule, relabel
from obskit_collectors.prometheus_series import PageRules
from obskit_collectors.prometheus_starts import CounterStarts

MEDIA_TYPES: Final = {
    "PrometheusText0.0.4": "text/plain;version=0.0.4",
    "PrometheusText1.0.0": "text/plain;version=1.0.0",
    "OpenMetricsText0.0.1": "application/openmetrics-text;version=0.0.1",
    "OpenMetricsText1.0.0": "application/openmetrics-text;version=1.0.0",
}
"""Prometheus' names of scrape protocols."""
_UNSUPPORTED: Final = (
    *("proxy_url", "proxy_from_environment", "proxy_connect_header", "no_proxy", "oauth2", "http_headers"),
    *("enable_http2", "scrape_protocols", "keep_dropped_targets", "scrape_failure_log_file", "extra_scrape_metrics"),
    *("scrape_classic_histograms", "always_scrape_classic_histograms", "convert_classic_histograms_to_nhcb"),
    *("scrape_native_histograms", "native_histogram_bucket_limit", "native_histogram_min_bucket_factor"),
    *("metric_name_validation_scheme", "metric_name_escaping_scheme"),
)


class ScrapeSettings(Settings):
    """One item of `scrape_configs`, with Prometheus' keys and meanings.

    Two defaults differ: `scrape_interval` is 15 s, and `body_size_limit` is 16 MB instead of none.
    """

    job_name: str = Field(min_length=1, description="the `job` label; unique in the file")
    scrape_interval: Duration = Field(
        default=15_000, gt=0, description="how often to scrape; default: `global.scrape_interval`"
    )
    scrape_timeout: Duration = Field(
        default=10_000,
        gt=0,
        description="when a scrape is given up, never longer than the interval; default: `global.scrape_timeout`",
    )
    metrics_path: str = Field("/metrics", description="the path of the page")
    scheme: str = Field(default="http", pattern="^https?$", description="http or https")
    params: dict[str, tuple[str, ...]] = Field({}, description="the query of the URL")
    honor_labels: bool = Field(False, description="labels of the page win over labels of the target")
    honor_timestamps: bool = Field(True, description="take the page's own timestamps")
    track_timestamps_staleness: bool = Field(
        False, description="end a series with its own timestamps when it leaves the page"
    )
    authorization: AuthorizationSettings | None = Field(None, description="an Authorization header")
    basic_auth: BasicAuthSettings | None = Field(None, description="user and password")
    tls_config: TlsSettings = Field(TlsSettings(), description="whom to trust over https, and who we are")
    follow_redirects: bool = Field(True, description="follow redirects, ten at most")
    enable_compression: bool = Field(True, description="ask for gzip")
    fallback_scrape_protocol: str = Field(
        "", description="what a page without a known Content-Type is, such as PrometheusText0.0.4"
    )
    body_size_limit: Size = Field(16_000_000, description="a larger page fails the scrape; counted after unpacking")
    sample_limit: int = Field(default=0, ge=0, description="more samples fail the scrape; 0: no limit")
    label_limit: int = Field(default=0, ge=0, description="more labels on a sample fail the scrape; 0: no limit")
    label_name_length_limit: int = Field(
        default=0, ge=0, description="a longer label name fails the scrape; 0: no limit"
    )
    label_value_length_limit: int = Field(
        default=0, ge=0, description="a longer label value fails the scrape; 0: no limit"
    )
    target_limit: int = Field(default=0, ge=0, description="more targets fail the job; 0: no limit")
    counter_starts: CounterStarts = Field(
        CounterStarts.OFF,
        description="whose word is taken for when a counter began, so that its first increment counts:"
        " `created` (samples `…_created`) or `observed` (also: a counter that is new on the page)",
    )
    static_configs: tuple[StaticSettings, ...] = Field((), description="targets by name")
    file_sd_configs: tuple[FileSettings, ...] = Field((), description="targets from JSON or YAML files")
    http_sd_configs: tuple[HttpSettings, ...] = Field((), description="targets from a URL")
    dns_sd_configs: tuple[DnsSettings, ...] = Field((), description="targets from DNS names")
    relabel_configs: tuple[RelabelRule, ...] = Field((), description="change or drop targets before they are scraped")
    metric_relabel_configs: tuple[RelabelRule, ...] = Field(
        (), description="change or drop samples before they are stored"
    )

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key in _UNSUPPORTED or (key.endswith("_sd_configs") and key not in cls.model_fields):
                raise ValueError(f"obskit does not know {key}: remove it (Prometheus does, we do not)")
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.authorization and self.basic_auth:
            raise ValueError("give either authorization or basic_auth, not both")
        if self.fallback_scrape_protocol and self.fallback_scrape_protocol not in MEDIA_TYPES:
            raise ValueError(f"fallback_scrape_protocol is one of {', '.join(MEDIA_TYPES)}")
        if not self.relabel_configs:  # with rules an address may become something else, as for the blackbox exporter
            for address in (target for group in self.static_configs for target in group.targets):
                _check_address(address)
        return self

    @property
    def timeout_ms(self) -> int:
        """The limit of one scrape: never longer than the interval, whatever `global` says."""
        return min(self.scrape_timeout, self.scrape_interval)

    def access(self) -> Access:
        """How the job's URLs are reached."""
        return Access(
            self.authorization, self.basic_auth, self.tls_config, self.follow_redirects, self.enable_compression
        )

    def page_rules(self) -> PageRules:
        """What the job says about pages."""
        return PageRules(
            honor_labels=self.honor_labels,
            honor_timestamps=self.honor_timestamps,
            track_timestamps_staleness=self.track_timestamps_staleness,
            metric_relabel=self.metric_relabel_configs,
            sample_limit=self.sample_limit,
            label_limit=self.label_limit,
            label_name_length_limit=self.label_name_length_limit,
            label_value_length_limit=self.label_value_length_limit,
            counter_starts=self.counter_starts,
        )


@dataclass(frozen=True, slots=True)
class Target:
    """What to scrape, how often, and the labels that all of it carries."""

    labels: Labels
    url: str
    params: tuple[tuple[str, str], ...]
    interval_ms: int
    timeout_ms: int

    @property
    def title(self) -> str:
        """The URL without query or user, and the instance where the URL does not say it (a blackbox exporter's probes)."""
        scheme, _, rest = self.url.partition("://")
        address, slash, path = rest.partition("/")
        host = _without_user(address)
        shown = f"{scheme}://{host}{slash}{path.partition('?')[0]}"
        instance = self.labels.get("instance")
        return shown if instance == host else f"{shown} ({instance})"


def targets_of(settings: ScrapeSettings, groups: Iterable[TargetGroup]) -> list[Target]:
    """The targets of some groups after relabelling, each once. CollectorError (config) when one is not usable."""
    found: dict[Target, None] = {}
    for group in groups:
        for address in group.targets:
            target = _target(settings, {**_defaults(settings), **group.labels, "__address__": address})
            if target is not None:
                found[target] = None
    if 0 < settings.target_limit < len(found):
        raise CollectorError(f"{len(found)} targets, more than target_limit ({settings.target_limit})", reason="config")
    return list(found)


def _defaults(settings: ScrapeSettings) -> dict[str, str]:
    return {
        "job": settings.job_name,
        "__scheme__": settings.scheme,
        "__metrics_path__": settings.metrics_path,
        "__scrape_interval__": format_duration(settings.scrape_interval),
        "__scrape_timeout__": format_duration(settings.timeout_ms),
        **{f"__param_{name}": values[0] for name, values in settings.params.items() if values},
    }


def _target(settings: ScrapeSettings, labels: dict[str, str]) -> Target | None:
    final = relabel(labels, settings.relabel_configs)
    if final is None or not final.get("__address__"):
        return None
    address = final["__address__"]
    path = final.get("__metrics_path__", "")
    try:
        _check_address(address)
        interval_ms = parse_duration(final.get("__scrape_interval__", ""))
        timeout_ms = parse_duration(final.get("__scrape_timeout__", ""))
        if not 0 < timeout_ms <= interval_ms:
            raise ValueError("__scrape_timeout__ must be more than 0 and at most __scrape_interval__")
    except ValueError as error:
        raise CollectorError(f"target {_without_user(address)}: {error}", reason="config") from None
    shown = {name: value for name, value in final.items() if not name.startswith("__")}
    return Target(
        labels=Labels({"instance": _without_user(address), **shown}),
        url=f"{final.get('__scheme__', 'http')}://{address}{path if path.startswith('/') else f'/{path}'}",
        params=_params(settings.params, final),
        interval_ms=interval_ms,
        timeout_ms=timeout_ms,
    )


def _params(configured: Mapping[str, tuple[str, ...]], labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The query: a `__param_x` label replaces the first value of `x`."""
    values = {name: list(given) for name, given in configured.items()}
    for label, value in labels.items():
        if label.startswith("__param_"):
            values[label.removeprefix("__param_")] = [value, *values.get(label.removeprefix("__param_"), [])[1:]]
    return tuple((name, value) for name in sorted(values) for value in values[name])


def _without_user(address: str) -> str:
    """`host:port` of `user:password@host:port`: a password must not be in every series and message."""
    return address.rpartition("@")[2]


def _check_address(address: str) -> None:
    if "/" in address:
        raise ValueError(
            f'"{_without_user(address)}" is not host:port (scheme and metrics_path are settings of their own)'
        )
