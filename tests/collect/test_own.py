from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from obskit.collect import Feed, Snapshots, Source, find_kind, run_once
from obskit.collect.once import Captured
from obskit.collect.own import OwnSettings, Registry
from obskit.model.samples import MetricType, is_stale
from obskit.testing.clock import FakeClock, run

OURS = {"job": "obskit", "instance": "here"}


def test_a_registry_is_read_as_prometheus_would_scrape_it() -> None:
    registry = CollectorRegistry()
    Counter("jobs", "Jobs done.", ("queue",), registry=registry).labels("mail").inc(3)
    Histogram("wait_seconds", "Waiting.", buckets=(1,), registry=registry).observe(0.5)
    batch = Registry(registry, OURS).read(7)
    assert {str(sample.labels): sample.value for sample in batch.samples} == {
        'jobs_total{instance="here", job="obskit", queue="mail"}': 3,
        'wait_seconds_bucket{instance="here", job="obskit", le="1.0"}': 1,
        'wait_seconds_bucket{instance="here", job="obskit", le="+Inf"}': 1,
        'wait_seconds_count{instance="here", job="obskit"}': 1,
        'wait_seconds_sum{instance="here", job="obskit"}': 0.5,
    }
    assert batch.metadata["jobs_total"].type is MetricType.COUNTER
    assert batch.metadata["wait_seconds"].help == "Waiting."


def test_labels_are_made_once() -> None:
    snapshots = Snapshots({})
    first, second = (snapshots.take([("up", {"t": "a"}, 1)], now) for now in (1, 2))
    assert first.labels[0] is second.labels[0]


def test_a_series_that_ends_is_marked_stale_once() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("up", "", ("target",), registry=registry)
    gauge.labels("a").set(1)
    own = Registry(registry, OURS)
    own.read(1)
    gauge.remove("a")
    (ended,) = own.read(2).samples
    assert is_stale(ended.value)
    assert ended.labels["target"] == "a"
    assert len(own.read(3).samples) == 0
    gauge.labels("a").set(1)
    assert [sample.value for sample in own.read(4).samples] == [1]


def test_what_happens_to_other_collectors_becomes_samples() -> None:
    clock = FakeClock()
    with Feed("observed", Captured(), clock).book("there").call():
        pass
    captured = run(run_once(Source("obskit", OwnSettings(instance="here")), clock), clock)
    up = [s for s in captured.samples if s.labels.name == "obskit_collector_up" and s.labels.get("target") == "there"]
    assert [(s.labels["collector"], s.value, s.labels["job"]) for s in up] == [("observed", 1.0, "obskit")]


def test_its_doctor_finds_nothing_to_mend() -> None:
    clock = FakeClock()
    assert all(check.ok for check in run(find_kind("obskit").doctor(OwnSettings(), clock), clock))
