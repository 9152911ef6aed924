"""Bodies of remote write as senders write them, and as nobody should."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.ingest.delivery import Delivery, UnsupportedError
from obskit.ingest.protobuf import MalformedError, TooLargeError
from obskit.ingest.remote_write import RemoteWrite
from obskit.model.histograms import NativeHistogram, ResetHint
from obskit.model.labels import NAME, Labels
from obskit.model.samples import NORMAL_NAN, STALE_NAN, MetricMeta, MetricType, Sample
from obskit.testing import remote_write as sender
from obskit.testing.remote_write import bytes_field, number_field, packed, sample_fields, varint

NOW = 1_763_000_000_000
MOST = 8_000_000
UP = Labels({NAME: "up", "job": "api", "instance": "a:1"})
HITS = Labels({NAME: "hits_total", "job": "api", "path": "/größe"})
ONE = {name.lower(): value for name, value in sender.ONE.items()}
TWO = {name.lower(): value for name, value in sender.TWO.items()}
VERSIONS = [
    pytest.param(ONE, sender.write_request, id="1.0"),
    pytest.param(TWO, sender.write_request_2, id="2.0"),
]
LATENCY = NativeHistogram.exponential(
    2, count=9, sum=3.5, zero=(1e-6, 2), positive={-3: 1, -2: 2, 5: 1}, negative={1: 3}
)
SIZES = NativeHistogram.custom([1, 2.5, 10], count=6, sum=20, buckets={0: 1, 2: 2, 3: 3})


def read(body: bytes, headers: dict[str, str] = ONE) -> Delivery:
    return RemoteWrite().decode(headers, body, MOST)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def rows(samples: Sequence[Sample]) -> list[tuple[object, ...]]:
    """Samples so that they can be compared: NaN by its bits, in any order."""
    return sorted(
        (
            (str(s.labels), s.t_ms, b"" if s.histogram else bits(s.value), str(s.histogram or ""), s.start_ms)
            for s in samples
        ),
        key=str,
    )


def one_series(*fields: bytes) -> bytes:
    return packed(bytes_field(1, b"".join(fields)))


def label(name: bytes, value: bytes) -> bytes:
    return bytes_field(1, bytes_field(1, name) + bytes_field(2, value))


# What senders write


@pytest.mark.parametrize(("headers", "write"), VERSIONS)
def test_samples_arrive_as_they_were_sent(headers, write) -> None:
    sent = [
        Sample(UP, NOW, 1.0),
        Sample(UP, NOW + 15_000, STALE_NAN),
        Sample(HITS, NOW, 0.0),
        Sample(Labels({NAME: "x"}), NOW, NORMAL_NAN),
        Sample(Labels({NAME: "y"}), NOW, -math.inf),
        Sample(Labels({NAME: "z"}), -5, 5e-324),
        Sample(Labels({NAME: "z"}), 1 << 60, 1.0),
    ]
    delivery = read(write(sent), headers)
    assert rows(list(delivery.batch.samples)) == rows(sent)
    assert not delivery.invalid.counts


@pytest.mark.parametrize(("headers", "write"), VERSIONS)
def test_native_histograms_arrive_with_their_hints(headers, write) -> None:
    sent = [
        Sample(UP, NOW, math.nan, LATENCY.hinted(hint))
        for hint in (ResetHint.UNKNOWN, ResetHint.RESET, ResetHint.NOT_RESET, ResetHint.GAUGE)
    ]
    sent.append(Sample(HITS, NOW, math.nan, SIZES))
    delivery = read(write([*sent, Sample(UP, NOW, 3.0)]), headers)
    found = list(delivery.batch.samples.histograms.values())
    assert found == [one.histogram for one in sent]
    assert [one.hint for one in found] == [one.histogram.hint for one in sent if one.histogram]
    assert len(delivery.batch.samples) == 6


def integer_histogram(*, total: float = 7.5, count: int = 9, deltas: bytes = b"\x02\x02\x03") -> bytes:
    """Two spans (-2, 2) and (3, 1) with counts 1, 2 and 0 above, a zero bucket of 6."""
    spans = bytes_field(11, number_field(1, 3) + number_field(2, 2)) + bytes_field(
        11, number_field(1, 6) + number_field(2, 1)
    )
    return (
        number_field(1, count)
        + b"\x19"
        + bits(total)
        + number_field(4, 2)
        + b"\x29"
        + bits(0.001)
        + number_field(6, 6)
        + spans
        + bytes_field(12, deltas)
        + number_field(14, 2)
        + number_field(15, NOW)
    )


def test_an_integer_histogram_is_read_from_its_differences() -> None:
    delivery = read(one_series(sender.labels_fields(UP), bytes_field(4, integer_histogram())))
    (found,) = delivery.batch.samples.histograms.values()
    assert found == NativeHistogram.exponential(1, count=9, sum=7.5, zero=(0.001, 6), positive={-2: 1, -1: 2})
    assert found.hint is ResetHint.NOT_RESET


def test_numbers_of_a_list_need_not_be_packed() -> None:
    deltas = number_field(12, 2) + number_field(12, 2) + number_field(12, 3)
    body = integer_histogram().replace(bytes_field(12, b"\x02\x02\x03"), deltas)
    delivery = read(one_series(sender.labels_fields(UP), bytes_field(4, body)))
    assert next(iter(delivery.batch.samples.histograms.values())).positive == {-2: 1, -1: 2}


def test_a_stale_histogram_is_a_stale_marker() -> None:
    stale = b"\x19" + bits(STALE_NAN) + number_field(15, NOW)
    (sample,) = read(one_series(sender.labels_fields(UP), bytes_field(4, stale))).batch.samples
    assert (bits(sample.value), sample.histogram, sample.t_ms) == (bits(STALE_NAN), None, NOW)


@pytest.mark.parametrize(
    ("histogram", "says"),
    [
        (integer_histogram(count=10), "9 observations in its buckets, 10 in its count"),
        (integer_histogram(deltas=b"\x02\x02"), "as many buckets"),
        (integer_histogram(deltas=b"\x01\x02\x03"), "negative count"),
        (number_field(4, sender.zigzag(-5)), "no such schema: -5"),
        (number_field(4, sender.zigzag(60)), "no such schema: 60"),
        (number_field(4, sender.zigzag(-53)) + number_field(6, 1) + number_field(1, 1), "neither a zero bucket"),
        (number_field(4, sender.zigzag(-53)) + bytes_field(16, bits(2) + bits(1)), "must be finite and ascend"),
        (bytes_field(11, number_field(2, 1 << 40)), "as many buckets"),
        (bytes_field(16, b"1234"), "doubles is cut short"),
        (b"\x1d1234", "wire type 5"),
    ],
)
def test_a_histogram_that_cannot_be_one_is_told_and_the_rest_goes_in(histogram: bytes, says: str) -> None:
    body = one_series(sender.labels_fields(UP), bytes_field(2, sample_fields(NOW, 1.0)), bytes_field(4, histogram))
    delivery = read(body)
    assert delivery.invalid.counts == {"histogram": 1}
    assert says in delivery.invalid.texts["histogram"]
    assert rows(list(delivery.batch.samples)) == rows([Sample(UP, NOW, 1.0)])


def test_start_timestamps_of_2_come_with_their_samples() -> None:
    sent = [
        Sample(UP, NOW, 1.0, start_ms=NOW - 5_000),
        Sample(HITS, NOW, 0.0, start_ms=NOW - 6_000),
        Sample(Labels({NAME: "plain"}), NOW, 0.0),
        Sample(Labels({NAME: "h"}), NOW, math.nan, LATENCY, NOW - 7_000),
    ]
    assert rows(list(read(sender.write_request_2(sent), TWO).batch.samples)) == rows(sent)


def test_the_created_timestamp_of_older_senders_of_2_is_a_start() -> None:
    series = bytes_field(1, b"\x01\x02") + bytes_field(2, sample_fields(NOW, 4.0)) + number_field(6, NOW - 9_000)
    body = packed(b"".join(bytes_field(4, text) for text in (b"", NAME.encode(), b"x")) + bytes_field(5, series))
    (sample,) = read(body, TWO).batch.samples
    assert sample == Sample(Labels({NAME: "x"}), NOW, 4.0, start_ms=NOW - 9_000)


@pytest.mark.parametrize(("headers", "write"), VERSIONS)
def test_what_is_said_of_metrics_is_kept(headers, write) -> None:
    meta = MetricMeta(MetricType.COUNTER, "How often.", "hits")
    assert read(write([Sample(HITS, NOW, 1.0)], {"hits_total": meta}), headers).batch.metadata == {"hits_total": meta}


def test_the_parts_of_a_classic_histogram_say_it_of_their_family() -> None:
    meta = MetricMeta(MetricType.HISTOGRAM, "How long.")
    bucket = Labels({NAME: "latency_bucket", "le": "1"})
    body = sender.write_request_2([Sample(bucket, NOW, 1.0)], {"latency_bucket": meta})
    assert read(body, TWO).batch.metadata == {"latency": meta}


def test_exemplars_are_counted_and_let_go_of() -> None:
    exemplar = bytes_field(3, label(b"trace", b"abc") + b"\x11" + bits(1.0))
    delivery = read(one_series(sender.labels_fields(UP), exemplar))
    assert delivery.ignored == {"exemplar": 1}
    assert len(delivery.batch.samples) == 0
    assert not delivery.invalid.counts


def test_labels_in_any_order_are_the_same_series() -> None:
    fields = [label(b"job", b"api"), label(NAME.encode(), b"up"), label(b"instance", b"a:1"), label(b"empty", b"")]
    delivery = read(one_series(*fields, bytes_field(2, sample_fields(NOW, 1.0))))
    assert delivery.batch.samples.labels == [UP]


LOOKS_LIKE_A_SAMPLE = (
    "\x12\x10\x09" + "x" * 8 + "\x10" + "x" * 6,
    "\x12\x07\x10" + "x" * 6,
    "\x10" + "x" * 6,
    "\x09" + "x" * 15,
    "x" * 18,
)


@pytest.mark.parametrize("text", LOOKS_LIKE_A_SAMPLE)
@pytest.mark.parametrize("name", ["a", "zz"])
@pytest.mark.parametrize(("headers", "write"), VERSIONS)
def test_a_label_that_looks_like_a_sample_is_a_label(headers, write, name: str, text: str) -> None:
    series = [Labels({NAME: "m", name: text, "n": str(n)}) for n in range(3)]
    sent = [Sample(labels, NOW, float(n)) for n, labels in enumerate(series)]
    sent.append(Sample(series[0], NOW + 1, struct.unpack("<d", b"\x12\x07\x10abcde")[0]))
    assert rows(list(read(write(sent), headers).batch.samples)) == rows(sent)


# What nobody should write


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ([label(b"job", b"api")], "no metric name"),
        ([], "no metric name"),
        ([label(NAME.encode(), b"")], "no metric name"),
        ([label(NAME.encode(), b"up"), label(b"", b"x")], "a label has no name"),
        ([label(NAME.encode(), b"up"), label(b"a", b"x"), label(b"a", b"y")], "duplicated label 'a'"),
        ([label(NAME.encode(), b"up"), label(b"a", b"\xff")], "UTF-8"),
    ],
)
def test_labels_of_no_series_are_told_and_the_rest_goes_in(fields: list[bytes], says: str) -> None:
    sample = bytes_field(2, sample_fields(NOW, 1.0))
    payload = bytes_field(1, b"".join(fields) + sample) + bytes_field(1, sender.labels_fields(UP) + sample)
    delivery = read(packed(payload))
    assert delivery.invalid.counts == {"labels": 1}
    assert says in delivery.invalid.texts["labels"]
    assert rows(list(delivery.batch.samples)) == rows([Sample(UP, NOW, 1.0)])


@pytest.mark.parametrize(
    ("references", "says"),
    [
        (b"\x01", "invalid labelRefs length 1"),
        (b"\x01\x09", "outside of symbols table (size 5)"),
        (b"\x01\x02\x01\x02", "duplicated label '__name__'"),
        (b"\x02\x01", "no metric name"),
        (b"\x01\x02\x03\x04", "UTF-8"),
        (b"\x01\x02\x00\x02", "a label has no name"),
    ],
)
def test_references_to_nothing_are_told_and_the_rest_goes_in(references: bytes, says: str) -> None:
    symbols = b"".join(bytes_field(4, text) for text in (b"", NAME.encode(), b"up", b"a", b"\xfe\xff"))
    sample = bytes_field(2, sample_fields(NOW, 1.0))
    bad, good = (bytes_field(5, bytes_field(1, refs) + sample) for refs in (references, b"\x01\x02"))
    delivery = read(packed(symbols + bad + good), TWO)
    assert delivery.invalid.counts == {"labels": 1}
    assert says in delivery.invalid.texts["labels"]
    assert rows(list(delivery.batch.samples)) == rows([Sample(Labels({NAME: "up"}), NOW, 1.0)])


def test_a_series_of_2_needs_a_sample() -> None:
    symbols = b"".join(bytes_field(4, text) for text in (b"", NAME.encode(), b"up"))
    delivery = read(packed(symbols + bytes_field(5, bytes_field(1, b"\x01\x02"))), TWO)
    assert delivery.invalid.counts == {"no_samples": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x05",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        varint(1 << 32) + b"\x00a",
        packed(b"\x0a"),
        packed(b"\x0a\x05ab"),
        packed(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        packed(b"\x0b\x0a\x00"),
        packed(b"\x00\x00"),
        one_series(b"\x12\x05\x09ab"),
        one_series(b"\x12\x02\x08\x01"),
        packed(b"\x1a\x02\x12"),
        b"not snappy at all",
    ],
)
@pytest.mark.parametrize("headers", [ONE, TWO], ids=["1.0", "2.0"])
def test_what_is_no_request_is_refused_as_a_whole(body: bytes, headers: dict[str, str]) -> None:
    wire = RemoteWrite()
    try:
        wire.size({}, body)
        delivery = wire.decode(headers, body, MOST)
    except MalformedError:
        return
    assert headers is TWO, "only where these bytes stand in fields that 2.0 does not have"
    assert len(delivery.batch.samples) == 0


def test_a_length_that_cannot_be_true_takes_no_memory() -> None:
    with pytest.raises(MalformedError, match="shorter than its header says"):
        RemoteWrite().size({}, varint((1 << 32) - 1) + b"\x00a")


@pytest.mark.parametrize(
    "payload",
    [
        bytes_field(1, b"") * 300_001,
        bytes_field(4, b"") * 400_000,
        bytes_field(1, bytes_field(1, b"") * 600_000),
        bytes_field(1, bytes_field(2, b"") * 1_100_000),
        bytes_field(1, bytes_field(4, bytes_field(12, b"\x00" * 1_100_000))),
    ],
    ids=["series", "other fields", "labels", "samples", "buckets"],
)
def test_a_body_that_would_keep_us_busy_is_refused(payload: bytes) -> None:
    with pytest.raises(TooLargeError):
        read(bytes(cramjam.snappy.compress_raw(payload)))


def test_few_references_to_much_text_are_much_work() -> None:
    symbols = b"".join(bytes_field(4, text) for text in (b"", NAME.encode(), b"x", b"y" * 100_000, b"a", b"b", b"c"))
    sample = bytes_field(2, sample_fields(NOW, 1.0))
    series = b"".join(
        bytes_field(5, bytes_field(1, b"\x01\x02\x04\x03\x05\x03\x06\x03" + varint(number) * 2) + sample)
        for number in range(7, 300)
    )
    with pytest.raises(TooLargeError):
        read(
            bytes(
                cramjam.snappy.compress_raw(
                    symbols + b"".join(bytes_field(4, b"%d" % n) for n in range(7, 300)) + series
                )
            ),
            TWO,
        )


def test_a_body_of_nothing_but_bad_series_is_refused_as_a_whole() -> None:
    bad = b"".join(
        bytes_field(1, label(b"n", b"%d" % n) + bytes_field(2, sample_fields(NOW, 1.0))) for n in range(1_001)
    )
    with pytest.raises(MalformedError, match="more than 1000 such series"):
        read(packed(bad))


def test_fields_of_another_dialect_are_passed_over() -> None:
    body = packed(
        number_field(2, 1) + bytes_field(1, sender.labels_fields(UP) + bytes_field(2, sample_fields(NOW, 1.0)))
    )
    assert len(read(body).batch.samples) == 1


@pytest.mark.parametrize(
    ("content_type", "accepted"),
    [
        (None, True),
        ("application/x-protobuf", True),
        ("Application/X-Protobuf; proto=prometheus.WriteRequest", True),
        ("application/x-protobuf;proto=io.prometheus.write.v2.Request", True),
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_other_content_types_are_not_taken(content_type: str | None, accepted: bool) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    try:
        RemoteWrite().check(headers)
    except UnsupportedError:
        assert not accepted
    else:
        assert accepted


@pytest.mark.parametrize("encoding", ["gzip", "identity", "zstd", ""])
def test_other_encodings_are_not_taken(encoding: str) -> None:
    with pytest.raises(UnsupportedError):
        RemoteWrite().check({"content-encoding": encoding})


# What is remembered


@pytest.mark.parametrize(("headers", "write"), VERSIONS)
def test_the_same_series_are_the_same_objects_and_the_same_layout(headers, write) -> None:
    wire = RemoteWrite()
    series = [Labels({NAME: "x", "n": str(n)}) for n in range(50)]
    first, second = (
        wire.decode(
            headers, write([Sample(s, NOW + t, float(n * t)) for n, s in enumerate(series)]), MOST
        ).batch.samples
        for t in (1, 2)
    )
    assert second.labels == series
    assert second.layout is first.layout
    assert second.layout is not None
    assert second.layout.labels is second.labels
    part = wire.decode(headers, write([Sample(series[7], NOW, 1.0)]), MOST).batch.samples
    assert part.labels[0] is first.labels[7]


def test_both_versions_know_the_same_series() -> None:
    wire = RemoteWrite()
    (one,) = wire.decode(ONE, sender.write_request([Sample(UP, NOW, 1.0)]), MOST).batch.samples.labels
    (two,) = wire.decode(TWO, sender.write_request_2([Sample(UP, NOW, 1.0)]), MOST).batch.samples.labels
    assert one == two


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
label_sets = st.dictionaries(texts, texts, max_size=4).map(lambda found: Labels({**found, NAME: "m"}))
values = st.floats(width=64) | st.sampled_from([0.0, -0.0, STALE_NAN, 1.0])
times = st.integers(NOW - 1_000, NOW + 1_000) | st.integers(0, 1 << 62)
starts = st.sampled_from([0, 0, NOW - 5_000, 77])
histograms = st.sampled_from([None, None, None, LATENCY, SIZES])


@st.composite
def sample_lists(draw: st.DrawFn, starts: st.SearchStrategy[int]) -> list[Sample]:
    found = []
    for labels in draw(st.lists(label_sets, max_size=8)):
        for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
            histogram = draw(histograms)
            value = math.nan if histogram else draw(values)
            found.append(Sample(labels, draw(times), value, histogram, draw(starts)))
    return found


def without_negative_zero(samples: list[Sample]) -> list[Sample]:
    """Senders leave -0 out as they do 0."""
    return [Sample(s.labels, s.t_ms, s.value or 0.0, s.histogram, s.start_ms) for s in samples]


@settings(max_examples=150)
@given(sample_lists(st.just(0)))
def test_any_request_of_1_is_read_as_it_was_written(samples: list[Sample]) -> None:
    delivery = read(sender.write_request(samples))
    assert rows(list(delivery.batch.samples)) == rows(without_negative_zero(samples))


@settings(max_examples=150)
@given(sample_lists(starts), st.sampled_from([{}, {"m": MetricMeta(MetricType.COUNTER, "Help.")}]))
def test_any_request_of_2_is_read_as_it_was_written(samples: list[Sample], meta: dict[str, MetricMeta]) -> None:
    delivery = read(sender.write_request_2(samples, meta), TWO)
    assert rows(list(delivery.batch.samples)) == rows(without_negative_zero(samples))


SHARED = RemoteWrite()
SEED = [
    Sample(UP, NOW, 1.0),
    Sample(HITS, NOW, 0.0),
    Sample(UP, NOW, math.nan, LATENCY),
    Sample(UP, NOW, math.nan, SIZES),
]


@settings(max_examples=200)
@given(
    st.sampled_from([(ONE, sender.write_request(SEED)), (TWO, sender.write_request_2(SEED))]),
    st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 40),
)
def test_broken_bytes_break_nothing(
    seed: tuple[dict[str, str], bytes], changes: list[tuple[int, int]], cut: int
) -> None:
    headers, body = seed
    payload = bytearray(bytes(cramjam.snappy.decompress_raw(body)))
    for place, byte in changes:
        payload[place % len(payload)] = byte
    try:
        SHARED.decode(headers, packed(bytes(payload[: len(payload) - cut])), MOST)
    except (MalformedError, TooLargeError):
        return


@settings(max_examples=200)
@given(st.binary(max_size=300), st.sampled_from([ONE, TWO]))
def test_any_bytes_break_nothing(payload: bytes, headers: dict[str, str]) -> None:
    try:
        SHARED.decode(headers, packed(payload), MOST)
    except (MalformedError, TooLargeError):
        return
