"""Samples and records keep every bit on disk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.model.samples import NORMAL_NAN, STALE_NAN
from obskit.store.packing import Packed, id_range, pack_chunk, pack_samples, unpack_chunk, unpack_samples
from obskit.store.record_block import RecordBlock, pack_records, streams_in

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
    data, _ = pack_records(records, ids)
    block = RecordBlock(data, rows[0][1])
    found = [block.record(index, streams[int(block.stream_ids[index])]) for index in range(len(rows))]
    assert found == records
    assert streams_in(data) == sorted(set(ids))


@given(st.lists(st.text("ab\n", max_size=6), min_size=1, max_size=20), st.text("ab\n", min_size=1, max_size=3))
@settings(max_examples=200)
def test_a_search_finds_exactly_the_lines_that_contain_it(texts: list[str], needle: str) -> None:
    stream = Labels({"app": "x"})
    data, _ = pack_records([Record(stream, 1, text) for text in texts], [1] * len(texts))
    found = RecordBlock(data, 1).containing(needle.encode())
    assert found.tolist() == [needle in text for text in texts]
