"""The usual body of remote write, read as columns: each series has its labels and one float sample.

A body of thousands of series is thousands of messages of one shape. Where each begins is found one by one, everything
else of all of them at once. Messages of any other shape are named, and left to write_messages.py.
Source: prompb/types.proto, prompb/io/prometheus/write/v2/types.proto; zero values are left out on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.ingest.protobuf import BYTES, VARINT, MalformedError, TooLargeError, varint

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SERIES_LIMIT: Final = 100_000
_FIELDS_LIMIT: Final = 3 * SERIES_LIMIT
_SAMPLE: Final = 0x12
"""The key of field 2, a message: a sample in both versions."""
_FULL, _ZERO = 18, 9
"""Bytes of a sample `12 10 | 09 value | 10 time` and of one whose value is 0, `12 07 | 10 time`, with today's times."""
_START: Final = 7
"""Bytes that a start timestamp adds."""
_HEADS: Final = {_FULL: 0x091012, _ZERO: 0x100712, _FULL + _START: 0x091712, _ZERO + _START: 0x100E12}
"""The first three bytes of each shape, by its length."""
_VARINT_OF_6: Final = 0x0080_8080_8080
_MORE: Final = 0x8080_8080_8080


@dataclass(frozen=True, slots=True)
class Messages:
    """Where the messages of one repeated field lie in a body, and what lies between them: (field, start, end)."""

    starts: Ints
    ends: Ints
    others: list[tuple[int, int, int]]

    def but(self, read: Bools) -> list[tuple[int, int]]:
        """Where those lie that were not read."""
        if read.all():
            return []
        return list(zip(self.starts[~read].tolist(), self.ends[~read].tolist(), strict=True))


def messages(body: bytes, number: int) -> Messages:
    """Find the messages of a field at the top of a body."""
    starts: list[int] = []
    ends: list[int] = []
    others = []
    key, position, size = number << 3 | BYTES, 0, len(body)
    add_start, add_end = starts.append, ends.append
    try:
        for _ in range(_FIELDS_LIMIT):
            if position >= size:
                break
            found, length = body[position], body[position + 1]
            if found != key:
                found, position = varint(body, position, size)
                length, position = varint(body, position, size)
                if found < 8:
                    raise MalformedError("there is no field 0")
                if found & 7 == VARINT:  # of some other receiver's dialect: it says nothing to us
                    length = 0
                elif found & 7 == BYTES:
                    others.append((found >> 3, position, position + length))
                else:
                    raise MalformedError(f"a request has no field {found >> 3} of wire type {found & 7}")
            elif length < 128:
                position += 2
                add_start(position)
                add_end(position + length)
            else:
                more = body[position + 2]
                if more < 128:
                    length += (more << 7) - 128
                    position += 3
                else:
                    length, position = varint(body, position + 1, size)
                add_start(position)
                add_end(position + length)
            position += length
    except IndexError:
        position = size + 1
    if position > size:
        raise MalformedError("the body is cut short")
    if position < size or len(starts) > SERIES_LIMIT:
        raise TooLargeError(f"more than {SERIES_LIMIT} series in one request")
    return Messages(np.array(starts, np.int64), np.array(ends, np.int64), others)


def messages_of_one_sample(body: bytes, number: int) -> Messages:
    """The same, guessed and then proved: where each message ends with a sample, as they do in nearly every body of 1.0.

    What looks like a sample says where messages end; if every message is as long as it says, that is where they do.
    """
    if len(body) < _FULL:
        return messages(body, number)
    view = _Bytes(body)
    octets = np.frombuffer(body, np.uint8)
    at = np.flatnonzero(octets[: 1 - _ZERO] == _SAMPLE)
    lengths = octets[at + 1]
    at = at[(lengths == _FULL - 2) | (lengths == _ZERO - 2)]
    heads = view.heads(at)
    full = heads == _HEADS[_FULL]
    samples = full | (heads == _HEADS[_ZERO])
    ends = (at + np.where(full, _FULL, _ZERO))[samples]
    if not len(ends) or ends[-1] != len(body) or ends[:-1].max(initial=0) > len(body) - _ZERO:
        return messages(body, number)
    keys = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
    starts, told = view.behind_keys(keys, number << 3 | BYTES)
    if len(ends) > SERIES_LIMIT or not np.array_equal(starts + told, ends):
        return messages(body, number)
    return Messages(starts, ends, [])


@dataclass(frozen=True, slots=True)
class Columns:
    """The samples of those messages that are `plain`; row i of the others belongs to the i-th plain message.

    `cuts` is where the sample begins in its message, `behind` where it ends. Times are Unix milliseconds; `starts_ms`
    are start timestamps, 0 where not told.
    """

    plain: Bools
    cuts: Ints
    behind: Ints
    times_ms: Ints
    values: NDArray[np.float64]
    starts_ms: Ints

    def less(self, rows: list[int]) -> Columns:
        """Without these rows: their messages are not plain after all."""
        if not rows:
            return self
        plain, kept = self.plain.copy(), np.ones(len(self.cuts), np.bool_)
        plain[np.flatnonzero(plain)[rows]] = kept[rows] = False
        return self.some(plain, kept)

    def some(self, plain: Bools, kept: Bools) -> Columns:
        """The rows that are kept."""
        return Columns(
            plain,
            self.cuts[kept],
            self.behind[kept],
            self.times_ms[kept],
            self.values[kept],
            self.starts_ms[kept],
        )


def samples_at_the_end(body: bytes, starts: Ints, ends: Ints) -> Columns:
    """The samples of messages that end with one: 1.0, where labels come first and nothing comes after."""
    view = _Bytes(body)
    full = view.shaped(ends - _FULL, _FULL, starts)
    zero = view.shaped(ends - _ZERO, _ZERO, starts) & ~full
    return view.columns(np.where(full, ends - _FULL, ends - _ZERO), {_FULL: full, _ZERO: zero})


def samples_behind(body: bytes, key: int, starts: Ints, ends: Ints) -> Columns:
    """The samples of messages that begin with a short field of bytes and then a sample: 2.0, where more may follow."""
    view = _Bytes(body)
    cuts = view.behind_short_field(key, starts)
    shapes = {}
    left = np.ones(len(cuts), np.bool_)
    for length in _HEADS:
        shapes[length] = left & view.shaped(np.where(cuts + length <= ends, cuts, -1), length, starts)
        left &= ~shapes[length]
    return view.columns(cuts, shapes)


class _Bytes:
    """A body's bytes as numbers from every position on, aligned or not."""

    def __init__(self, body: bytes) -> None:
        self._eights = np.ndarray((max(0, len(body) - 7),), "<u8", body, 0, (1,))
        self._doubles = np.ndarray((max(0, len(body) - 7),), "<f8", body, 0, (1,))
        self._size = len(body)

    def heads(self, at: Ints) -> Ints:
        """The three bytes at each place, which is at least eight bytes before the end."""
        return (self._eights[at] & np.uint64(0xFFFFFF)).astype(np.int64)

    def behind_keys(self, at: Ints, key: int) -> tuple[Ints, Ints]:
        """Where the values of fields of bytes begin and how long they are; -1 where there is no such field, or a long one."""
        words = self._eights[at].astype(np.int64)
        first, second = (words >> 8) & 0xFF, (words >> 16) & 0xFF
        short = first < 128
        there = ((words & 0xFF) == key) & (short | (second < 128))
        lengths = np.where(short, first, (first & 127) | second << 7)
        return at + np.where(short, 2, 3), np.where(there, lengths, -1)

    def shaped(self, at: Ints, length: int, floor: Ints) -> Bools:
        """Whether a sample of this shape begins there, not before its message does."""
        there: Bools = at >= floor
        at = np.where(there, at, 0)
        if self._size < length:
            return np.zeros(len(at), np.bool_)
        shaped: Bools = there & (self.heads(np.minimum(at, len(self._eights) - 1)) == _HEADS[length])
        return shaped

    def behind_short_field(self, key: int, starts: Ints) -> Ints:
        """Where a field of this key and of less than 128 bytes ends; the position before all others where none is."""
        if self._size < 8 or not len(starts):
            return np.full(len(starts), -1)
        values, lengths = self.behind_keys(np.minimum(starts, len(self._eights) - 1), key)
        return np.where((lengths >= 0) & (lengths < 128), values + lengths, -1)

    def columns(self, cuts: Ints, shapes: dict[int, Bools]) -> Columns:
        """The numbers of the samples that have one of the shapes."""
        full = shapes[_FULL]
        begun = shapes.get(_FULL + _START)
        plain = np.logical_or.reduce(list(shapes.values()))
        if not plain.any():
            none = np.zeros(0, np.int64)
            return Columns(plain, none, none, none, np.zeros(0), none)
        lengths = np.zeros(len(cuts), np.int64)
        for length, shape in shapes.items():
            lengths[shape] = length
        valued = full if begun is None else full | begun
        time_keys = np.where(plain, cuts + np.where(valued, 11, 2), 0)
        plain, times = self._varints(plain, time_keys, 0x10)
        starts = np.zeros(len(cuts), np.int64)
        if begun is not None and (begun := begun | shapes[_ZERO + _START]).any():
            told, found = self._varints(begun, np.where(begun, time_keys + _START, 0), 0x18)
            plain &= ~begun | told
            starts = np.where(told, found, 0)
        values = np.zeros(len(cuts))
        rows = np.flatnonzero(valued & plain)
        values[rows] = self._doubles[cuts[rows] + 3]
        columns = Columns(plain, cuts, cuts + lengths, times, values, starts)
        return columns if plain.all() else columns.some(plain, plain)

    def _varints(self, wanted: Bools, at: Ints, key: int) -> tuple[Bools, Ints]:
        """The integers of six bytes behind a key, and which of the wanted ones are that."""
        # Read from one byte before the key, so that the last eight bytes of the body are enough: never before it,
        # because a sample's key and length come first.
        words = self._eights[np.where(wanted, at - 1, 0)]
        told = wanted & ((words >> np.uint64(8)) & np.uint64(0xFF) == np.uint64(key))
        words >>= np.uint64(16)
        told &= (words & np.uint64(_MORE)) == np.uint64(_VARINT_OF_6)
        result = np.zeros(len(at), np.uint64)
        for place in range(6):
            result |= (words & np.uint64(0x7F << 8 * place)) >> np.uint64(place)
        return told, result.astype(np.int64)
