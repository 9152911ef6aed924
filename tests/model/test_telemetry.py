from __future__ import annotations

import math
import threading
from typing import Any

import prometheus_client
import pytest

from obskit.model import telemetry
from obskit.model.exposition import ExpositionParser
from obskit.model.telemetry import CONTENT_TYPE, Counter, Gauge, Histogram, Registry

AWKWARD = 'a "quoted"\\ value\nof two lines'


def test_a_page_is_what_prometheus_client_would_have_written() -> None:
    ours, theirs = Registry(), prometheus_client.CollectorRegistry()
    fill(telemetry, ours)
    fill(prometheus_client, theirs)
    written = prometheus_client.generate_latest(theirs).decode().splitlines()
    assert ours.text().splitlines() == [line for line in written if "_created" not in line]


def fill(kit: Any, registry: object) -> None:
    kit.Counter("jobs_total", "Jobs\nand \\ more.", ("job",), registry=registry).labels(AWKWARD).inc(2.5)
    kit.Counter("idle", "Counts nothing yet.", ("job",), registry=registry)
    kit.Gauge("far", "Infinitely.", registry=registry).set(-math.inf)
    kit.Gauge("unknown", "Not a number.", registry=registry).set(math.nan)
    waiting = kit.Histogram("wait_seconds", "Waiting.", ("job",), buckets=(0.1, 1), registry=registry)
    for seconds in (0.05, 0.1, 0.5, 1e18):
        waiting.labels("mail").observe(seconds)


def test_our_own_parser_reads_the_page() -> None:
    registry = Registry()
    Counter("jobs", "", ("queue",), registry=registry).labels(AWKWARD).inc()
    page = ExpositionParser().parse(registry.text().encode(), CONTENT_TYPE, now_ms=0)
    assert [labels["queue"] for labels in page.labels] == [AWKWARD]


def test_a_series_is_found_by_name_and_labels() -> None:
    registry = Registry()
    jobs = Counter("jobs", "", ("queue",), registry=registry)
    jobs.labels("mail").inc(3)
    Histogram("wait_seconds", "", buckets=(1,), registry=registry).observe(2)
    assert registry.get_sample_value("jobs_total", {"queue": "mail"}) == 3
    assert registry.get_sample_value("jobs_total") is None
    assert registry.get_sample_value("wait_seconds_count") == 1
    assert registry.get_sample_value("wait_seconds_bucket", {"le": "1.0"}) == 0


def test_a_gauge_goes_up_and_down_or_asks() -> None:
    gauge = Gauge("waiting", "")
    gauge.inc(3)
    gauge.dec()
    assert gauge.value == 2
    gauge.set_function(lambda: 7)
    assert gauge.value == 7


def test_series_are_removed_one_by_one_or_all_together() -> None:
    registry = Registry()
    gauge = Gauge("up", "", ("target",), registry=registry)
    for target in "abc":
        gauge.labels(target).set(1)
    gauge.remove("b")
    assert [reading.labels["target"] for reading in gauge.read()] == ["a", "c"]
    with pytest.raises(KeyError):
        gauge.remove("b")
    gauge.clear()
    assert list(gauge.read()) == []


def test_mistakes_are_refused() -> None:
    registry = Registry()
    jobs = Counter("jobs", "", ("queue",), registry=registry)
    with pytest.raises(ValueError, match="there is a metric jobs_total already"):
        Counter("jobs_total", "", registry=registry)
    with pytest.raises(ValueError, match="labels"):
        jobs.labels("mail", "again")
    with pytest.raises(ValueError, match="only grow"):
        jobs.labels("mail").inc(-1)


def test_no_count_of_two_threads_is_lost() -> None:
    jobs = Counter("jobs", "", ("queue",))
    together = threading.Barrier(2)

    def count() -> None:
        together.wait()
        for _ in range(20_000):
            jobs.labels("mail").inc()

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jobs.labels("mail").value == 40_000
