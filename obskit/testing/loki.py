"""Writes what senders of Loki's push API do: in JSON, and in protobuf packed with snappy (as literals)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

from obskit.model.labels import Labels, quote
from obskit.model.records import Record
from obskit.testing.remote_write import bytes_field, number_field, packed

JSON: Final = {"Content-Type": "application/json"}
PROTOBUF: Final = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
"""The headers of a push of each kind."""
_NS_PER_S: Final = 1_000_000_000


def push_json(records: Iterable[Record]) -> bytes:
    """A body in JSON. Records of one stream that follow each other share it."""
    streams = [
        {"stream": dict(labels), "values": [_value(record) for record in some]} for labels, some in _by_stream(records)
    ]
    return json.dumps({"streams": streams}, ensure_ascii=False).encode()


def push_protobuf(records: Iterable[Record]) -> bytes:
    """A body in protobuf."""
    return packed(b"".join(bytes_field(1, _stream(labels, some)) for labels, some in _by_stream(records)))


def label_text(labels: Labels) -> str:
    """`{app="shop", region="fra"}`."""
    return "{" + ", ".join(f"{name}={quote(value)}" for name, value in labels.pairs) + "}"


def entry(record: Record) -> bytes:
    """An EntryAdapter message."""
    seconds, nanos = divmod(record.t_ns, _NS_PER_S)
    metadata = [
        bytes_field(3, bytes_field(1, name.encode()) + bytes_field(2, value.encode()))
        for name, value in record.metadata.items()
    ]
    stamp = bytes_field(1, number_field(1, seconds) + number_field(2, nanos))
    return stamp + bytes_field(2, record.line.encode()) + b"".join(metadata)


def _by_stream(records: Iterable[Record]) -> Iterable[tuple[Labels, Iterable[Record]]]:
    return groupby(records, key=lambda record: record.stream)


def _value(record: Record) -> list[Any]:
    return [str(record.t_ns), record.line, *([dict(record.metadata)] if record.metadata else [])]


def _stream(labels: Labels, records: Iterable[Record]) -> bytes:
    return bytes_field(1, label_text(labels).encode()) + b"".join(bytes_field(2, entry(record)) for record in records)
