"""Plain tables, ages and counts, for a person who reads a command's output or pipes it on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import click

_UNITS_S: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def print_rows(rows: Sequence[Sequence[object]]) -> None:
    """Rows in columns as wide as their widest cell; nothing is cut, so that it can be searched and piped."""
    for line in aligned(rows):
        click.echo(line)


def aligned(rows: Sequence[Sequence[object]], *, right: int = 0) -> list[str]:
    """The lines of `print_rows`; the first `right` columns are of numbers."""
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    sides = [">" if column < right else "<" for column in range(len(widths))]
    return [
        "  ".join(f"{cell!s:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    ]


def age_text(ms: float) -> str:
    """A duration with its two largest units: `1d2h`, `1h5m`, `42s`."""
    seconds = max(0, int(ms) // 1000)
    for (size, unit), (smaller, next_unit) in pairwise(_UNITS_S):
        if seconds >= size:
            rest = seconds % size // smaller
            return f"{seconds // size}{unit}" + (f"{rest}{next_unit}" if rest else "")
    return f"{seconds}s"


def count(number: int, noun: str) -> str:
    """`1 rule`, `2 rules`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Iterable[str]) -> str:
    """`a, b, c`, or `none`."""
    return ", ".join(names) or "none"
