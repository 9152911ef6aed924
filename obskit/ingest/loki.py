"""Loki's push API: from a request's headers and body to a Delivery of log lines.

JSON and protobuf, as Promtail, Alloy, Vector, Fluent Bit and the Docker driver send them. A stream whose labels are none is
refused, the others of the push are stored; as in Loki. Source: Loki's HTTP API documentation, `POST /loki/api/v1/push`.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from itertools import repeat
from typing import Any, Final

from obskit.ingest.delivery import Delivery, Invalid, UnsupportedError
from obskit.ingest.loki_entries import read_request
from obskit.ingest.loki_streams import BadStreamError, Streams
from obskit.ingest.protobuf import MalformedError, TooLargeError
from obskit.ingest.snappy import unpacked, unpacked_size
from obskit.model.records import NO_METADATA
from obskit.store.interface import Batch
from obskit.store.log_interface import Records

_JSON: Final = "application/json"
_PROTOBUF: Final = "application/x-protobuf"
_WINDOWS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_PLAIN: Final = [str, str]
_TIMES: Final = re.compile(r"-?[0-9]{1,19}(?:,-?[0-9]{1,19})*")
_SHOWN: Final = 200


class LokiPush:
    """The format `loki`. Keep one: it remembers the labels of streams."""

    name = "loki"

    def __init__(self) -> None:
        self._streams = Streams()

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise UnsupportedError for what is neither JSON nor protobuf, or packed in an unknown way."""
        kind, encoding = _kind(headers), _encoding(headers)
        known = ("", "snappy") if kind == _PROTOBUF else ("", "identity", *_WINDOWS)
        if encoding not in known:
            raise UnsupportedError(f'Content-Encoding "{encoding[:40]}" not supported for {kind}')

    def size(self, headers: Mapping[str, str], body: bytes) -> int:
        """The bytes of a message that says so itself; of any other those of the body."""
        return unpacked_size(body) if _kind(headers) == _PROTOBUF else len(body)

    def decode(self, headers: Mapping[str, str], body: bytes, most: int) -> Delivery:
        """The lines of a body."""
        if _kind(headers) == _PROTOBUF:
            return read_request(unpacked(body), self._streams)
        return self._read_json(_inflated(body, _encoding(headers), most))

    def written(self, headers: Mapping[str, str], stored: Mapping[str, int]) -> Mapping[str, str]:  # noqa: ARG002 - Format
        """None: senders look at the status."""
        return {}

    def _read_json(self, body: bytes) -> Delivery:
        try:
            message = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"the body is not JSON: {error}"[:_SHOWN]) from None
        streams = message.get("streams") if isinstance(message, Mapping) else None
        if not isinstance(streams, list):
            raise MalformedError('the body has no list "streams"')
        records, invalid = Records(), Invalid()
        for stream in streams:
            if not isinstance(stream, Mapping) or not isinstance(stream.get("values"), list):
                raise MalformedError('a stream has no list "values"')
            self._read_stream(stream, records, invalid)
        return Delivery(Batch(records=records), invalid)

    def _read_stream(self, stream: Mapping[str, Any], records: Records, invalid: Invalid) -> None:
        values = stream["values"]
        try:
            labels = self._streams.of_object(stream.get("stream"))
        except BadStreamError as error:
            invalid.add("labels", len(values), str(error))
            return
        plain = all(type(value) is list and list(map(type, value)) == _PLAIN for value in values)
        records.metadata += repeat(NO_METADATA, len(values)) if plain else [_metadata(value) for value in values]
        records.times_ns += _times_ns([value[0] for value in values])
        records.lines += [value[1] for value in values]
        records.streams += repeat(labels, len(values))


def _metadata(value: Any) -> Mapping[str, str]:
    """What the third part of an entry says; MalformedError when the entry is none."""
    if not isinstance(value, list) or not 2 <= len(value) <= 3:
        raise MalformedError("an entry is a list of a time, a line and maybe metadata")
    if not isinstance(value[0], str):
        raise MalformedError("the time of an entry is not a string of nanoseconds")
    if not isinstance(value[1], str):
        raise MalformedError("the line of an entry is not a string")
    found = value[2] if len(value) == 3 else {}
    if not isinstance(found, Mapping) or not all(isinstance(text, str) for text in found.values()):
        raise MalformedError("the metadata of an entry are not an object of strings")
    return {name: text for name, text in found.items() if name} or NO_METADATA


def _times_ns(texts: list[str]) -> list[int]:
    together = ",".join(texts)
    if texts and (together.count(",") >= len(texts) or not _TIMES.fullmatch(together)):
        wrong = next(text for text in texts if not _TIMES.fullmatch(text) or "," in text)
        raise MalformedError(f"the time of an entry is not a number of nanoseconds: {wrong[:40]!r}")
    return list(map(int, texts))


def _kind(headers: Mapping[str, str]) -> str:
    """Without a word it is protobuf, as Loki takes it."""
    kind = headers.get("content-type", _PROTOBUF).partition(";")[0].strip().lower()
    if kind not in (_JSON, _PROTOBUF):
        raise UnsupportedError(f'Content-Type "{kind[:80]}" not supported: {_JSON} or {_PROTOBUF}')
    return kind


def _encoding(headers: Mapping[str, str]) -> str:
    return headers.get("content-encoding", "").strip().lower()


def _inflated(body: bytes, encoding: str, most: int) -> bytes:
    """The body unpacked; a bomb is left when it has grown too large."""
    if encoding not in _WINDOWS:
        return body
    found = bytearray()
    while body:
        unpacker = zlib.decompressobj(_WINDOWS[encoding])
        try:
            found += unpacker.decompress(body, most - len(found) + 1)
        except zlib.error as error:
            raise MalformedError(f"the body is not {encoding}: {error}") from None
        if len(found) > most:
            raise TooLargeError(f"more than ingest.max_body ({most} bytes) unpacked")
        if not unpacker.eof:
            raise MalformedError(f"the body is cut off: {encoding}")
        body = unpacker.unused_data
    return bytes(found)
