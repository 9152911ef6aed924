"""The nodes of a YAML file, and where each character of a scalar stands in the source, however it was quoted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_ESCAPES: Final = {"x": 4, "u": 6, "U": 10}
_COLUMN_BITS: Final = 24
_MARK_BITS: Final = 48

Entry = tuple[int, "Node"]
"""Where a key stands, as a `span`, and its value."""


@dataclass(slots=True, eq=False)
class Node:
    """One node: its `span` and its content, a scalar's text, a sequence's items or a mapping's entries.

    A file of rules has a hundred thousand of them: hence one number for a place, and none of a node for a key.
    """

    span: int
    content: str | list[Node] | dict[str, Entry]
    style: str | None = None

    @property
    def text(self) -> str | None:
        """What a scalar says."""
        return self.content if isinstance(self.content, str) else None

    @property
    def items(self) -> list[Node] | None:
        """What is in a sequence."""
        return self.content if isinstance(self.content, list) else None

    @property
    def entries(self) -> dict[str, Entry] | None:
        """What is in a mapping."""
        return self.content if isinstance(self.content, dict) else None

    @property
    def start(self) -> tuple[int, int]:
        """Line and column of the first character, from zero."""
        return start_of(self.span)

    @property
    def is_null(self) -> bool:
        """Whether this is a plain scalar that means nothing."""
        return self.style is None and isinstance(self.content, str) and self.content in _NULLS


def span_of(line: int, column: int, last: int, end: int) -> int:
    """A stretch of the text, from line and column to line and column, as one number: a file has fewer than 2^24 of both."""
    return (line << _COLUMN_BITS | column) << _MARK_BITS | last << _COLUMN_BITS | end


def start_of(span: int) -> tuple[int, int]:
    """Line and column of its first character, from zero."""
    return divmod(span >> _MARK_BITS, 1 << _COLUMN_BITS)


def end_of(span: int) -> tuple[int, int]:
    """Line and column behind its last character, from zero."""
    return divmod(span & (1 << _MARK_BITS) - 1, 1 << _COLUMN_BITS)


def ending(span: int, other: int) -> int:
    """From where the first begins to where the other ends."""
    return span >> _MARK_BITS << _MARK_BITS | other & (1 << _MARK_BITS) - 1


def line_starts(text: str) -> list[int]:
    """The index of each line's first character."""
    return [0] + [match.end() for match in re.finditer(r"\r\n|\n|\r", text)]


class ScalarAlignment:
    """Walks a scalar's source and its value side by side, to find where a character of the value was written."""

    def __init__(self, text: str, starts: list[int], node: Node) -> None:
        self._text = text
        self._value = node.text or ""
        self._style = node.style
        self._index = starts[node.start[0]] + node.start[1]
        if self._style in ("'", '"'):
            self._index += 1
        self._indent: int | None = None  # how many spaces a block scalar's lines lose; None: all of them
        if self._style in ("|", ">") and node.start[0] + 1 < len(starts):
            self._index = starts[node.start[0] + 1]
            first = self._text[self._index :].lstrip("\r\n ")
            margin = len(self._text) - self._index - len(first)
            line = self._text[self._index : self._index + margin].rpartition("\n")[2]
            kept = len(self._value.lstrip("\n")) - len(self._value.lstrip("\n "))
            self._indent = max(0, len(line) - kept)
            self._skip_indent()

    def source_index(self, offset: int) -> int:
        """The index in the file of character `offset` of the value (of its end, when it is past it)."""
        for character in self._value[:offset]:
            self._step(character)
        if self._at_line_end() and offset < len(self._value) and self._value[offset] not in "\r\n":
            self._skip_blank()
        return min(self._index, max(0, len(self._text) - 1))

    def _step(self, character: str) -> None:
        if self._at_line_end() and character in " \n":
            self._skip_line_break(character)
            return
        if self._at_line_end():
            self._skip_blank()
        source = self._text[self._index : self._index + 2]
        if self._style == '"' and source[:1] == "\\":
            self._index += _ESCAPES.get(source[1:], 2)
        elif self._style == "'" and source == "''":
            self._index += 2
        else:
            self._index += 1

    def _at_line_end(self) -> bool:
        return self._text[self._index : self._index + 1] in ("\n", "\r")

    def _skip_line_break(self, character: str) -> None:
        """Past one line break and the indentation behind it; a folded break ate its blank lines' first."""
        self._index += 2 if self._text.startswith("\r\n", self._index) else 1
        if character == " " or self._style == "|":
            self._skip_indent()
        else:
            self._skip_blank()

    def _skip_indent(self) -> None:
        left = self._indent if self._indent is not None else len(self._text)
        while left > 0 and self._text[self._index : self._index + 1] == " ":
            self._index += 1
            left -= 1

    def _skip_blank(self) -> None:
        while self._text[self._index : self._index + 1] in (" ", "\n", "\r") and self._index < len(self._text):
            self._index += 1
