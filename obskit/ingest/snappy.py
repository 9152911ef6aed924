"""Snappy's block format, which remote write and Loki clients send; unpacked by cramjam.

cramjam is imported by the first body that needs it (2 MB): who is pushed nothing does not pay for it.
"""

from __future__ import annotations

from typing import Final

from obskit.ingest.protobuf import MalformedError, varint

_BEST_RATIO: Final = 22
"""A copy of three bytes stands for 64 at most: a header that promises more is a lie."""


def unpacked_size(packed: bytes) -> int:
    """How long a block is once unpacked: it begins with that. MalformedError when the rest cannot be as much."""
    length, header = varint(packed, 0, len(packed))
    if length > (len(packed) - header) * _BEST_RATIO:
        raise MalformedError("snappy: the block is shorter than its header says")
    return length


def unpacked(packed: bytes) -> bytes:
    """What was packed. Ask for `unpacked_size` first."""
    import cramjam  # noqa: PLC0415 - see above

    try:
        return bytes(cramjam.snappy.decompress_raw(packed))
    except cramjam.DecompressionError as error:
        raise MalformedError(str(error)) from None
