"""Files of log lines: what is written is what is read, by us and by others."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.labels import EMPTY, Labels
from obskit.model.records import NO_METADATA, Record
from obskit.store.cold import parquet
from obskit.store.cold.encodings import delta_packed, delta_unpacked, runs, runs_read
from obskit.store.cold.parquet import ParquetWriter
from obskit.store.cold.parquet_reading import Footer, read_footer, read_rows, read_text
from obskit.store.cold.rows import Rows
from obskit.store.cold.thrift import binary, boolean, i32, i64, listed, read_struct, struct
from obskit.store.disk import to_text
from obskit.store.record_block import RecordBlock
from tests.store.shelf import block_of

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(), max_size=30)  # halves of surrogate pairs included
LABELS = {number: to_text(Labels({"app": f"a{number}", "source": "x"})) for number in range(1, 6)}
LINE = st.tuples(
    st.integers(1, 5),
    st.integers(0, 2**62 - 1),
    TEXT | st.sampled_from(["", "a\nb", "\0", "é" * 20]),
    st.just(NO_METADATA) | st.dictionaries(TEXT, TEXT, max_size=3),
)


@given(st.lists(INT64, max_size=300), st.booleans())
def test_numbers_come_back(values: list[int], ascending: bool) -> None:
    array = np.array(sorted(values) if ascending else values, np.int64)
    packed = delta_packed(array)
    found, end = delta_unpacked(packed + b"more", len(array))
    assert found.tolist() == array.tolist()
    assert end == len(packed)


@given(st.lists(st.integers(0, 1000), max_size=100))
def test_runs_come_back(values: list[int]) -> None:
    array = np.array(values, np.int32)
    assert runs_read(runs(array, 10), len(array), 10).tolist() == values


def test_a_struct_comes_back() -> None:
    fields = {1: i32(-5), 2: boolean(True), 3: boolean(False), 20: i64(2**62), 21: binary(b"x" * 200), 300: None}
    nested = {1: struct(fields)[0:2], 400: listed([i32(n) for n in range(20)])}
    expected = {1: {1: -5, 2: True, 3: False, 20: 2**62, 21: b"x" * 200}, 400: list(range(20))}
    assert read_struct(struct(nested)[1])[0] == expected


@given(st.binary(max_size=60))
def test_what_is_no_struct_is_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        read_struct(data)


def block(lines: Sequence[tuple[int, int, str, object]]) -> RecordBlock:
    ordered = sorted(lines, key=lambda line: line[1])
    records = [Record(EMPTY, t_ns, line, metadata) for _, t_ns, line, metadata in ordered]  # type: ignore[arg-type]  # as drawn
    return block_of(records, [number for number, *_ in ordered])


def written(*batches: Rows | None) -> bytes:
    file = io.BytesIO()
    writer = ParquetWriter(file)
    for rows in batches:
        if rows is not None:
            writer.add(rows)
    writer.close()
    assert writer.size == len(file.getvalue())
    return file.getvalue()


def read(data: bytes) -> tuple[Footer, list[Rows]]:
    footer = read_footer(data)
    return footer, [read_rows(group, data[group.at : group.at + group.size]) for group in footer.groups]


def listing(rows: Rows) -> list[tuple[str, int, bytes, dict[str, str]]]:
    texts = [rows.data[start:end] for start, end in zip(rows.starts.tolist(), rows.ends.tolist(), strict=True)]
    return [
        (rows.streams[rows.stream_of[at]], int(rows.times_ns[at]), text, dict(rows.metadata[at]))
        for at, text in enumerate(texts)
    ]


@settings(max_examples=60)
@given(st.lists(st.lists(LINE, min_size=1, max_size=20), min_size=1, max_size=3), st.integers(1, 50))
def test_lines_come_back(batches: list[list[tuple[int, int, str, object]]], at_once: int) -> None:
    pieces = [block(lines) for lines in batches]
    wanted = {1, 2, 4, 5}
    rows = Rows.of(pieces, LABELS, wanted)
    expected = sorted(
        (LABELS[number], t_ns, line.encode("utf-8", "surrogatepass"), repr(dict(metadata)))  # type: ignore[call-overload]
        for lines in batches
        for number, t_ns, line, metadata in lines
        if number in wanted
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "GROUP_ROWS", at_once)
        data = written(rows)
    footer, groups = read(data)
    found = [line for group in groups for line in listing(group)]
    assert sorted((*line[:3], repr(line[3])) for line in found) == expected
    assert [line[:2] for line in found] == sorted(line[:2] for line in found)
    for group, own in zip(footer.groups, groups, strict=True):
        assert (group.t0_ns, group.t1_ns) == (own.times_ns.min(), own.times_ns.max())
        assert sorted(footer.texts[at] for at in group.streams.tolist()) == list(own.streams)
        assert group.rows == len(own) <= at_once


def sample() -> bytes:
    lines = [
        (
            1 + n % 5,
            10**18 + n * 977,
            f"line {n}" + "\ud800" * (n % 40 == 3),
            {"level": "info"} if n % 2 else NO_METADATA,
        )
        for n in range(500)
    ]
    rows = Rows.of([block(lines)], LABELS, LABELS)
    assert rows is not None
    return written(rows, rows.part(100, 200))


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_file_raises_nothing_but_a_value_error(data: st.DataObject) -> None:
    good = sample()
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    with contextlib.suppress(ValueError):
        read(damaged)


@pytest.mark.parametrize("cut", [0, 7, 100])
def test_a_file_without_its_end_is_a_value_error(cut: int) -> None:
    with pytest.raises(ValueError):
        read_footer(sample()[:cut])


def test_a_text_can_be_searched_before_the_rest_is_read() -> None:
    data = sample()
    footer = read_footer(data)
    group = footer.groups[0]
    text, ends = read_text(group, data[group.at : group.at + group.size])
    assert b"line 499" in text
    assert len(ends) == 500


def test_pyarrow_reads_the_same(tmp_path: Path) -> None:
    reader = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    path = tmp_path / "lines.parquet"
    path.write_bytes(sample())
    table = reader.read_table(path, page_checksum_verification=True)
    table.validate(full=True)
    _, groups = read(path.read_bytes())
    lines = [line for group in groups for line in listing(group)]
    assert table["labels"].to_pylist() == [labels for labels, *_ in lines]
    assert table["ts"].cast("int64").to_pylist() == [t_ns for _, t_ns, *_ in lines]
    originals = zip(table["line"].to_pylist(), table["line_bytes"].to_pylist(), strict=True)
    assert [raw or line.encode() for line, raw in originals] == [text for _, _, text, _ in lines]
    assert reader.ParquetFile(path).metadata.row_group(0).column(0).statistics.has_min_max
