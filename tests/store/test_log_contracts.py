"""The readers of records keep one contract: blocks say what select says, counts what counting would."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp, match_all
from obskit.model.records import Record
from obskit.store.interface import Batch, Touched
from obskit.store.log_interface import MINUTE_NS, LogReader, Records, Scan
from obskit.testing.clock import run
from obskit.testing.logs import MemoryLogs
from tests.store.shelf import Shelf

WEB, JOB = Labels({"app": "web"}), Labels({"app": "job"})
STEP = MINUTE_NS // 3
ROWS = st.lists(
    st.tuples(st.sampled_from([WEB, JOB]), st.integers(1, 40), st.sampled_from(["a", "ä", "b\n", "a b", ""])),
    max_size=40,
)
ONLY_WEB = [Matcher("app", MatchOp.EQUAL, "web")]


def check(reader: LogReader, records: list[Record], start_ns: int, end_ns: int) -> None:
    """Whether a reader of these records answers as the contract says."""
    for matchers in ([], ONLY_WEB):
        wanted = Counter(
            (record.stream, record.t_ns, record.line)
            for record in records
            if start_ns <= record.t_ns < end_ns and match_all(matchers, record.stream)
        )
        for newest_first in (False, True):
            scan = Scan()
            blocks = list(reader.blocks(matchers, start_ns, end_ns, newest_first=newest_first, scan=scan))
            assert scan.progress.bytes_read == scan.progress.bytes_total
            found = [block.record(index) for block in blocks for index in block.chosen.tolist()]
            assert Counter((record.stream, record.t_ns, record.line) for record in found) == wanted
            edges = [int(-block.times_ns[-1] if newest_first else block.times_ns[0]) for block in blocks]
            assert edges == sorted(edges)
            for block in blocks:
                assert (block.times_ns[1:] >= block.times_ns[:-1]).all()
                assert (block.starts[1:] >= block.ends[:-1]).all()
        holding = [
            block.line(index)
            for block in reader.blocks(matchers, start_ns, end_ns, containing=["a", " "])
            for index in block.chosen.tolist()
        ]
        assert holding.count("a b") == sum(count for (_, _, line), count in wanted.items() if line == "a b")
        unread = Scan(lambda text: b"b" in text, lambda text: b"\n" in text)
        some = list(reader.blocks(matchers, start_ns, end_ns, containing=["\n"], scan=unread))
        assert sum(block.line(index) == "b\n" for block in some for index in block.chosen.tolist()) == sum(
            count for (_, _, line), count in wanted.items() if line == "b\n"
        )
        assert unread.progress.bytes_read == unread.progress.bytes_total
        counts = reader.counts(matchers, start_ns, end_ns)
        assert counts is not None
        totals: Counter[tuple[Labels, int, str]] = Counter()
        for stream, minutes, lines, sizes in counts:
            for minute, count, size in zip(minutes.tolist(), lines.tolist(), sizes.tolist(), strict=True):
                totals[stream, minute, "lines"] += count
                totals[stream, minute, "bytes"] += size
        expected: Counter[tuple[Labels, int, str]] = Counter()
        for (stream, t_ns, line), count in wanted.items():
            minute = (t_ns - 1) // MINUTE_NS * MINUTE_NS
            expected[stream, minute, "lines"] += count
            expected[stream, minute, "bytes"] += count * len(line.encode())
        assert totals == expected
    assert reader.counts([], start_ns - 1, end_ns) is None


@given(rows=ROWS, start=st.integers(0, 5), length=st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_every_reader_gives_the_same_blocks_and_counts(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Labels, int, str]], start: int, length: int
) -> None:
    records = [Record(stream, t * STEP, line) for stream, t, line in rows]
    start_ns, end_ns = start * MINUTE_NS + 1, (start + length) * MINUTE_NS + 1
    check(MemoryLogs(records), records, start_ns, end_ns)

    async def scenario() -> None:
        async with Shelf(tmp_path_factory.mktemp("logs")) as shelf:
            for at in range(0, len(records), 7):
                await shelf.store.append(Batch(records=Records.of(records[at : at + 7])))
            check(shelf.store.logs, records, start_ns, end_ns)

    run(scenario())


def test_columns_are_a_sequence_of_records() -> None:
    columns = Records()
    columns.add(WEB, 1, "one")
    columns.add(JOB, 2, "two", {"k": "v"})
    columns.extend(columns[:1])
    assert list(columns) == [Record(WEB, 1, "one"), Record(JOB, 2, "two", {"k": "v"}), Record(WEB, 1, "one")]
    assert columns[1] == Record(JOB, 2, "two", {"k": "v"})
    assert Records.of(columns) is columns
    assert list(Records.of(list(columns)).take([2, 1])) == [columns[2], columns[1]]


def test_subscribers_get_the_records_as_they_were_stored(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, max_line="64B") as shelf:
            heard: list[Touched] = []
            shelf.store.subscribe(heard.append)
            await shelf.store.append(
                Batch(records=[Record(WEB, 5, "x" * 70), Record(JOB, 4, "y"), Record(WEB, -1, "z")])
            )
            assert [list(touched.records) for touched in heard] == [[Record(JOB, 4, "y"), Record(WEB, 5, "x" * 64)]]

    run(scenario())


def test_a_scan_can_be_stopped_from_outside(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            for _ in range(3):
                await shelf.store.append(Batch(records=Records.of([Record(WEB, shelf.clock.now_ns(), "x")])))
            for reader in (shelf.store.logs, MemoryLogs([Record(WEB, 1, "x"), Record(WEB, 60 * MINUTE_NS, "x")])):
                scan = Scan()
                blocks = reader.blocks([], 0, 2**62, scan=scan)
                next(blocks)
                assert 0 < scan.progress.bytes_read < scan.progress.bytes_total
                scan.progress.stop()
                with pytest.raises(QueryError, match="cancelled"):
                    next(blocks)

    run(scenario())
