"""JSON lines to labels: all fields flattened. Bad JSON keeps what stood before the error.

Good lines are read by the standard library. For the others Loki's reader decides, which is more lenient (what follows
the object, for one, is not looked at): `_Reader` reads as it does and says what it says (buger/jsonparser, MIT).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, Final

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_BAD_CHAR: Final = re.compile(r"[^A-Za-z0-9_]")
_TOKEN_END: Final = re.compile(r"[ \t\n\r,}\]]|\Z")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BLOCK_PART: Final = re.compile(r'["\[\]{}]')
_HALF: Final = re.compile("[\ud800-\udfff]")
_UNUSUAL: Final = re.compile("[\ud800-\udfff\ufffd]")
_MAX_NESTING: Final = 500
_KEYS_KEPT: Final = 4096

MALFORMED: Final = "Malformed JSON error"
_STRING_END: Final = "Value is string, but can't find closing '\"' symbol"
_ARRAY_END: Final = "Value is array, but can't find closing ']' symbol"
_OBJECT_END: Final = "Value looks like object, but can't find closing '}' symbol"
_UNKNOWN: Final = "Unknown value type"


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs: of a key that is there twice the first one counts."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_Object, parse_float=str, parse_int=str, parse_constant=_refuse_constant, strict=False
)


_QUICK: Final = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse_constant, strict=False)
_QUICK_SCAN: Final = _QUICK.scan_once  # type: ignore[attr-defined]  # raw_decode, which is documented, is one call more


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


def inner_prefix(prefix: str, key: str) -> str:
    """What the labels of an inner object begin with. A blank key at the top adds nothing, not even the `_`."""
    name = prefix + key.strip()
    return f"{name}_" if name else ""


@lru_cache(maxsize=2)
def flattened(line: str) -> list[tuple[str, str]]:
    """(label, value) of every string, number and boolean in the object; arrays and nulls are skipped.

    Several rules ask about one line, one after the other: what the last lines gave is kept. Do not change it.
    """
    fields: list[tuple[str, str]] = []
    try:
        value = _DECODER.decode(line)
        if isinstance(value, _Object):
            _flatten(value, "", fields)
            return fields
    except (ValueError, RecursionError):
        fields.clear()
    reader = Reader(line)
    try:
        reader.read_object(reader.skip(0), "", fields)
    except BadJson as error:
        error.fields = fields
        raise
    return fields


class Picker:
    """As `flattened`, but only the labels that are wanted: quicker where they are few."""

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = wanted
        self._names: dict[str, str] = {}
        self._flat = not any("_" in name for name in wanted)  # a label from an inner object has one
        self._keys: list[str] = []

    def __call__(self, line: str) -> list[tuple[str, str]]:
        """(label, value) of what is wanted; BadJson as `flattened` raises it."""
        fields: list[tuple[str, str]] = []
        try:
            value, end = _QUICK_SCAN(line, 0)
            if end == len(line) and type(value) is dict and self._pick_flat(value, line, fields):
                return fields
        except (ValueError, RecursionError, StopIteration):
            pass
        fields.clear()
        return [field for field in flattened(line) if field[0] in self._wanted]

    def _pick_flat(self, members: dict[str, Any], line: str, fields: list[tuple[str, str]]) -> bool:
        """As `_pick`, for a whole line: where no inner object matters, only keys that are known to be wanted are asked."""
        if not self._flat or not members.keys() <= self._names.keys():
            return self._pick(members, "", line, fields)
        return self._pick({key: members[key] for key in self._keys if key in members}, "", line, fields)

    def _pick(self, members: dict[str, Any], prefix: str, line: str, fields: list[tuple[str, str]]) -> bool:
        """Add what is wanted of an object; False where a dict does not tell which of two equal keys was the first."""
        names = self._names
        for key, value in members.items():
            kind = type(value)
            if kind is dict and not self._flat:
                if not self._pick(value, inner_prefix(prefix, key), line, fields):
                    return False
                continue
            path = prefix + key if prefix else key
            name = names.get(path)
            if name is None:
                name = self._learn(path, prefix, key)
            if not name or kind is list or kind is dict or value is None:
                continue
            if line.count(key) != 1:
                return False
            fields.append((name, valid_text(value) if kind is str else ("true" if value else "false")))
        return True

    def _learn(self, path: str, prefix: str, key: str) -> str:
        """The label of a key, or "" where it is not wanted."""
        if len(self._names) >= _KEYS_KEPT:
            self._names.clear()
            self._keys.clear()
        name = label_name(prefix + key.strip())
        self._names[path] = name = name if name in self._wanted else ""
        if name and not prefix:
            self._keys.append(key)
        return name


def _flatten(pairs: _Object, prefix: str, fields: list[tuple[str, str]]) -> None:
    for key, value in pairs:
        if isinstance(value, str):
            fields.append((label_name(prefix + key.strip()), valid_text(value)))
        elif isinstance(value, bool):
            fields.append((label_name(prefix + key.strip()), "true" if value else "false"))
        elif isinstance(value, _Object):
            _flatten(value, inner_prefix(prefix, key), fields)


def packed_texts(line: str) -> dict[str, str]:
    """The members of an object that are strings."""
    if line[:1] != "{":
        raise BadJson("expecting json object(6), but it is not")
    reader = Reader(line)
    texts: dict[str, str] = {}
    for key, start, end in reader.members(0):
        if line[start] == '"':
            texts.setdefault(key, unescaped(line[start + 1 : end - 1]))
    return texts


class Reader:
    """Walks through JSON text, looking no further than it must. Places are offsets into the line."""

    def __init__(self, line: str) -> None:
        self.line = line
        self._block_ends: dict[int, int] | None = None

    def skip(self, at: int) -> int:
        """Past the space at a place; BadJson at the end of the line."""
        match = _SPACE.match(self.line, at)
        assert match is not None, "it matches nothing, too"
        if match.end() >= len(self.line):
            raise BadJson(MALFORMED)
        return match.end()

    def read_object(self, at: int, prefix: str, fields: list[tuple[str, str]], depth: int = 0) -> None:
        """The labels of the object at a place, added to `fields` as they are found."""
        if depth > _MAX_NESTING:
            raise BadJson(MALFORMED)
        for key, start, end in self.members(at):
            text = self.text(start, end)
            if self.line[start] == "{":
                self.read_object(start, inner_prefix(prefix, key), fields, depth + 1)
            elif text is not None and self.line[start] != "[":
                fields.append((label_name(prefix + key.strip()), text))

    def members(self, at: int) -> Iterator[tuple[str, int, int]]:
        """(key, start, end) of the members of the object at a place."""
        line = self.line
        if line[at] != "{":
            raise BadJson(_OBJECT_END)
        at = self.skip(at + 1)
        while line[at] != "}":
            if line[at] != '"':
                raise BadJson(_OBJECT_END)
            string = _STRING.match(line, at)
            if string is None:
                raise BadJson(MALFORMED)
            key = unescaped(string[0][1:-1])
            at = self.skip(string.end())
            if line[at] != ":":
                raise BadJson(MALFORMED)
            start = self.skip(at + 1)
            end = self.end_of_value(start)
            yield key, start, end
            at = self._after(end, "}", _OBJECT_END)

    def elements(self, at: int) -> Iterator[tuple[int, int]]:
        """(start, end) of the elements of the array at a place."""
        line = self.line
        at = self.skip(at + 1)
        while line[at] != "]":
            end = self.end_of_value(at)
            yield at, end
            at = self._after(end, "]", _ARRAY_END)

    def _after(self, at: int, closing: str, complaint: str) -> int:
        """Past a comma, or at the closing sign."""
        try:
            at = self.skip(at)
        except BadJson:
            raise BadJson(_ARRAY_END) from None
        if self.line[at] == closing:
            return at
        if self.line[at] != ",":
            raise BadJson(complaint)
        try:
            return self.skip(at + 1)
        except BadJson:
            raise BadJson(_ARRAY_END) from None

    def end_of_value(self, start: int) -> int:
        """Where the value at a place ends."""
        first = self.line[start]
        if first == '"':
            string = _STRING.match(self.line, start)
            if string is None:
                raise BadJson(_STRING_END)
            return string.end()
        if first in "[{":
            return self._end_of_block(start)
        end = _TOKEN_END.search(self.line, start)
        assert end is not None, "the end of the line ends it"
        word = self.line[start : end.start()]
        if word not in ("true", "false", "null") and first not in "-0123456789":
            raise BadJson(_UNKNOWN)
        return end.start()

    def _end_of_block(self, start: int) -> int:
        if self._block_ends is None:
            self._block_ends = _block_ends(self.line, start)
        end = self._block_ends.get(start)
        if end is None:
            raise BadJson(_ARRAY_END if self.line[start] == "[" else _OBJECT_END)
        return end

    def text(self, start: int, end: int) -> str | None:
        """The value as a label: a string unescaped, everything else as it is written; None for null."""
        text = self.line[start:end]
        if text[0] == '"':
            return unescaped(text[1:-1])
        return None if text == "null" else text


def _block_ends(line: str, start: int) -> dict[int, int]:
    """Where the brackets that open behind a place are closed: all at once, or deep JSON would be read again and again.

    Each kind is counted by itself, as Loki's reader does it.
    """
    ends: dict[int, int] = {}
    open_at: dict[str, list[int]] = {"]": [], "}": []}
    while (part := _BLOCK_PART.search(line, start)) is not None:
        sign, start = part[0], part.end()
        if sign == '"':
            string = _STRING.match(line, part.start())
            if string is None:
                break
            start = string.end()
        elif sign in "[{":
            open_at["]" if sign == "[" else "}"].append(part.start())
        elif open_at[sign]:
            ends[open_at[sign].pop()] = part.end()
    return ends


def unescaped(text: str) -> str:
    """A JSON string's inside; an escape that is none makes it empty, as in Loki."""
    if "\\" not in text:
        return valid_text(text)
    try:
        return valid_text(str(json.loads(f'"{text}"', strict=False)))
    except ValueError:
        return ""


def valid_text(text: str) -> str:
    """A value as Loki takes it: what was no UTF-8 is a space, and half of a surrogate pair spoils the whole."""
    if text.isascii() or not _UNUSUAL.search(text):
        return text
    return "" if _HALF.search(text) else text.replace("\ufffd", " ")
