"""Records: any text, in order of time, whatever the batches were."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp, match_all
from obskit.model.records import Record
from obskit.model.telemetry import REGISTRY
from obskit.store.interface import Batch, Touched
from obskit.store.log_streams import OVERFLOW
from obskit.testing.clock import FakeClock, run
from tests.store.shelf import Shelf, lines

WEB, JOB = Labels({"app": "web"}), Labels({"app": "job", "source": "fly"})
ONLY_WEB = [Matcher("app", MatchOp.EQUAL, "web")]
ALL = (0, 2**62)
HOUR_NS = 3_600_000_000_000


@pytest.mark.parametrize(
    "line",
    ["", "two\nlines", "größe 🐘", "half \ud83d of a pair", "\x00\x1f\x7f", "x" * 60_000],
    ids=["empty", "newline", "unicode", "surrogate", "control", "long"],
)
def test_a_line_may_be_any_text(tmp_path: Path, line: str) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            record = Record(WEB, shelf.clock.now_ns(), line, {"trace_id": line[:100], "": "", "k": "v"})
            await shelf.store.append(Batch(records=[record]))
            assert list(shelf.store.logs.select([], *ALL)) == [record]

    run(scenario())


def test_the_start_of_a_range_is_in_and_its_end_is_left_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.store.append(lines(*((WEB, 100 + n, str(n)) for n in range(5))))
            assert [record.line for record in shelf.store.logs.select([], 101, 103)] == ["1", "2"]

    run(scenario())


@pytest.mark.parametrize("newest_first", [False, True])
@given(
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from([WEB, JOB]), st.integers(0, 40)), min_size=1, max_size=6), max_size=8
    ),
    start=st.integers(0, 40),
    end=st.integers(0, 41),
    only_web=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_a_selection_is_what_sorting_everything_would_give(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[tuple[Labels, int]]],
    start: int,
    end: int,
    *,
    only_web: bool,
    newest_first: bool,
) -> None:
    step = HOUR_NS // 7  # some batches span hours
    matchers = ONLY_WEB if only_web else []

    async def scenario() -> None:
        async with Shelf(tmp_path_factory.mktemp("logs")) as shelf:
            stored = []
            for number, batch in enumerate(batches):
                records = [Record(stream, t * step, f"{number}.{index}") for index, (stream, t) in enumerate(batch)]
                stored += sorted(records, key=lambda record: record.t_ns)
                await shelf.store.append(Batch(records=records))
            wanted = [
                record
                for record in sorted(stored, key=lambda record: record.t_ns)
                if start * step <= record.t_ns < end * step and match_all(matchers, record.stream)
            ]
            found = list(shelf.store.logs.select(matchers, start * step, end * step, newest_first=newest_first))
            wanted = wanted[::-1] if newest_first else wanted
            assert [record.t_ns for record in found] == [record.t_ns for record in wanted]
            for stream in (WEB, JOB):  # of one time and stream, in the order of arrival
                assert [one for one in found if one.stream == stream] == [one for one in wanted if one.stream == stream]
            streams = shelf.store.logs.streams(matchers, start * step, end * step)
            assert set(streams) == {record.stream for record in wanted}

    run(scenario())


def test_lines_are_found_by_what_they_contain(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            texts = [f"request {n} of größe {n % 7}" for n in range(300)]
            await shelf.store.append(lines(*((WEB, n, text) for n, text in enumerate(texts))))
            for needles in (["größe 3"], ["request 1", "3"], ["nothing"], [""], ["request 299 of größe 5"]):
                found = shelf.store.logs.select([], *ALL, containing=needles)
                assert [record.line for record in found] == [
                    text for text in texts if all(needle in text for needle in needles)
                ]

    run(scenario())


def test_a_selection_can_be_left_before_its_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            for hour in range(50):
                await shelf.store.append(lines((WEB, hour * HOUR_NS, str(hour))))
            newest = shelf.store.logs.select([], *ALL, newest_first=True)
            assert [next(newest).line, next(newest).line] == ["49", "48"]

    run(scenario())


def test_a_selection_goes_on_while_retention_deletes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            now = shelf.clock.now_ns()
            for number in range(3):
                await shelf.store.append(lines((WEB, now + number * HOUR_NS, str(number))))
            selection = shelf.store.logs.select([], *ALL)
            assert next(selection).line == "0"
            await shelf.store.retention.once(shelf.now + 31 * 24 * 3_600_000)
            assert {record.line for record in selection} <= {"1", "2"}  # what was begun, or is gone

    run(scenario())


def test_a_line_beyond_the_limit_is_cut_and_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, max_line="100B") as shelf:
            before = REGISTRY.get_sample_value("obskit_store_cut_total", {"what": "line"}) or 0
            await shelf.store.append(lines((WEB, 1, "x" * 100), (WEB, 2, "y" * 101), (WEB, 3, "ä" * 51)))
            found = [record.line for record in shelf.store.logs.select([], *ALL)]
            assert found == ["x" * 100, "y" * 100, "ä" * 50]
            assert REGISTRY.get_sample_value("obskit_store_cut_total", {"what": "line"}) == before + 2

    run(scenario())


def test_labels_beyond_the_limits_are_cut(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, max_labels=2, max_label_value=5) as shelf:
            long = Labels({"a": "123456789", "b": "x", "c": "y"})
            heard: list[Touched] = []
            shelf.store.subscribe(heard.append)
            for number in range(2):
                await shelf.store.append(lines((long, number, str(number))))
            cut = Labels({"a": "12345", "b": "x"})
            assert [record.stream for record in shelf.store.logs.select([], *ALL)] == [cut, cut]
            assert [touched.streams for touched in heard] == [{cut}, {cut}]

    run(scenario())


def test_records_of_too_many_streams_are_kept_in_one_of_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, max_streams=2) as shelf:
            streams = [Labels({"app": "web", "request": str(n)}) for n in range(5)]
            await shelf.store.append(lines(*((stream, n, str(n)) for n, stream in enumerate(streams))))
            found = list(shelf.store.logs.select([], *ALL))
            assert [record.stream for record in found] == [*streams[:2], OVERFLOW, OVERFLOW, OVERFLOW]
            assert found[-1].metadata == {"app": "web", "request": "4"}

    run(scenario())
    assert caplog.text.count("too many log streams") == 1


@pytest.mark.parametrize("t_ns", [-1, 2**62, 10**30])
def test_a_record_at_an_impossible_time_is_dropped_and_counted(tmp_path: Path, t_ns: int) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            before = REGISTRY.get_sample_value("obskit_store_dropped_total", {"reason": "bad_time"}) or 0
            await shelf.store.append(lines((WEB, t_ns, "lost"), (WEB, 5, "kept")))
            assert [record.line for record in shelf.store.logs.select([], *ALL)] == ["kept"]
            assert REGISTRY.get_sample_value("obskit_store_dropped_total", {"reason": "bad_time"}) == before + 1

    run(scenario())


def test_streams_keep_their_number_over_hours_and_restarts(tmp_path: Path) -> None:
    async def scenario() -> None:
        for _ in range(2):
            async with Shelf(tmp_path, clock) as shelf:
                for _ in range(3):
                    clock.advance(4000)
                    await shelf.store.append(lines((WEB, clock.now_ns(), "x"), (JOB, clock.now_ns(), "y")))
                assert shelf.store.logs.streams([], *ALL) == [WEB, JOB]
                assert shelf.store.database.read("SELECT count(*) FROM stream") == [(2,)]

    clock = FakeClock()
    run(scenario(), clock)


def test_a_batch_in_any_order_is_stored_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            rows = [(WEB, n, str(n)) for n in range(100)]
            random.Random(3).shuffle(rows)
            await shelf.store.append(lines(*rows))
            assert [record.t_ns for record in shelf.store.logs.select([], *ALL)] == list(range(100))

    run(scenario())
