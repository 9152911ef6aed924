"""A native histogram as bytes: about two per bucket of a counter, instead of the sixteen it takes as numbers.

    flags, schema | sum | zero threshold | count, zero count, [bounds], positive, negative

Whole counts (all that come from clients) are variable-length integers and a side's counts the differences of
neighbours; others are plain floats. Everything is restored bit by bit.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Final

from obskit.model.histograms import NativeHistogram, ResetHint

_HINTS: Final = tuple(ResetHint)
_WHOLE: Final = 4
"""The flag beside the hint (two bits): counts are whole numbers."""
_LARGEST_WHOLE: Final = float(1 << 53)
_HEADER: Final = struct.Struct("<Bbdd")


def pack_histogram(histogram: NativeHistogram) -> bytes:
    """The bytes of a histogram."""
    counts = (histogram.count, histogram.zero_count, *histogram.positive.values(), *histogram.negative.values())
    whole = all(map(_is_whole, counts))
    flags = _HINTS.index(histogram.hint) | (_WHOLE if whole else 0)
    out = bytearray(_HEADER.pack(flags, histogram.schema, histogram.sum, histogram.zero_threshold))
    _put_counts(out, (histogram.count, histogram.zero_count), whole=whole)
    if histogram.is_custom:
        _put(out, len(histogram.bounds))
        out += struct.pack(f"<{len(histogram.bounds)}d", *histogram.bounds)
    for side in (histogram.positive, histogram.negative):
        _put_side(out, side, whole=whole)
    return bytes(out)


def unpack_histogram(data: bytes) -> NativeHistogram:
    """The histogram of the bytes."""
    flags, schema, total, zero_threshold = _HEADER.unpack_from(data)
    reader = _Reader(data, _HEADER.size, whole=bool(flags & _WHOLE))
    count, zero_count = reader.counts(2)
    known = NativeHistogram(schema, count, total, zero_threshold, zero_count)
    bounds = reader.floats(reader.number()) if known.is_custom else ()
    positive, negative = reader.side(), reader.side()
    hint = _HINTS[flags & 3]
    return NativeHistogram(schema, count, total, zero_threshold, zero_count, positive, negative, bounds, hint)


def _is_whole(count: float) -> bool:
    return count == count // 1 and 0 <= count < _LARGEST_WHOLE and math.copysign(1.0, count) > 0


def _put_side(out: bytearray, side: Mapping[int, float], *, whole: bool) -> None:
    indices = sorted(side)
    _put(out, len(indices))
    before = 0
    for index in indices:
        _put_signed(out, index - before)
        before = index
    _put_counts(out, [side[index] for index in indices], whole=whole)


def _put_counts(out: bytearray, counts: Iterable[float], *, whole: bool) -> None:
    values = list(counts)
    if not whole:
        out += struct.pack(f"<{len(values)}d", *values)
        return
    before = 0
    for count in map(int, values):
        _put_signed(out, count - before)
        before = count


def _put(out: bytearray, number: int) -> None:
    """A number from 0 on, seven bits in each byte, the lowest first."""
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _put_signed(out: bytearray, number: int) -> None:
    _put(out, number << 1 if number >= 0 else (-number << 1) - 1)


class _Reader:
    """Reads from a place on what `_put…` wrote."""

    def __init__(self, data: bytes, place: int, *, whole: bool) -> None:
        self._data = data
        self._place = place
        self._whole = whole

    def number(self) -> int:
        """A number from 0 on."""
        data, place, shift, number = self._data, self._place, 0, 0
        while (byte := data[place]) > 0x7F:
            number |= (byte & 0x7F) << shift
            shift += 7
            place += 1
        self._place = place + 1
        return number | byte << shift

    def signed(self) -> int:
        """A number of either sign."""
        number = self.number()
        return -((number + 1) >> 1) if number & 1 else number >> 1

    def floats(self, count: int) -> tuple[float, ...]:
        """Plain floats."""
        found: tuple[float, ...] = struct.unpack_from(f"<{count}d", self._data, self._place)
        self._place += 8 * count
        return found

    def counts(self, count: int) -> tuple[float, ...]:
        """Counts, in whichever form they are."""
        if not self._whole:
            return self.floats(count)
        found, before = [], 0
        for _ in range(count):
            before += self.signed()
            found.append(float(before))
        return tuple(found)

    def side(self) -> dict[int, float]:
        """Buckets by index."""
        indices, before = [], 0
        for _ in range(self.number()):
            before += self.signed()
            indices.append(before)
        return dict(zip(indices, self.counts(len(indices)), strict=True))
