"""Plain tables, ages and counts, for a person who reads a command's output or pipes it on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import click

from obskit.model.durations import format_duration

_UNITS_MS = (86_400_000, 3_600_000, 60_000, 1_000)


def print_rows(rows: Sequence[Sequence[object]]) -> None:
    """Rows in columns as wide as their widest cell; nothing is cut, so that it can be searched and piped."""
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def age_text(ms: float) -> str:
    """A duration with its two largest units: `1h5m`, `42s`."""
    left = max(0, round(ms)) // 1000 * 1000
    for unit, smaller in pairwise(_UNITS_MS):
        if left >= unit:
            return format_duration(left // smaller * smaller)
    return format_duration(left)


def count(number: int, noun: str) -> str:
    """`1 rule`, `2 rules`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Iterable[str]) -> str:
    """`a, b, c`, or `none`."""
    return ", ".join(names) or "none"
