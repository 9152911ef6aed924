"""JSON lines to labels: all fields flattened, or some found by their path. Bad JSON keeps what stood before the error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_STEP: Final = re.compile(r'\.?([A-Za-z_][A-Za-z0-9_-]*)|\[([0-9]+)\]|\["((?:[^"\\]|\\.)*)"\]')
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_BAD_CHAR: Final = re.compile(r"[^A-Za-z0-9_]")


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs: of a key that is there twice the first one counts."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_Object, parse_float=str, parse_int=str, parse_constant=_refuse_constant, strict=False
)


class BadJson(ValueError):  # noqa: N818 - a finding about a line, which becomes __error_details__
    """The line is not a JSON object. `fields` holds what stood before the error."""

    def __init__(self, message: str, fields: list[tuple[str, str]] | None = None) -> None:
        super().__init__(message)
        self.fields = fields or []


@lru_cache(maxsize=4096)
def label_name(key: str) -> str:
    """A key as a label name: other characters become `_`, a leading digit gets one in front."""
    name = _BAD_CHAR.sub("_", key.strip())
    return f"_{name}" if name[:1].isdigit() else name


def flattened(line: str) -> list[tuple[str, str]]:
    """(label, value) of every string, number and boolean in the object; arrays and nulls are skipped."""
    try:
        value = _DECODER.decode(line)
        if not isinstance(value, _Object):
            raise BadJson("the line is not a JSON object")
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadJson):
            raise
        raise BadJson(str(error), _fields_before_error(line)) from None
    fields: list[tuple[str, str]] = []
    _flatten(value, "", fields.append)
    return fields


def _flatten(pairs: _Object, prefix: str, add: Callable[[tuple[str, str]], None]) -> None:
    for key, value in pairs:
        if isinstance(value, str):
            add((label_name(prefix + key.strip()), value))
        elif isinstance(value, bool):
            add((label_name(prefix + key.strip()), "true" if value else "false"))
        elif isinstance(value, _Object):
            _flatten(value, f"{prefix}{key.strip()}_", add)


def _fields_before_error(line: str) -> list[tuple[str, str]]:
    """What can be read of a broken object, member by member, down to the error."""
    fields: list[tuple[str, str]] = []
    position, prefix = _skip(line, 0), ""
    with suppress(ValueError, RecursionError):
        while position >= 0:
            position, prefix = _read_members(line, position, prefix, fields)
    return fields


def _read_members(line: str, position: int, prefix: str, fields: list[tuple[str, str]]) -> tuple[int, str]:
    """Read one object; where the error is inside a member that is an object too, say where to go on, else -1."""
    for key, start, end in _members(line, position):
        if end < 0:
            return (start, f"{prefix}{key.strip()}_") if line.startswith("{", start) else (-1, "")
        _flatten(_Object([(key, _DECODER.raw_decode(line, start)[0])]), prefix, fields.append)
    return -1, ""


def _members(line: str, position: int) -> Iterator[tuple[str, int, int]]:
    """(key, start, end) of the members of the object at `position`; end is -1 where a value is broken."""
    if line[position : position + 1] != "{":
        raise BadJson("not a JSON object")
    position = _skip(line, position + 1)
    while line[position : position + 1] == '"':
        key, position = _DECODER.raw_decode(line, position)
        position = _skip(line, position)
        if line[position : position + 1] != ":":
            raise BadJson("a key without a value")
        start = _skip(line, position + 1)
        try:
            end = _end_of_value(line, start)
        except ValueError:
            end = -1
        yield key, start, end
        position = _skip(line, end)
        if end < 0 or line[position : position + 1] != ",":
            return
        position = _skip(line, position + 1)


def _elements(line: str, position: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the elements of the array at `position`."""
    if line[position : position + 1] != "[":
        return
    position = _skip(line, position + 1)
    while position < len(line) and line[position] != "]":
        end = _end_of_value(line, position)
        yield position, end
        position = _skip(line, end)
        if line[position : position + 1] != ",":
            return
        position = _skip(line, position + 1)


def _skip(line: str, position: int) -> int:
    match = _SPACE.match(line, max(position, 0))
    assert match is not None
    return match.end()


def _end_of_value(line: str, start: int) -> int:
    return _DECODER.raw_decode(line, start)[1]


@lru_cache(maxsize=512)
def parse_path(text: str) -> Path:
    """The steps of `a.b[0]["c d"]`; ValueError when it is not such a path."""
    steps: list[str | int] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None or (text[position] == ".") != (match[1] is not None and bool(steps)):
            raise ValueError(f'not a path into JSON: {text!r} (like request.headers[0] or request["user id"])')
        field, index, quoted = match.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(field if field is not None else json.loads(f'"{quoted}"'))
        position = match.end()
    if not steps:
        raise ValueError("the path is empty")
    return tuple(steps)


def value_at(line: str, path: Path) -> str:
    """The value at a path, an object or array as its text, "" when there is none. BadJson when the line is not JSON."""
    position = _skip(line, 0)
    if line[position : position + 1] not in ("{", "[", '"'):
        raise BadJson("the line is not JSON")
    end = -1
    for step in path:
        found = _step(line, position, step)
        if found is None:
            return ""
        position, end = found
    return _text_of(line, position, end)


def _step(line: str, position: int, step: str | int) -> tuple[int, int] | None:
    if isinstance(step, int):
        return next((span for index, span in enumerate(_elements(line, position)) if index == step), None)
    if line[position : position + 1] != "{":
        return None
    for key, start, end in _members(line, position):
        if end < 0:
            raise BadJson(f"broken value of {key!r}")
        if key == step:
            return start, end
    return None


def _text_of(line: str, start: int, end: int) -> str:
    if line[start] in "{[":
        return line[start:end]
    value = _DECODER.raw_decode(line, start)[0]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else ""
