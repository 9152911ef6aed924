"""Pushes of Loki's clients as they write them, and as nobody should."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.ingest.delivery import Delivery, UnsupportedError
from obskit.ingest.loki import LokiPush
from obskit.ingest.protobuf import MalformedError, TooLargeError
from obskit.ingest.reception import Push, Reception
from obskit.ingest.settings import IngestSettings
from obskit.model.labels import EMPTY, Labels
from obskit.model.records import NO_METADATA, Record
from obskit.testing.clock import FakeClock, run
from obskit.testing.loki import JSON as JSON_HEADERS
from obskit.testing.loki import PROTOBUF as PROTOBUF_HEADERS
from obskit.testing.loki import entry, push_json, push_protobuf
from obskit.testing.remote_write import bytes_field, number_field, packed
from tests.store.shelf import Shelf

NOW_NS = 1_763_000_000_123_456_789
MOST = 8_000_000
SHOP = Labels({"app": "shop", "region": "fra"})
WEB = Labels({"app": 'w"e\\b', "text": "größe\n"})
JSON = {name.lower(): value for name, value in JSON_HEADERS.items()}
PROTOBUF = {name.lower(): value for name, value in PROTOBUF_HEADERS.items()}
KINDS = [pytest.param(JSON, push_json, id="json"), pytest.param(PROTOBUF, push_protobuf, id="protobuf")]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
records = st.builds(
    Record,
    st.sampled_from([SHOP, WEB, EMPTY]),
    st.integers(0, 2**62),
    texts,
    st.dictionaries(texts.filter(bool), texts, max_size=3).map(lambda pairs: pairs or NO_METADATA),
)


def read(body: bytes, headers: dict[str, str] = JSON) -> Delivery:
    return LokiPush().decode(headers, body, MOST)


def found(delivery: Delivery) -> list[Record]:
    return list(delivery.batch.records)


def values(*entries: Any, stream: Any = None) -> bytes:
    return json.dumps({"streams": [{"stream": stream or {"app": "shop"}, "values": list(entries)}]}).encode()


# What senders write


@pytest.mark.parametrize(("headers", "write"), KINDS)
def test_lines_arrive_as_they_were_sent(headers, write) -> None:
    sent = [
        Record(SHOP, NOW_NS, "one"),
        Record(SHOP, NOW_NS, "one"),
        Record(SHOP, NOW_NS - 123_456_789, "no nanoseconds"),
        Record(SHOP, NOW_NS + 1, "", {"trace_id": "4bf9", "level": ""}),
        Record(WEB, 0, "x" * 70_000 + "\0é"),
        Record(EMPTY, NOW_NS, "of no stream"),
    ]
    assert found(read(write(sent), headers)) == sent


@given(st.lists(records, max_size=12))
@pytest.mark.parametrize(("headers", "write"), KINDS)
def test_any_lines_arrive_as_they_were_sent(headers, write, sent: list[Record]) -> None:
    assert found(read(write(sent), headers)) == sent


def test_labels_are_the_same_objects_in_every_push_of_either_kind() -> None:
    format_, one = LokiPush(), [Record(SHOP, NOW_NS, "x")]
    first, second = (format_.decode(*sent, MOST) for sent in ((JSON, push_json(one)), (PROTOBUF, push_protobuf(one))))
    assert first.batch.records.streams[0] is second.batch.records.streams[0]  # type: ignore[attr-defined]  # columns


def test_protobuf_may_come_in_any_order_and_with_fields_that_nobody_knows() -> None:
    usual = entry(Record(SHOP, NOW_NS, "usual"))
    stamp = bytes_field(1, number_field(1, 5) + number_field(9, 1) + number_field(2, 7))
    turned = bytes_field(2, b"turned") + bytes_field(9, b"?") + stamp
    before_epoch = bytes_field(1, number_field(1, -1)) + bytes_field(2, b"of 1969")
    entries = b"".join(bytes_field(2, one) for one in (turned, usual, before_epoch, b""))
    stream = entries + number_field(3, 12345) + bytes_field(1, b'{app="shop"}') + bytes_field(2, usual)
    delivery = read(packed(number_field(7, 1) + bytes_field(1, stream)), PROTOBUF)
    assert [(record.t_ns, record.line) for record in found(delivery)] == [
        (5_000_000_007, "turned"),
        (NOW_NS, "usual"),
        (-1_000_000_000, "of 1969"),
        (0, ""),
        (NOW_NS, "usual"),
    ]
    assert {record.stream for record in found(delivery)} == {Labels({"app": "shop"})}


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip", lambda body: b"".join(map(gzip.compress, (body[:9], body[9:])))),
    ],
)
def test_json_may_be_packed(encoding: str, pack: Any) -> None:
    sent = [Record(SHOP, NOW_NS, "one")]
    headers = {"content-type": "application/json; charset=utf-8", "content-encoding": encoding}
    LokiPush().check(headers)
    assert found(read(pack(push_json(sent)), headers)) == sent


@pytest.mark.parametrize("text", ["{}", " { } ", '{app=""}'])
def test_a_stream_may_have_no_labels(text: str) -> None:
    message = bytes_field(1, bytes_field(1, text.encode()) + bytes_field(2, entry(Record(SHOP, NOW_NS, "x"))))
    assert found(read(packed(message), PROTOBUF)) == [Record(EMPTY, NOW_NS, "x")]


# What nobody should write


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", '"streams"'),
        (b'{"streams": [1]}', '"values"'),
        (b'{"streams": [{"stream": {}, "values": {}}]}', '"values"'),
        (values([NOW_NS, "x"]), "not a string of nanoseconds"),
        (values(["12:00", "x"]), "not a number of nanoseconds: '12:00'"),
        (values(["1", "x"], ["1,2", "x"]), "not a number of nanoseconds: '1,2'"),
        (values(["٣", "x"]), "not a number"),
        (values(["1" * 40, "x"]), "not a number"),
        (values(["1"]), "an entry is a list"),
        (values({"a": "1", "b": "2"}), "an entry is a list"),
        (values("ab"), "an entry is a list"),
        (values(["1", "x", {}, {}]), "an entry is a list"),
        (values(["1", 5]), "the line of an entry is not a string"),
        (values(["1", "x", {"a": 1}]), "object of strings"),
        (values(["1", "x", ["a"]]), "object of strings"),
    ],
)
def test_what_is_no_push_is_refused_with_a_reason(body: bytes, says: str) -> None:
    with pytest.raises(MalformedError, match=says):
        read(body)


@pytest.mark.parametrize("labels", [{"a-b": "x"}, {"app": 1}, {"": "x"}, [], "shop", None])
def test_labels_that_are_none_are_told_and_the_other_streams_are_taken(labels: Any) -> None:
    streams = [{"stream": labels, "values": [["1", "lost"]]}, {"stream": {"app": "shop"}, "values": [["1", "kept"]]}]
    delivery = read(json.dumps({"streams": streams}).encode())
    assert [record.line for record in found(delivery)] == ["kept"]
    assert delivery.invalid.counts == {"labels": 1}


NO_LABELS = [
    "",
    "{",
    "app",
    '{a-b="x"}',
    "{app='x'}",
    '{app=~"x"}',
    '{app="x"} y',
    '{app="\\q"}',
    '{a="x" b="y"}',
    "{a=" * 9_999,
]


@pytest.mark.parametrize("text", NO_LABELS)
def test_label_texts_that_are_none_are_told(text: str) -> None:
    bad = bytes_field(1, bytes_field(1, text.encode()) + bytes_field(2, entry(Record(SHOP, 1, "lost"))))
    good = bytes_field(1, bytes_field(1, b'{app="shop"}') + bytes_field(2, entry(Record(SHOP, 1, "kept"))))
    delivery = read(packed(bad + good), PROTOBUF)
    assert [record.line for record in found(delivery)] == ["kept"]
    assert delivery.invalid.counts == {"labels": 1}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({**JSON, "content-encoding": "gzip"}, b"no gzip"),
        ({**JSON, "content-encoding": "gzip"}, gzip.compress(b"{}", mtime=0)[:-3]),
        (PROTOBUF, b"\xff\xff"),
        (PROTOBUF, packed(b"\x0a\x05ab")),
    ],
)
def test_a_broken_body_is_refused(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(MalformedError):
        read(body, headers)


def test_a_bomb_is_left_before_it_has_grown() -> None:
    with pytest.raises(TooLargeError, match="max_body"):
        read(gzip.compress(b" " * (MOST + 1)), {**JSON, "content-encoding": "gzip"})


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/json", "content-encoding": "br"},
        {"content-type": "application/x-protobuf", "content-encoding": "gzip"},
    ],
)
def test_other_kinds_are_not_taken(headers: dict[str, str]) -> None:
    with pytest.raises(UnsupportedError):
        LokiPush().check(headers)


@given(st.binary(max_size=60))
def test_any_bytes_break_nothing(noise: bytes) -> None:
    for body in (packed(noise), packed(push_protobuf([Record(SHOP, NOW_NS, "x")])[3:20] + noise)):
        with contextlib.suppress(MalformedError, TooLargeError):
            read(body, PROTOBUF)


# To the store


@pytest.mark.parametrize(("headers", "write"), KINDS)
def test_an_answered_push_is_in_the_store(headers, write, tmp_path: Path) -> None:
    async def chunks(body: bytes):
        yield body

    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            sent = [Record(SHOP, shelf.now * 1_000_000, "one"), Record(SHOP, shelf.now * 1_000_000, "two", {"a": "b"})]
            reception = Reception(shelf.store, shelf.clock, IngestSettings())
            answer = await reception.receive(LokiPush(), Push(headers, chunks(write(sent))))
            assert answer.status == 204
            assert list(shelf.store.logs.select((), 0, 2**62)) == sent

    run(scenario(), FakeClock())
