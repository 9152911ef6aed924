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

    @property
    def named(self) -> tuple[str, ...]:
        """The captures that become labels."""
        return tuple(name for name in self.names if name != "_")

    def check(self) -> None:
        """ValueError when two captures stand side by side: nothing says where the first one ends."""
        for at, literal in enumerate(self.literals[1:-1]):
            if not literal:
                raise ValueError(
                    f"found consecutive capture '<{self.names[at]}><{self.names[at + 1]}>': invalid expression"
                )

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
    if not source:
        place = "parse error at line 1, col 1"
        raise ValueError(f"{place}: syntax error: unexpected $end, expecting IDENTIFIER or LITERAL")
    if not pattern.named:
        raise ValueError("at least one capture is required")
    pattern.check()
    twice = next((name for at, name in enumerate(pattern.named) if name in pattern.named[:at]), None)
    if twice is not None:
        raise ValueError(f"duplicate capture name ({twice}): invalid expression")
    return pattern


@lru_cache(maxsize=512)
def filtering_pattern(source: str) -> LinePattern:
    """A pattern for `|>` and `!>`: ValueError when it names a capture."""
    pattern = LinePattern(source)
    if pattern.named:
        raise ValueError("named captures are not allowed: invalid expression")
    pattern.check()
    return pattern
