from __future__ import annotations

import pytest

from obskit.errors import CollectorError
from obskit.model.exposition import Exposition
from obskit.model.labels import Labels
from obskit.model.samples import is_stale
from obskit.store.interface import Batch
from obskit_collectors.prometheus_relabel import RelabelRule
from obskit_collectors.prometheus_series import PageRules, TargetSeries, merge_labels

TARGET = Labels({"job": "api", "instance": "a:1"})
T = 1_700_000_000_000


class Scraping:
    """A target whose pages are text."""

    def __init__(self, **rules: object) -> None:
        self.series = TargetSeries(TARGET, PageRules(**rules))  # type: ignore[arg-type]
        self.parser = self.series.parser

    def page(self, text: str, now_ms: int) -> Exposition:
        return self.parser.parse(text.encode(), "text/plain", now_ms=now_ms)

    def read(self, text: str, now_ms: int = T) -> Batch:
        return self.series.read(self.page(text, now_ms), now_ms, 0.25)


def shown(batch: Batch) -> dict[str, float | str]:
    """Every series of a batch without the target's labels."""
    return {
        str(sample.labels.without("job", "instance")): "stale" if is_stale(sample.value) else sample.value
        for sample in batch.samples
    }


def report(up: int, scraped: int = 0, kept: int = 0, added: int = 0) -> dict[str, float]:
    return {
        "up": up,
        "scrape_duration_seconds": 0.25,
        "scrape_samples_scraped": scraped,
        "scrape_samples_post_metric_relabeling": kept,
        "scrape_series_added": added,
    }


def test_a_page_becomes_samples_with_the_targets_labels_and_a_report() -> None:
    batch = Scraping().read('# TYPE a counter\na 1\nb{x="y"} 2\n')
    assert shown(batch) == {"a": 1, 'b{x="y"}': 2, **report(1, 2, 2, 2)}
    assert all(labels["job"] == "api" for labels in batch.samples.labels)
    assert set(batch.samples.times_ms) == {T}
    assert "a" in batch.metadata


def test_a_series_that_vanishes_from_the_page_is_marked_stale_once() -> None:
    scraping = Scraping()
    scraping.read("a 1\nb 2\n")
    assert shown(scraping.read("a 1\nc 3\n")) == {"a": 1, "b": "stale", "c": 3, **report(1, 2, 2, 1)}
    assert shown(scraping.read("a 1\nc 3\n")) == {"a": 1, "c": 3, **report(1, 2, 2, 0)}


def test_a_failed_scrape_marks_everything_stale_and_the_next_one_starts_anew() -> None:
    scraping = Scraping()
    scraping.read("a 1\n")
    assert shown(scraping.series.fail(T, 0.25)) == {"a": "stale", **report(0)}
    assert shown(scraping.series.fail(T, 0.25)) == report(0)
    assert shown(scraping.read("a 1\n")) == {"a": 1, **report(1, 1, 1, 1)}


def test_a_target_that_is_gone_ends_all_its_series() -> None:
    scraping = Scraping()
    scraping.read("a 1\n")
    assert shown(scraping.series.end(T)) == {"a": "stale", **dict.fromkeys(report(0), "stale")}
    assert shown(scraping.series.end(T)) == {}
    assert shown(Scraping().series.end(T)) == {}


def test_labels_are_the_same_objects_from_page_to_page() -> None:
    scraping = Scraping()
    first, second = scraping.read("a 1\nb 2\n"), scraping.read("a 3\nb 4\n", T + 1)
    assert all(one is two for one, two in zip(first.samples.labels, second.samples.labels, strict=True))
    third = scraping.read("b 4\na 3\nc 1\n", T + 2)
    assert third.samples.labels[1] is first.samples.labels[0]


def test_a_batch_does_not_change_when_the_next_page_comes() -> None:
    scraping = Scraping()
    first = scraping.read("a 1\nb 2\n")
    before = list(first.samples)
    scraping.read("a 1\n")
    assert list(first.samples) == before


@pytest.mark.parametrize(
    ("rules", "time", "stale_after"),
    [
        ({}, 5000, False),
        ({"track_timestamps_staleness": True}, 5000, True),
        ({"honor_timestamps": False}, T, True),
    ],
)
def test_a_sample_with_its_own_time(rules: dict[str, bool], time: int, stale_after: bool) -> None:
    scraping = Scraping(**rules)
    batch = scraping.read("a 1 5000\nb 2\n")
    assert batch.samples.times_ms[:2] == [time, T]
    assert ("a" in shown(scraping.read("b 2\n"))) is stale_after


def test_the_first_of_two_samples_for_one_moment_stays() -> None:
    scraping = Scraping()
    batch = scraping.read("a 1\na 2\nb 3 10\nb 4 20\n")
    kept = [sample.value for sample in batch.samples if sample.labels.name in ("a", "b")]
    assert kept == [1, 3, 4]
    assert scraping.series.duplicates == 1


def test_metric_relabelling_drops_and_renames() -> None:
    rules = [
        RelabelRule(source_labels=("__name__",), regex="go_.*", action="drop"),
        RelabelRule(regex="pod", action="labeldrop"),
    ]
    scraping = Scraping(metric_relabel=rules)
    for _ in range(2):
        batch = scraping.read('go_gc 1\na{pod="x"} 2\n')
        assert shown(batch)["a"] == 2
        assert shown(batch)["scrape_samples_scraped"] == 2
        assert shown(batch)["scrape_samples_post_metric_relabeling"] == 1


@pytest.mark.parametrize(
    ("rules", "page", "says"),
    [
        ({"sample_limit": 1}, "a 1\nb 1\n", "2 samples, more than sample_limit (1)"),
        ({"label_limit": 3}, 'a{x="y"} 1\n', "a has 4 labels, more than label_limit (3)"),
        ({"label_name_length_limit": 8}, 'a{long_name_x="y"} 1\n', "11 is more than label_name_length_limit (8)"),
        ({"label_value_length_limit": 3}, 'a{x="yyyy"} 1\n', "4 is more than label_value_length_limit (3)"),
        ({"metric_relabel": [RelabelRule(regex="__name__", action="labeldrop")]}, "a 1\n", "left a without a name"),
    ],
)
def test_a_page_over_a_limit_does_not_count_at_all(rules: dict[str, object], page: str, says: str) -> None:
    scraping = Scraping(**rules)
    with pytest.raises(CollectorError) as caught:
        scraping.read(page)
    assert says in str(caught.value)
    assert shown(scraping.series.fail(T, 0.25)) == report(0)


def test_a_page_over_the_sample_limit_ends_what_the_page_before_had() -> None:
    scraping = Scraping(sample_limit=1)
    scraping.read("a 1\n")
    with pytest.raises(CollectorError):
        scraping.read("a 1\nb 1\n")
    assert shown(scraping.series.fail(T, 0.25)) == {"a": "stale", **report(0)}


@pytest.mark.parametrize(
    ("parsed", "honor_labels", "merged"),
    [
        ({"job": "x"}, True, {"job": "x", "instance": "a:1"}),
        ({"job": "x"}, False, {"job": "api", "instance": "a:1", "exported_job": "x"}),
        (
            {"job": "x", "exported_job": "y"},
            False,
            {"job": "api", "instance": "a:1", "exported_job": "y", "exported_exported_job": "x"},
        ),
        ({"path": "/"}, False, {"job": "api", "instance": "a:1", "path": "/"}),
    ],
)
def test_labels_in_conflict(parsed: dict[str, str], honor_labels: bool, merged: dict[str, str]) -> None:
    assert merge_labels(Labels(parsed), TARGET, honor_labels=honor_labels) == merged
