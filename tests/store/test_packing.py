"""Samples and records keep every bit on disk."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.labels import EMPTY, Labels
from obskit.model.records import Record
from obskit.model.samples import NORMAL_NAN, STALE_NAN
from obskit.store.log_blocks import encoded, lines_holding
from obskit.store.metadata_table import MetadataTable
from obskit.store.packing import Packed, id_range, pack_chunk, pack_samples, unpack_chunk, unpack_rows, unpack_samples
from obskit.store.record_block import RecordBlock, streams_in
from tests.store.shelf import block_of

VALUES = st.one_of(
    st.floats(), st.integers(-(2**54), 2**54).map(float), st.sampled_from([STALE_NAN, NORMAL_NAN, -0.0, 0.0])
)
TIMES = st.integers(0, 2**45)
TEXT = st.text(st.characters(), max_size=20)


def same_bits(one: list[float], other: list[float]) -> bool:
    return np.array(one, np.float64).tobytes() == np.array(other, np.float64).tobytes()


@given(st.lists(st.tuples(st.integers(1, 2**31 - 2), TIMES, VALUES), min_size=1, max_size=60))
@settings(max_examples=100)
def test_a_head_row_gives_back_what_it_took(rows: list[tuple[int, int, float]]) -> None:
    ids, times, values = (list(column) for column in zip(*rows, strict=True))
    t0_ms = min(times)
    columns = Packed(np.array(ids, np.int32), np.array(times, np.int64), np.array(values, np.float64))
    data = pack_samples(columns, t0_ms)
    found = unpack_samples(data, t0_ms)
    assert found.ids.tolist() == ids
    assert found.times_ms.tolist() == times
    assert same_bits(found.values.tolist(), values)
    assert id_range(data) == (min(ids), max(ids))


SAMPLES = st.lists(st.tuples(st.integers(1, 2**31 - 2), TIMES, VALUES), min_size=1, max_size=10)


@given(st.lists(SAMPLES, min_size=1, max_size=5))
@settings(max_examples=100)
def test_several_head_rows_are_read_as_one(rows: list[list[tuple[int, int, float]]]) -> None:
    packed = []
    for row in rows:
        ids, times, values = (list(column) for column in zip(*row, strict=True))
        columns = Packed(np.array(ids, np.int32), np.array(times, np.int64), np.array(values, np.float64))
        packed.append((pack_samples(columns, min(times)), min(times)))
    found = unpack_rows(packed)
    assert found.ids.tolist() == [one[0] for row in rows for one in row]
    assert found.times_ms.tolist() == [one[1] for row in rows for one in row]
    assert same_bits(found.values.tolist(), [one[2] for row in rows for one in row])


@given(st.dictionaries(TIMES, VALUES, min_size=1, max_size=60))
@settings(max_examples=100)
def test_a_chunk_gives_back_what_it_took(points: dict[int, float]) -> None:
    times = sorted(points)
    values = np.array([points[t_ms] for t_ms in times], np.float64)
    data = pack_chunk(np.array(times, np.int64), values)
    found_times, found_values = unpack_chunk(data, times[0], len(times))
    assert found_times.tolist() == times
    assert found_values.tobytes() == values.tobytes()


def test_a_steady_counter_takes_about_a_byte_a_sample() -> None:
    times = np.arange(480, dtype=np.int64) * 15_000
    values = np.cumsum(np.arange(480) % 7).astype(np.float64)
    assert len(pack_chunk(times, values)) < 200


@pytest.mark.parametrize("unpack", [lambda data: unpack_samples(data, 0), lambda data: unpack_chunk(data, 0, 1)])
def test_a_newer_form_is_refused_not_guessed_at(unpack: object) -> None:
    with pytest.raises(ValueError, match="newer obskit"):
        unpack(b"\xff" * 32)  # type: ignore[operator]


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 2**61), TEXT, st.dictionaries(TEXT, TEXT, max_size=3)),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=100)
def test_records_give_back_what_they_took(rows: list[tuple[int, int, str, dict[str, str]]]) -> None:
    rows = sorted(rows, key=lambda row: row[1])
    streams = {number: Labels({"app": str(number)}) for number in range(1, 6)}
    records = [Record(streams[number], t_ns, line, metadata) for number, t_ns, line, metadata in rows]
    ids = [row[0] for row in rows]
    block = block_of(records, ids)
    packed = block.pack(1)
    everything = np.ones(len(rows), np.bool_)
    opened = RecordBlock.unpack(packed).labelled(streams, everything)
    by_time_and_stream = sorted(zip(ids, records, strict=True), key=lambda pair: (pair[1].t_ns, pair[0]))
    assert [opened.record(index) for index in opened.chosen.tolist()] == [record for _, record in by_time_and_stream]
    assert streams_in(packed.streams) == sorted(set(ids))
    assert block.raw_bytes == sum(len(encoded(record.line)) for record in records)


@given(
    st.lists(st.tuples(st.text("ab\n", max_size=6), st.integers(0, 20)), min_size=1, max_size=20),
    st.text("ab\n", min_size=1, max_size=3),
    st.integers(0, 20),
)
@settings(max_examples=200)
def test_a_search_finds_exactly_the_lines_that_contain_it(rows: list[tuple[str, int]], needle: str, least: int) -> None:
    """Among many lines and among few."""
    block = block_of([Record(EMPTY, at, text) for at, (text, _) in enumerate(rows)], [1] * len(rows))
    mask = np.array([number >= least for _, number in rows])
    assert lines_holding(block, mask, needle.encode()).tolist() == [
        needle in text and number >= least for text, number in rows
    ]


@given(st.lists(st.tuples(TEXT, st.dictionaries(TEXT, TEXT, max_size=3)), min_size=1, max_size=30), st.randoms())
@settings(max_examples=100)
def test_tables_of_metadata_are_joined_in_any_order(rows: list[tuple[str, dict[str, str]]], random: Random) -> None:
    metadata = [one for _, one in rows]
    cut = random.randrange(len(rows) + 1)
    tables = [MetadataTable.of(metadata[:cut]), MetadataTable.of(metadata[cut:])]
    order = random.sample(range(len(rows)), random.randrange(len(rows) + 1))
    joined = MetadataTable.joined(tables, np.array(order, np.int64))
    assert [joined[index] for index in range(len(order))] == [metadata[index] for index in order]
