"""Loki's PushRequest (logproto): the streams and lines of a protobuf message.

Entries as every sender writes them, fields in order, are found by one expression; any other way to write them is read
field by field: 0.9 µs a line and 6. Source: Loki, pkg/push/push.proto as its documentation gives it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from obskit.clock import NS_PER_S
from obskit.ingest.delivery import Delivery, Invalid
from obskit.ingest.loki_streams import BadStreamError, Streams
from obskit.ingest.protobuf import BYTES, VARINT, Reader, signed
from obskit.model.records import NO_METADATA
from obskit.store.interface import Batch
from obskit.store.log_interface import Records

_SHORT: Final = rb"([\x80-\xff]{0,3}[\x00-\x7f])"
_USUAL: Final = re.compile(
    # Entry (2) of so many bytes: its Timestamp (1) with seconds (1) and nanoseconds (2, absent where 0), its line (2).
    rb"\x12"
    + _SHORT
    + rb"\n([\x00-\x7f])(\x08([\x80-\xff]{4}[\x00-\x0f])(?:\x10([\x80-\xff]{0,3}[\x00-\x7f]|[\x80-\xff]{4}[\x00-\x0f]))?)\x12"
    + _SHORT,
    re.DOTALL,
)


def read_request(message: bytes, streams: Streams) -> Delivery:
    """The lines of a PushRequest; MalformedError when it is none."""
    reader, records, invalid = Reader(message), Records(), Invalid()
    for number, kind, start, end in reader.fields(0, len(message)):
        if number != 1 or kind != BYTES:
            continue
        text, entries = _Stream(reader).read(start, end)
        try:
            labels = streams.of_text(text)
        except BadStreamError as error:
            invalid.add("labels", len(entries), str(error))
            continue
        entries.streams = [labels] * len(entries)
        records.extend(entries)
    return Delivery(Batch(records=records), invalid)


class _Stream:
    """Reads one stream: the text of its labels, and its lines, to which no labels are given yet."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._entries = Records()

    def read(self, at: int, end: int) -> tuple[str, Records]:
        """The stream in this part of the body."""
        reader, text = self._reader, ""
        while (at := self._usual(at, end)) < end:
            number, kind, first, last = next(reader.fields(at, end))
            if number == 1 and kind == BYTES:
                text = reader.text(first, last)
            elif number == 2 and kind == BYTES:
                self._entry(first, last)
            at = last
        return text, self._entries

    def _usual(self, at: int, end: int) -> int:
        """Take entries of the usual form; where the first field begins that is none."""
        body, match, decode = self._reader.body, _USUAL.match, bytes.decode
        times_ns, lines, metadata = self._entries.times_ns, self._entries.lines, self._entries.metadata
        begun = len(lines)
        while (found := match(body, at, end)) is not None:
            size, stamp, spanned, seconds, nanos, line_size = found.groups()
            line_start = found.end()
            line_end, entry_end = line_start + _number(line_size), found.end(1) + _number(size)
            if not (line_end <= entry_end <= end) or stamp[0] != len(spanned):
                break
            times_ns.append(_number(seconds) * NS_PER_S + (_number(nanos) if nanos else 0))
            lines.append(decode(body[line_start:line_end], "utf-8", "replace"))
            if line_end == entry_end:
                metadata.append(NO_METADATA)
            else:
                metadata.append(_short_pairs(body, line_end, entry_end) or self._metadata(line_end, entry_end))
            at = entry_end
        self._reader.budget.spend(len(lines) - begun)
        return at

    def _entry(self, start: int, end: int) -> None:
        """Any other."""
        reader, line, t_ns = self._reader, "", 0
        for number, kind, first, last in reader.fields(start, end):
            if number == 1 and kind == BYTES:
                t_ns = self._time_ns(first, last)
            elif number == 2 and kind == BYTES:
                line = reader.body[first:last].decode("utf-8", "replace")
        self._entries.times_ns.append(t_ns)
        self._entries.lines.append(line)
        self._entries.metadata.append(self._metadata(start, end))

    def _time_ns(self, start: int, end: int) -> int:
        found = {1: 0, 2: 0}
        for number, kind, value, _ in self._reader.fields(start, end):
            if number in found and kind == VARINT:
                found[number] = signed(value)
        return found[1] * NS_PER_S + found[2]

    def _metadata(self, start: int, end: int) -> Mapping[str, str]:
        """The structured metadata among the fields of an entry."""
        reader, pairs = self._reader, {}
        for number, kind, first, last in reader.fields(start, end):
            if number == 3 and kind == BYTES:
                pair = {which: reader.text(*span) for which, kind, *span in reader.fields(first, last) if kind == BYTES}
                pairs[pair.get(1, "")] = pair.get(2, "")
        pairs.pop("", None)
        return pairs or NO_METADATA


def _short_pairs(body: bytes, at: int, end: int) -> Mapping[str, str]:
    """Structured metadata of the usual form, all of it shorter than 128 bytes; nothing when it is any other.

    LabelPairAdapter (3) of so many bytes: its name (1), its value (2).
    """
    pairs = {}
    try:
        while at < end:
            field, size, of_name, length = body[at : at + 4]
            value = at + 4 + length
            of_value, rest = body[value : value + 2]
            after = value + 2 + rest
            if (field, of_name, of_value) != (0x1A, 0x0A, 0x12) or size > 127 or after != at + 2 + size or after > end:
                return {}
            pairs[_name(body[at + 4 : value])] = body[value + 2 : after].decode()
            at = after
    except ValueError:  # it ends early, or is no UTF-8
        return {}
    pairs.pop("", None)
    return pairs


@lru_cache(maxsize=4_096)
def _name(text: bytes) -> str:
    return text.decode()


@lru_cache(maxsize=16_384)
def _number(varint: bytes) -> int:
    """A varint of at most five bytes: sizes and seconds come again and again."""
    bits = int.from_bytes(varint, "little")
    value = bits & 0x7F
    for place in range(1, len(varint)):
        value |= (bits >> place) & (0x7F << 7 * place)
    return value
