"""Thrift's compact protocol, as far as Parquet's page headers and footers need it.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
Writing: a value is its type and its bytes. Reading: a struct is a dict by field number, whatever the fields mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Value = tuple[int, bytes]

_TRUE: Final = 1
_FALSE: Final = 2
_I8: Final = 3
_I16: Final = 4
_I32: Final = 5
_I64: Final = 6
_DOUBLE: Final = 7
_BINARY: Final = 8
_LIST: Final = 9
_SET: Final = 10
_STRUCT: Final = 12
_SHORT_LIST: Final = 15
_DEEPEST: Final = 16
_LONGEST_VARINT: Final = 10


def varint(number: int) -> bytes:
    """An unsigned number in groups of seven bits."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def zigzag(number: int) -> bytes:
    """A signed number whose small values are short."""
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """An unsigned number and where it ends; ValueError when it does not."""
    number = 0
    for place in range(_LONGEST_VARINT):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number, at
    raise ValueError("a number does not end")


def read_zigzag(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A signed number and where it ends."""
    number, at = read_varint(data, at)
    return (number >> 1) ^ -(number & 1), at


def i16(number: int) -> Value:
    """A number of 16 bits."""
    return _I16, zigzag(number)


def i32(number: int) -> Value:
    """A number of 32 bits."""
    return _I32, zigzag(number)


def i64(number: int) -> Value:
    """A number of 64 bits."""
    return _I64, zigzag(number)


def boolean(truth: bool) -> Value:
    """A truth, which is in its type."""
    return (_TRUE if truth else _FALSE), b""


def binary(data: bytes) -> Value:
    """Bytes."""
    return _BINARY, varint(len(data)) + data


def text(words: str) -> Value:
    """A string."""
    return binary(words.encode())


def listed(values: Sequence[Value]) -> Value:
    """A list of values of one type (booleans excepted); an empty one is of structs."""
    kind = values[0][0] if values else _STRUCT
    size = len(values)
    head = bytes([size << 4 | kind]) if size < _SHORT_LIST else bytes([_SHORT_LIST << 4 | kind]) + varint(size)
    return _LIST, head + b"".join([data for _, data in values])


def struct(fields: Mapping[int, Value | None]) -> Value:
    """Fields by number, ascending; those that are None are left out."""
    out, last = [], 0
    for number, value in fields.items():
        if value is None:
            continue
        kind, data = value
        step = number - last
        out.append(bytes([step << 4 | kind]) if step <= _SHORT_LIST else bytes([kind]) + zigzag(number))
        out.append(data)
        last = number
    return _STRUCT, b"".join(out) + b"\0"


def read_struct(data: bytes | memoryview, at: int = 0, depth: int = 0) -> tuple[dict[int, Any], int]:
    """The fields of a struct and where it ends. ValueError when this is none."""
    if depth > _DEEPEST:
        raise ValueError("structs lie too deep in each other")
    fields: dict[int, Any] = {}
    number = 0
    while True:
        head = _byte(data, at)
        at += 1
        if not head:
            return fields, at
        step, kind = head >> 4, head & 0x0F
        if step:
            number += step
        else:
            number, at = read_zigzag(data, at)
        if kind in (_TRUE, _FALSE):
            fields[number] = kind == _TRUE
        else:
            fields[number], at = _read(kind, data, at, depth)


def _read(kind: int, data: bytes | memoryview, at: int, depth: int) -> tuple[Any, int]:
    if kind in (_I16, _I32, _I64):
        return read_zigzag(data, at)
    if kind == _BINARY:
        size, at = read_varint(data, at)
        if size > len(data) - at:
            raise ValueError("a string is longer than what holds it")
        return bytes(data[at : at + size]), at + size
    if kind == _STRUCT:
        return read_struct(data, at, depth + 1)
    if kind in (_LIST, _SET):
        return _read_list(data, at, depth)
    if kind in (_I8, _TRUE, _FALSE):
        return _byte(data, at), at + 1
    if kind == _DOUBLE:
        return bytes(data[at : at + 8]), at + 8
    raise ValueError(f"a value is of the unknown type {kind}")


def _read_list(data: bytes | memoryview, at: int, depth: int) -> tuple[list[Any], int]:
    head = _byte(data, at)
    at += 1
    size, kind = head >> 4, head & 0x0F
    if size == _SHORT_LIST:
        size, at = read_varint(data, at)
    if size > len(data) - at:
        raise ValueError("a list is longer than what holds it")
    values = []
    for _ in range(size):
        value, at = _read(kind, data, at, depth + 1)
        values.append(value)
    return values, at


def _byte(data: bytes | memoryview, at: int) -> int:
    if at >= len(data):
        raise ValueError("data end before their struct does")
    return data[at]
