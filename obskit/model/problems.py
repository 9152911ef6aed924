"""Problems: what is wrong in a file a person wrote, where, and how to mend it.

Printed as `file:line:column  severity  id  message`, with the source line and a caret below.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error keeps the file from being used, a warning does not; a hint is a suggestion, nothing is wrong."""

    ERROR = "error"
    WARNING = "warn"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Place:
    """A span of a file: one-based line and column, `length` characters on that line."""

    file: str
    line: int = 1
    column: int = 1
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `id` is a stable slug (`unknown-key`, `promql-syntax`); `source` the line it points into."""

    place: Place
    id: str
    message: str
    severity: Severity = Severity.ERROR
    source: str = ""

    def __str__(self) -> str:
        return f"{self.place}  {self.severity.value}  {self.id}  {self.message}"

    def frame(self) -> str:
        """The source line with a caret under the place; empty when the line is not known."""
        if not self.source:
            return ""
        gutter = f"{self.place.line:>5} | "
        shown = self.source.replace("\t", " ")
        carets = "^" * max(1, min(self.place.length, len(shown) - self.place.column + 1))
        return f"{gutter}{shown}\n{' ' * 5} | {' ' * (self.place.column - 1)}{carets}"


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """` (did you mean "…"?)`, or nothing when no known name is near."""
    near = nearest(wrong, known)
    return f' (did you mean "{near}"?)' if near else ""


def nearest(wrong: str, known: Iterable[str], *, alike: float = 0.6) -> str:
    """The known name that is most alike; empty when none is as much as `alike` (0 to 1)."""
    from difflib import get_close_matches  # noqa: PLC0415 - a config without mistakes never needs it

    return next(iter(get_close_matches(wrong, list(known), n=1, cutoff=alike)), "")
