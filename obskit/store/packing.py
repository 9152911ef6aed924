"""How samples lie on disk: a batch of many series (head row), and many samples of one series (chunk).

Both are columns, split into their byte planes (bytes of equal weight side by side) and compressed by zstd: planes of
slowly changing numbers are almost constant. Values keep every bit, stale markers included. Little-endian throughout.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from obskit.model.reused import COLUMNS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Ids = NDArray[np.int32]
Times = NDArray[np.int64]
Values = NDArray[np.float64]

FAST: Final = 1
_compressors: Final[dict[int, zstd.ZstdCompressor]] = {}
_checked: Final[dict[int, zstd.ZstdCompressor]] = {}
_DENSE: Final = 3
_FLUSH: Final = zstd.ZstdCompressor.FLUSH_FRAME
_FEW: Final = 1 << 15
_HEAD: Final = struct.Struct("<BBIii")
"""Version, flags, count, lowest and highest series id: enough to skip a row without decompressing it."""
_CHUNK: Final = struct.Struct("<BB")
_VERSION: Final = 1
_WIDE_TIMES: Final = 1
_COMPRESSED: Final = 2
_WHOLE_NUMBERS: Final = 4
_WHOLE_LIMIT: Final = 2.0**53
"""Below it every whole float64 is an exact int64 and so is the difference of two."""


class Packed(NamedTuple):
    """Columns of samples of several series, in the order in which they were appended."""

    ids: Ids
    times_ms: Times
    values: Values


def blank(columns: int, length: int) -> NDArray[np.int64]:
    """Uninitialised columns for many samples, of one piece of memory. What is not written to takes no memory."""
    size = columns * length
    memory = np.empty(size, np.int64) if size < _FEW else COLUMNS.take(8 * size).view(np.int64)
    return memory.reshape(columns, length)


def compress(data: bytes, level: int = FAST) -> bytes:
    """One zstd frame. Compressors are reused: making one costs more than a small batch."""
    compressor = _compressors.get(level)
    if compressor is None:
        compressor = _compressors[level] = zstd.ZstdCompressor(level)
    return bytes(compressor.compress(data, _FLUSH))


def compress_checked(data: bytes, level: int) -> bytes:
    """One zstd frame with a checksum of what it holds."""
    compressor = _checked.get(level)
    if compressor is None:
        options = {
            int(zstd.CompressionParameter.compression_level): level,
            int(zstd.CompressionParameter.checksum_flag): 1,
        }
        compressor = _checked[level] = zstd.ZstdCompressor(options=options)
    return bytes(compressor.compress(data, _FLUSH))


def decompress(data: bytes | memoryview) -> bytes:
    """What was compressed; ValueError when it is not whole."""
    frame = zstd.ZstdDecompressor()  # zstd.decompress looks for more frames, which takes as long as a small one
    try:
        found = frame.decompress(data)
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from None
    if not frame.eof:
        raise ValueError("compressed data end before their frame does")
    return bytes(found)


def pack_samples(samples: Packed, t0_ms: int) -> bytes:
    """A head row's blob; `t0_ms` is the earliest time, kept in a column of its own."""
    ids, times_ms, values = samples
    offsets = times_ms - t0_ms
    flags = 0
    if offsets.max(initial=0) >= 2**31:
        flags |= _WIDE_TIMES
    else:
        offsets = offsets.astype(np.int32)
    steps = np.diff(ids, prepend=np.int32(0)).astype(np.int32)
    payload = _planes(steps) + _planes(offsets) + _planes(values)
    small = compress(payload)
    if len(small) < len(payload):
        flags |= _COMPRESSED
        payload = small
    return _HEAD.pack(_VERSION, flags, len(ids), ids.min(initial=2**31 - 1), ids.max(initial=0)) + payload


def id_range(data: bytes) -> tuple[int, int]:
    """Lowest and highest series id of a head row's blob."""
    _, _, _, low, high = _HEAD.unpack_from(data)
    return low, high


def unpack_samples(data: bytes, t0_ms: int) -> Packed:
    """What `pack_samples` took."""
    return unpack_rows([(data, t0_ms)])


def unpack_rows(rows: Sequence[tuple[bytes, int]]) -> Packed:
    """What `pack_samples` took of several batches and their earliest times, one behind the other.

    Most rows are small, and each call of numpy takes as long as their samples do: per row there is one for each column.
    """
    payloads, heads = zip(*map(_opened, (data for data, _ in rows)), strict=True)
    flags, counts = zip(*heads, strict=True)
    ends = np.cumsum(counts)
    total = int(ends[-1])
    steps, values = np.empty(total, np.int32), np.empty(total, np.float64)
    wide = any(flag & _WIDE_TIMES for flag in flags)
    offsets: NDArray[np.signedinteger[Any]] = np.empty(total, np.int64 if wide else np.int32)
    for payload, flag, count, end in zip(payloads, flags, counts, ends.tolist(), strict=True):
        mine = slice(end - count, end)
        times_end = (12 if flag & _WIDE_TIMES else 8) * count
        _interleave(payload[: 4 * count], steps[mine])
        if times_end == (4 + offsets.itemsize) * count:
            _interleave(payload[4 * count : times_end], offsets[mine])
        else:
            offsets[mine] = _columns(payload[4 * count : times_end], np.dtype(np.int32))
        _interleave(payload[times_end:], values[mine])
    ids = np.cumsum(steps, dtype=np.int32)
    # A row's first step is from zero: what the rows before it came to is taken off again. (Both wrap around alike.)
    ids -= np.repeat(np.append(np.int32(0), ids[ends[:-1] - 1]), counts)
    times_ms: Times = np.repeat(np.array([t0_ms for _, t0_ms in rows], np.int64), counts)
    times_ms += offsets
    return Packed(ids, times_ms, values)


def _opened(data: bytes) -> tuple[bytes | memoryview, tuple[int, int]]:
    version, flags, count, _, _ = _HEAD.unpack_from(data)
    _check(version)
    payload = memoryview(data)[_HEAD.size :]
    return decompress(payload) if flags & _COMPRESSED else payload, (flags, count)


def pack_chunk(times_ms: Times, values: Values) -> bytes:
    """A chunk's blob of one series in order of time; its first time and its count have columns of their own.

    Times as the difference of differences (zero for a steady interval). Values as differences where all are whole
    numbers (counters), else XORed with their predecessor (unchanged bits become zero).
    """
    steps = np.diff(times_ms, prepend=times_ms[:1])
    bends = np.diff(steps, prepend=np.int64(0))
    flags = 0
    if np.abs(bends).max(initial=0) >= 2**31:
        flags |= _WIDE_TIMES
    else:
        bends = bends.astype(np.int32)
    whole = _whole(values)
    if whole is not None:
        flags |= _WHOLE_NUMBERS
        column = np.diff(whole, prepend=np.int64(0))
    else:
        bits = values.view(np.int64)
        column = bits.copy()
        column[1:] ^= bits[:-1]
    return _CHUNK.pack(_VERSION, flags) + compress(_planes(bends) + _planes(column), _DENSE)


def unpack_chunk(data: bytes, t0_ms: int, count: int) -> tuple[Times, Values]:
    """What `pack_chunk` took."""
    version, flags = _CHUNK.unpack_from(data)
    _check(version)
    payload = decompress(memoryview(data)[_CHUNK.size :])
    time_type = np.dtype(np.int64 if flags & _WIDE_TIMES else np.int32)
    times_end = time_type.itemsize * count
    steps = np.cumsum(_columns(payload[:times_end], time_type), dtype=np.int64)
    column = _columns(payload[times_end:], np.dtype(np.int64))
    if flags & _WHOLE_NUMBERS:
        values = np.cumsum(column).astype(np.float64)
    else:
        values = np.bitwise_xor.accumulate(column).view(np.float64)
    return np.cumsum(steps) + t0_ms, values


def _whole(values: Values) -> NDArray[np.int64] | None:
    """The values as integers when nothing is lost (a negative zero or any NaN would be)."""
    if not bool((np.abs(values) < _WHOLE_LIMIT).all()):
        return None
    whole = values.astype(np.int64)
    exact = np.array_equal(whole.astype(np.float64).view(np.int64), values.view(np.int64))
    return whole if exact else None


def _planes(column: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(column).view(np.uint8).reshape(-1, column.itemsize).T.tobytes()


def _columns(planes: bytes | memoryview, dtype: np.dtype[Any]) -> NDArray[Any]:
    column = np.empty(len(planes) // dtype.itemsize, dtype)
    _interleave(planes, column)
    return column


def _interleave(planes: bytes | memoryview, column: NDArray[Any]) -> None:
    """Put the bytes of a column's numbers together again."""
    by_plane = np.frombuffer(planes, np.uint8).reshape(column.itemsize, -1)
    column.view(np.uint8).reshape(-1, column.itemsize)[:] = by_plane.T


def _check(version: int) -> None:
    if version != _VERSION:
        raise ValueError(f"samples were packed by a newer obskit (form {version})")
