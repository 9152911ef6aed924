"""Sampling: a part of the lines, whole traces, all errors; and everybody can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from obskit.model.labels import Labels
from obskit.model.records import NO_METADATA, Record
from obskit.model.telemetry import REGISTRY
from obskit.store.interface import Batch, Touched
from obskit.store.log_interface import Records
from obskit.store.sampling import Sampling
from obskit.store.settings import SamplingRule
from obskit.testing.clock import run
from tests.store.shelf import Shelf

WEB, JOB = Labels({"app": "web", "source": "fly"}), Labels({"app": "job"})


def sampling(keep: object, match: str = '{app="web"}', **settings: object) -> Sampling:
    return Sampling([SamplingRule.model_validate({"match": match, "keep": keep, **settings})])


def kept(rules: Sampling, *rows: tuple[Labels, str, Mapping[str, str]]) -> list[Record]:
    records = Records.of([Record(stream, n, line, metadata) for n, (stream, line, metadata) in enumerate(rows)])
    return list(rules.apply(records, Counter()))


@pytest.mark.parametrize(
    ("keep", "count", "mark"), [("1 in 10", 30, "10"), (0.1, 30, "10"), (0.5, 150, "2"), ("1 in 7", 42, "7")]
)
def test_lines_without_a_trace_are_counted(keep: object, count: int, mark: str) -> None:
    found = kept(sampling(keep), *((WEB, str(n), NO_METADATA) for n in range(300)))
    assert len(found) == count
    assert {record.metadata["sampled"] for record in found} == {mark}


def test_counting_goes_on_from_batch_to_batch() -> None:
    rules = sampling("1 in 10")
    assert sum(len(kept(rules, (WEB, "x", NO_METADATA))) for _ in range(100)) == 10


def test_a_trace_is_kept_as_a_whole_wherever_its_lines_are() -> None:
    rows = [(stream, f"{n}", {"trace_id": f"{n * 2654435761:032x}"}) for n in range(2_000) for stream in (WEB, JOB)]
    found = kept(sampling("1 in 4", match='{app=~"web|job"}'), *rows)
    by_trace = Counter(record.metadata["trace_id"] for record in found)
    assert set(by_trace.values()) == {2}
    assert 400 < len(by_trace) < 600
    other_process = kept(sampling(0.25), *(row for row in rows if row[0] is WEB))
    assert {record.metadata["trace_id"] for record in other_process} == set(by_trace)


@pytest.mark.parametrize(
    ("line", "metadata", "always"),
    [
        ("x", {"level": "error"}, True),
        ("x", {"severity": "CRITICAL"}, True),
        ("x", {"level": "Err"}, True),
        ("an error is spoken of", {"level": "info"}, False),
        ("x", {"level": "warn"}, False),
        ('{"level":"error"}', NO_METADATA, True),
        ("raised TimeoutError", NO_METADATA, True),
        ("Traceback (most recent call last):", NO_METADATA, True),
        ("terror", NO_METADATA, False),
    ],
)
def test_errors_are_always_kept(line: str, metadata: Mapping[str, str], *, always: bool) -> None:
    found = kept(sampling("1 in 1000000"), (WEB, line, metadata))
    assert found == ([Record(WEB, 0, line, metadata)] if always else [])


def test_which_levels_are_kept_may_be_said() -> None:
    warn, error = (WEB, "x", {"level": "warning"}), (WEB, "an error", NO_METADATA)
    assert len(kept(sampling("1 in 1000000", levels_kept=["warn"]), warn, error)) == 1
    assert kept(sampling("1 in 1000000", levels_kept=[]), warn, error, (WEB, "x", {"level": "error"})) == []


def test_other_streams_and_shares_of_one_are_left_alone() -> None:
    records = Records.of([Record(JOB, n, str(n)) for n in range(50)])
    assert sampling("1 in 10").apply(records, Counter()) is records
    assert len(kept(sampling(1), *((WEB, "x", NO_METADATA) for _ in range(50)))) == 50


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"match": '{app="web"}', "keep": 0}, "greater than 0"),
        ({"match": '{app="web"}', "keep": "2 in 10"}, "keep"),
        ({"match": '{app=~"("}', "keep": 0.5}, "no selector of streams"),
    ],
)
def test_what_is_no_rule_is_refused(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        SamplingRule.model_validate(settings)


def test_only_what_is_kept_reaches_disk_and_rules(tmp_path: Path) -> None:
    def dropped() -> float:
        return REGISTRY.get_sample_value("obskit_store_sampled_out_total", {"source": "fly"}) or 0

    async def scenario() -> None:
        async with Shelf(tmp_path, sampling=[{"match": '{app="web"}', "keep": "1 in 10"}]) as shelf:
            heard: list[Touched] = []
            shelf.store.subscribe(heard.append)
            before = dropped()
            for batch in range(4):
                records = [Record(WEB, 100 * batch + n, "password=x", {"level": "info"}) for n in range(9 - batch)]
                await shelf.store.append(Batch(records=records))
            stored = list(shelf.store.logs.select([], 0, 2**62))
            assert [record.metadata for record in stored] == [{"level": "info", "sampled": "10"}] * 3
            assert [record for touched in heard for record in touched.records] == stored
            assert {record.line for record in stored} == {"password=<redacted>"}
            assert dropped() == before + 27

    run(scenario())
