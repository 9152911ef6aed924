"""The nodes of a YAML file, and where each character of a scalar stands in the source, however it was quoted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_ESCAPES: Final = {"x": 4, "u": 6, "U": 10}


@dataclass(slots=True, eq=False)
class Node:
    """One node: a scalar (`text`), a sequence (`items`) or a mapping (`entries`: key text → key and value node)."""

    start: tuple[int, int]
    end: tuple[int, int]
    text: str | None = None
    style: str | None = None
    items: list[Node] | None = None
    entries: dict[str, tuple[Node, Node]] | None = None

    @property
    def is_null(self) -> bool:
        """Whether this is a plain scalar that means nothing."""
        return self.text in _NULLS and self.style is None and self.items is None and self.entries is None


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
