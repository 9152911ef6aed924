from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit_collectors.prometheus_discovery import TargetGroup
from obskit_collectors.prometheus_targets import ScrapeSettings, Target, targets_of


def targets(settings: dict[str, Any], *groups: TargetGroup) -> list[Target]:
    return targets_of(ScrapeSettings(**{"job_name": "api", **settings}), groups)


def test_a_target_has_job_and_instance_and_its_groups_labels() -> None:
    (target,) = targets({}, TargetGroup(("a:1",), {"env": "prod", "__meta_x": "hidden"}))
    assert target == Target(
        labels=Labels({"job": "api", "instance": "a:1", "env": "prod"}),
        url="http://a:1/metrics",
        params=(),
        interval_ms=15_000,
        timeout_ms=10_000,
    )


def test_equal_targets_are_one() -> None:
    assert len(targets({}, TargetGroup(("a:1", "a:1")), TargetGroup(("a:1",)))) == 1


def test_the_timeout_is_never_longer_than_the_interval() -> None:
    (target,) = targets({"scrape_interval": "1s", "scrape_timeout": "10s"}, TargetGroup(("a:1",)))
    assert (target.interval_ms, target.timeout_ms) == (1000, 1000)


def test_scheme_path_and_params_make_the_url() -> None:
    (target,) = targets(
        {"scheme": "https", "metrics_path": "probe", "params": {"module": ["http_2xx", "b"], "x": []}},
        TargetGroup(("user:pw@a:1",)),
    )
    assert target.url == "https://user:pw@a:1/probe"
    assert target.params == (("module", "http_2xx"), ("module", "b"))
    assert target.title == "https://a:1/probe"
    assert target.labels["instance"] == "a:1"


def test_the_blackbox_pattern_works() -> None:
    settings = {
        "metrics_path": "/probe",
        "params": {"module": ["http_2xx"]},
        "static_configs": [{"targets": ["https://example.com/health"]}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": "127.0.0.1:9115"},
        ],
    }
    (target,) = targets(settings, TargetGroup(("https://example.com/health",)))
    assert target.url == "http://127.0.0.1:9115/probe"
    assert target.params == (("module", "http_2xx"), ("target", "https://example.com/health"))
    assert target.labels["instance"] == "https://example.com/health"
    assert target.title == "http://127.0.0.1:9115/probe (https://example.com/health)"


def test_relabelling_chooses_and_changes_targets() -> None:
    settings = {
        "relabel_configs": [
            {"source_labels": ["env"], "regex": "prod", "action": "keep"},
            {"target_label": "__scrape_interval__", "replacement": "5s"},
            {"target_label": "__scrape_timeout__", "replacement": "2s"},
        ]
    }
    (target,) = targets(settings, TargetGroup(("a:1",), {"env": "prod"}), TargetGroup(("b:1",), {"env": "dev"}))
    assert (target.labels["instance"], target.interval_ms, target.timeout_ms) == ("a:1", 5000, 2000)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"target_label": "__scrape_interval__", "replacement": "often"}, "target a:1: not a duration"),
        ({"target_label": "__scrape_timeout__", "replacement": "1h"}, "at most __scrape_interval__"),
        ({"target_label": "__address__", "replacement": "http://a:1"}, "is not host:port"),
    ],
)
def test_a_target_that_cannot_be_scraped_is_named(rule: dict[str, Any], says: str) -> None:
    with pytest.raises(CollectorError) as caught:
        targets({"relabel_configs": [rule]}, TargetGroup(("a:1",)))
    assert caught.value.reason == "config"
    assert says in str(caught.value)


def test_too_many_targets_are_an_error() -> None:
    with pytest.raises(CollectorError, match="2 targets, more than target_limit"):
        targets({"target_limit": 1}, TargetGroup(("a:1", "b:1")))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kubernetes_sd_configs": []}, "obskit does not know kubernetes_sd_configs"),
        ({"proxy_url": "http://x"}, "obskit does not know proxy_url"),
        ({"scrap_interval": "5s"}, "scrap_interval"),
        ({"scrape_interval": "0"}, "scrape_interval"),
        ({"static_configs": [{"targets": ["http://a:1/metrics"]}]}, "is not host:port"),
        ({"scheme": "ftp"}, "scheme"),
        ({"fallback_scrape_protocol": "PrometheusProto"}, "fallback_scrape_protocol is one of PrometheusText0.0.4"),
        (
            {"authorization": {"credentials": "x"}, "basic_auth": {"username": "x"}},
            "give either authorization or basic_auth",
        ),
        ({"authorization": {"credentials": "two\nlines"}}, "credentials have a line break"),
        ({"authorization": {"credentials": "x", "type": "Bear er"}}, "type"),
        ({"tls_config": {"key_file": "x"}}, "key_file needs cert_file"),
        ({"job_name": ""}, "job_name"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ScrapeSettings(**{"job_name": "api", **settings})
    assert says in str(caught.value)


def test_a_pasted_prometheus_job_is_read_with_every_scalar_as_text() -> None:
    settings = ScrapeSettings.model_validate(
        {
            "job_name": "node",
            "scrape_interval": "1m",
            "scrape_timeout": "20s",
            "honor_labels": "true",
            "enable_compression": "false",
            "sample_limit": "5000",
            "body_size_limit": "10MB",
            "authorization": {"credentials": "s3cret"},
            "dns_sd_configs": [{"names": ["top.nearest.of.app.internal"], "type": "AAAA", "port": "9100"}],
            "file_sd_configs": [{"files": ["targets/*.json"], "refresh_interval": "30s"}],
            "relabel_configs": [{"source_labels": ["__meta_dns_name"], "target_label": "name"}],
        }
    )
    assert settings.page_rules().honor_labels
    assert (settings.timeout_ms, settings.body_size_limit, settings.sample_limit) == (20_000, 10_000_000, 5000)
    assert "s3cret" not in repr(settings)
