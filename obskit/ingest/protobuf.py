"""Protocol buffers as they stand on the wire: fields one after the other, out of bytes that nobody has vouched for.

What fields mean is the business of the message's own module. Every function raises MalformedError and nothing else.
Source: protobuf.dev, encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

_LONGEST: Final = 10
_MASK: Final = (1 << 64) - 1
_SIGN: Final = 1 << 63
_DOUBLE: Final = struct.Struct("<d").unpack_from


class MalformedError(ValueError):
    """The bytes are not the message they should be."""


class TooLargeError(ValueError):
    """More than we take in one request: it would hold up everybody else."""


class Budget:
    """The work that one body may cost: a field, a number, or 32 bytes of text each count as one."""

    __slots__ = ("_left",)

    def __init__(self, limit: int = 1_000_000) -> None:
        self._left = limit

    def spend(self, count: int) -> None:
        """Do some of it. TooLargeError when nothing is left: a hostile body costs about a second."""
        self._left -= count
        if self._left < 0:
            raise TooLargeError("more fields, numbers or text than one request may have")


class Reader:
    """Reads the fields of a body, or of a part of one that shares its budget."""

    def __init__(self, body: bytes, budget: Budget | None = None) -> None:
        self.body = body
        self.budget = budget or Budget()

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Number, wire type, and where the field's value begins and ends; of a varint the value and its end."""
        body = self.body
        while start < end:
            self.budget.spend(1)
            key, start = varint(body, start, end)
            kind = key & 7
            if key < 8:
                raise MalformedError("there is no field 0")
            if kind == VARINT:
                value, start = varint(body, start, end)
                yield key >> 3, kind, value, start
                continue
            length = 8 if kind == FIXED64 else 4 if kind == FIXED32 else -1
            if kind == BYTES:
                length, start = varint(body, start, end)
            if not 0 <= length <= end - start:
                raise MalformedError(f"field {key >> 3} of wire type {kind} reaches beyond its message")
            yield key >> 3, kind, start, start + length
            start += length

    def text(self, start: int, end: int) -> str:
        """A string field's text."""
        try:
            return self.body[start:end].decode()
        except UnicodeDecodeError:
            raise MalformedError("a text is not UTF-8") from None

    def double(self, start: int) -> float:
        """A double field's value."""
        return float(_DOUBLE(self.body, start)[0])

    def doubles(self, kind: int, start: int, end: int) -> list[float]:
        """The values of one field of `repeated double`: packed, or a single one."""
        if kind not in (BYTES, FIXED64) or (end - start) % 8:
            raise MalformedError("a list of doubles is cut short")
        count = (end - start) // 8
        self.budget.spend(count)
        return list(struct.unpack_from(f"<{count}d", self.body, start))

    def varints(self, kind: int, start: int, end: int) -> list[int]:
        """The values of one field of a repeated integer: packed, or a single one."""
        if kind == VARINT:
            return [start]
        if kind != BYTES:
            raise MalformedError("a list of integers is none")
        self.budget.spend(end - start)
        found = []
        value = shift = 0
        for byte in self.body[start:end]:
            value |= (byte & 127) << shift
            if byte < 128:
                found.append(value & _MASK)
                value = shift = 0
            elif (shift := shift + 7) >= 7 * _LONGEST:
                break
        if shift:
            raise MalformedError("an integer is cut short")
        return found


def varint(body: bytes, start: int, end: int) -> tuple[int, int]:
    """An unsigned 64-bit integer, and the position behind it."""
    result = shift = 0
    for position in range(start, min(end, start + _LONGEST)):
        byte = body[position]
        result |= (byte & 127) << shift
        if byte < 128:
            return result & _MASK, position + 1
        shift += 7
    raise MalformedError("an integer is cut short")


def signed(value: int) -> int:
    """An `int32` or `int64`: two's complement in 64 bits."""
    return value - (1 << 64) if value & _SIGN else value


def zigzag(value: int) -> int:
    """A `sint32` or `sint64`."""
    return (value >> 1) ^ -(value & 1)
