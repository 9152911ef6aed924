"""How Parquet writes columns of numbers: deltas of varying width, runs of equal values. numpy does the bits.

https://github.com/apache/parquet-format/blob/master/Encodings.md
Runs are read as this file writes them: nobody else's files are read here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from obskit.store.cold.thrift import read_varint, read_zigzag, varint, zigzag

_MINI: Final = 32
"""Values that share a width."""
_MINIS: Final = 4
_BLOCK: Final = _MINI * _MINIS
_BITS: Final = 64

Numbers = NDArray[np.int64]


def delta_packed(values: Numbers) -> bytes:
    """DELTA_BINARY_PACKED: the differences of neighbours, each less the smallest of its block."""
    first = int(values[0]) if len(values) else 0
    head = varint(_BLOCK) + varint(_MINIS) + varint(len(values)) + zigzag(first)
    deltas = np.diff(values)
    if not len(deltas):
        return head
    blocks = -(-len(deltas) // _BLOCK)
    padded = np.empty(blocks * _BLOCK, np.int64)
    padded[: len(deltas)] = deltas
    padded[len(deltas) :] = deltas[(blocks - 1) * _BLOCK :].min()  # what is no value takes no bits
    by_block = padded.reshape(blocks, _BLOCK)
    least = by_block.min(axis=1)
    above = (by_block - least[:, None]).astype(np.uint64).reshape(-1, _MINI)
    widths = _widths(above.max(axis=1))
    packed = _packed(above, widths)
    used = -(-len(deltas) // _MINI)
    out = [head]
    for number, smallest in enumerate(least.tolist()):
        minis = range(number * _MINIS, (number + 1) * _MINIS)
        out += [zigzag(smallest), widths[minis].astype(np.uint8).tobytes()]
        out += [packed[mini] for mini in minis if mini < used]
    return b"".join(out)


def delta_unpacked(data: bytes, count: int, at: int = 0) -> tuple[Numbers, int]:
    """What `delta_packed` took, and where it ends. ValueError when it is not whole, or not `count` values."""
    block, at = read_varint(data, at)
    minis, at = read_varint(data, at)
    found, at = read_varint(data, at)
    first, at = read_zigzag(data, at)
    if (block, minis, found) != (_BLOCK, _MINIS, count):
        raise ValueError("numbers are packed in another form or count")
    places: list[tuple[int, int]] = []
    least: list[int] = []
    left = -(-(count - 1) // _MINI) if count else 0
    while left > 0:
        smallest, at = read_zigzag(data, at)
        widths = data[at : at + _MINIS]
        at += _MINIS
        for width in widths[: min(left, _MINIS)]:
            places.append((at, width))
            least.append(smallest)
            at += width * _MINI // 8
        left -= _MINIS
    if at > len(data) or any(width > _BITS for _, width in places):
        raise ValueError("packed numbers are not whole")
    values = np.empty(count, np.int64)
    if count:
        deltas = _unpacked(data, places) + np.array(least, np.int64)[:, None]
        values[0] = first
        values[1:] = deltas.reshape(-1)[: count - 1]
    return np.cumsum(values), at


def runs(values: NDArray[np.int32], width: int) -> bytes:
    """Runs of equal values, each number `width` bits wide."""
    size = -(-width // 8)
    edges = np.flatnonzero(np.diff(values, prepend=-1, append=-1))
    lengths, own = np.diff(edges).tolist(), values[edges[:-1]].tolist()
    return b"".join([varint(n << 1) + value.to_bytes(size, "little") for n, value in zip(lengths, own, strict=True)])


def runs_read(data: bytes, count: int, width: int) -> NDArray[np.int32]:
    """What `runs` took. ValueError when they are others, or not `count` values."""
    size, at = -(-width // 8), 0
    lengths, values = [], []
    while at < len(data):
        head, at = read_varint(data, at)
        if head & 1:
            raise ValueError("runs are packed in another form")
        lengths.append(head >> 1)
        values.append(int.from_bytes(data[at : at + size], "little"))
        at += size
    if sum(lengths) != count:
        raise ValueError("runs hold another number of values")
    return np.repeat(np.array(values, np.int32), lengths)


def _widths(largest: NDArray[np.uint64]) -> Numbers:
    return np.array([number.bit_length() for number in largest.tolist()], np.int64)


def _packed(above: NDArray[np.uint64], widths: Numbers) -> list[bytes]:
    """Per row of values: their low bits, end to end. Rows of one width are packed together."""
    packed = [b""] * len(above)
    for width in np.unique(widths).tolist():
        rows = np.flatnonzero(widths == width)
        octets = np.ascontiguousarray(above[rows]).astype("<u8").view(np.uint8).reshape(len(rows), _MINI, 8)
        bits = np.unpackbits(octets[:, :, : -(-width // 8)], axis=2, bitorder="little")[:, :, :width]
        for row, octet in zip(
            rows.tolist(), np.packbits(bits.reshape(len(rows), -1), axis=1, bitorder="little"), strict=True
        ):
            packed[row] = octet.tobytes()
    return packed


def _unpacked(data: bytes, places: list[tuple[int, int]]) -> Numbers:
    """Rows of values whose low bits lie at these places, with these widths."""
    values = np.zeros((len(places), _MINI), np.int64)
    widths = np.array([width for _, width in places], np.int64)
    for width in np.unique(widths).tolist():
        rows = np.flatnonzero(widths == width)
        size = width * _MINI // 8
        octets = b"".join([data[places[row][0] : places[row][0] + size] for row in rows.tolist()])
        bits = np.unpackbits(np.frombuffer(octets, np.uint8), bitorder="little").reshape(len(rows), _MINI, width)
        whole = np.zeros((len(rows), _MINI, _BITS), np.uint8)
        whole[:, :, :width] = bits
        values[rows] = np.packbits(whole, axis=2, bitorder="little").view("<i8").reshape(len(rows), _MINI)
    return values
