"""Line patterns, `<ip> - <_> "<method> <path>"`: literals with captures in between, for `| pattern` and `|>`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_CAPTURE: Final = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>")


class LinePattern:
    """A parsed pattern: `literals[0] <names[0]> literals[1] <names[1]> ...`; outer literals may be empty."""

    def __init__(self, source: str) -> None:
        pieces = _CAPTURE.split(source)
        self.literals = tuple(pieces[::2])
        self.names = tuple(pieces[1::2])
        if "" in self.literals[1:-1]:
            raise ValueError("two captures side by side: there must be text between them")
        named = self.named
        if len(set(named)) != len(named):
            raise ValueError("a capture is named twice")

    @property
    def named(self) -> tuple[str, ...]:
        """The captures that become labels."""
        return tuple(name for name in self.names if name != "_")

    def captures(self, line: str) -> list[tuple[str, str]]:
        """The named captures of a line. Where a literal is missing, the capture before it takes the rest and ends it."""
        if not line or not line.startswith(self.literals[0]):
            return []
        found, position = [], len(self.literals[0])
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            end = line.find(literal, position) if literal else -1
            if name != "_":
                found.append((name, line[position:] if end < 0 else line[position:end]))
            if end < 0:
                break
            position = end + len(literal)
        return found

    def matches(self, line: str) -> bool:
        """Whether the whole line is as the pattern says; every wildcard stands for at least one character."""
        if not line.startswith(self.literals[0]):
            return False
        position = len(self.literals[0])
        for literal in self.literals[1:]:
            if not literal:  # only the last one is empty: the pattern ends with a wildcard
                return position < len(line)
            end = line.find(literal, position)
            if end <= position:
                return False
            position = end + len(literal)
        return position == len(line)


@lru_cache(maxsize=512)
def capturing_pattern(source: str) -> LinePattern:
    """A pattern for `| pattern`: ValueError unless it names a capture."""
    pattern = LinePattern(source)
    if not pattern.named:
        raise ValueError("a pattern needs at least one named capture such as <path>")
    return pattern


@lru_cache(maxsize=512)
def filtering_pattern(source: str) -> LinePattern:
    """A pattern for `|>` and `!>`: ValueError when it names a capture."""
    pattern = LinePattern(source)
    if pattern.named:
        raise ValueError("a pattern filter takes only <_>, no named captures")
    return pattern
