"""MemoryMetrics keeps the contract of MetricReader."""

from __future__ import annotations

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.samples import MetricMeta, MetricType, Sample
from obskit.testing.store import MemoryMetrics

A, B = Labels({"__name__": "m", "k": "a"}), Labels({"__name__": "m", "k": "b"})
EVERY = [Matcher("__name__", MatchOp.EQUAL, "m")]


def store() -> MemoryMetrics:
    """Two series; the samples of the second came out of order."""
    metrics = MemoryMetrics([Sample(A, 1000, 1.0), Sample(A, 2000, 2.0)])
    metrics.add(B, [3000, 1000], [4.0, 3.0])
    return metrics


def test_it_selects_a_left_open_range_in_order_of_series_and_time() -> None:
    window = store().select(EVERY, 1000, 3000)
    assert list(window.labels) == [A, B]
    assert (window.starts.tolist(), window.times_ms.tolist(), window.values.tolist()) == (
        [0, 1, 2],
        [2000, 3000],
        [2, 4],
    )


def test_series_without_a_sample_in_the_range_are_left_out() -> None:
    assert store().series(EVERY, 2000, 3000) == [B]
    assert store().series(EVERY, 5000, 6000) == []


def test_all_matchers_must_hold() -> None:
    assert store().series([*EVERY, Matcher("k", MatchOp.REGEX, "[bc]")], 0, 9000) == [B]


def test_a_later_sample_of_the_same_time_replaces_the_older() -> None:
    metrics = store()
    metrics.add(A, [2000], [9.0])
    assert metrics.select([*EVERY, Matcher("k", MatchOp.EQUAL, "a")], 0, 9000).values.tolist() == [1.0, 9.0]


def test_the_same_labels_object_comes_back_while_nothing_changes() -> None:
    metrics = store()
    assert metrics.select(EVERY, 0, 9000).labels is metrics.select(EVERY, 0, 9000).labels


def test_it_knows_what_metrics_are() -> None:
    metrics = store()
    metrics.describe({"m": MetricMeta(MetricType.GAUGE, "help")})
    assert metrics.metadata()["m"].type is MetricType.GAUGE
