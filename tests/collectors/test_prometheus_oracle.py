"""The same job and the same page, scraped by us and by a real Prometheus: the series must be equal."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from obskit.clock import SystemClock
from obskit.collect import Source, run_once
from obskit.testing.clock import run
from obskit_collectors.prometheus import ScrapeSettings
from tests.collectors.pages import Pages
from tests.servers import free_port, wait_for_port

PAGE = r"""
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{path="/a",instance="theirs",code="200"} 1027
requests_total{path="/b \"quoted\" \\ and\nlines",code="500",} 3
# TYPE wait_seconds histogram
wait_seconds_bucket{le="0.5"} 3
wait_seconds_bucket{le="+Inf"} 4
wait_seconds_sum 1.25e+01
wait_seconds_count 4
go_goroutines 12
temperature{env="page"}    -0.5
empty_label{gone=""} 1
"""
VARIANTS: list[dict[str, Any]] = [
    {},
    {"honor_labels": True},
    {
        "relabel_configs": [
            {"source_labels": ["__address__"], "regex": "(.*):.*", "target_label": "host", "replacement": "h-$1"},
            {"regex": "env", "action": "labeldrop"},
        ],
        "metric_relabel_configs": [
            {"source_labels": ["__name__"], "regex": "go_.*", "action": "drop"},
            {"source_labels": ["path"], "target_label": "shard", "action": "hashmod", "modulus": 7},
            {"regex": "pa(th)", "replacement": "copy_$1", "action": "labelmap"},
            {"source_labels": ["code"], "regex": "5..", "target_label": "class", "replacement": "bad"},
        ],
    },
    {"sample_limit": 2},
    {"label_limit": 3},
]
VARYING = ("scrape_duration_seconds", "scrape_series_added", "scrape_samples_scraped")
"""They differ from scrape to scrape, or where a limit stops the reading."""


def scrape_configs(pages: Pages) -> list[dict[str, Any]]:
    static = [{"targets": [pages.address], "labels": {"env": "test"}}]
    return [{"job_name": f"job{number}", "static_configs": static, **more} for number, more in enumerate(VARIANTS)]


@pytest.fixture
def prometheus_url(tmp_path: Path, pages: Pages) -> Iterator[str]:
    pages.serve(PAGE)
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": scrape_configs(pages)}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    log = (tmp_path / "log").open("wb")
    with log, subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log) as process:
        wait_for_port(port, process)
        yield f"http://127.0.0.1:{port}"
        process.kill()


def ask(url: str, query: str) -> list[dict[str, Any]]:
    """What an instant query finds; nothing while the server is still starting."""
    with (
        suppress(urllib.error.HTTPError),
        urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=5) as answer,
    ):
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found
    return []


def theirs(url: str, job: str) -> set[tuple[tuple[tuple[str, str], ...], float]]:
    found = ask(url, f'{{job="{job}"}}')
    return {(tuple(sorted(each["metric"].items())), float(each["value"][1])) for each in found}


def ours(settings: ScrapeSettings) -> set[tuple[tuple[tuple[str, str], ...], float]]:
    async def scenario() -> Any:
        return await run_once(Source("prometheus", settings), SystemClock())

    return {(sample.labels.pairs, sample.value) for sample in run(scenario()).samples}


def steady(series: set[tuple[tuple[tuple[str, str], ...], float]]) -> set[tuple[tuple[tuple[str, str], ...], float]]:
    return {(labels, value) for labels, value in series if dict(labels)["__name__"] not in VARYING}


@pytest.mark.slow  # its discovery waits 5 s before the first scrape
@pytest.mark.server("prometheus")
def test_prometheus_makes_the_same_series_of_the_same_page(prometheus_url: str, pages: Pages) -> None:
    wait = SystemClock()

    async def scraped() -> None:
        while len(ask(prometheus_url, "up")) < len(VARIANTS):
            await wait.sleep(0.1)

    run(scraped())
    for item in scrape_configs(pages)[:3]:
        mine = ours(ScrapeSettings(**item))
        assert steady(mine) == steady(theirs(prometheus_url, item["job_name"]))
        assert len(mine) > 10
    for item in scrape_configs(pages)[3:]:
        assert ask(prometheus_url, f'up{{job="{item["job_name"]}"}}')[0]["value"][1] == "0"
