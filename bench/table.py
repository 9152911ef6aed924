"""What a benchmark beside Prometheus measures with, and the table that it prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `bar` is the greatest ratio of obskit to Prometheus that is good enough."""

    work: str
    unit: str
    prometheus: float | None
    obskit: float
    bar: float | None

    @property
    def ratio(self) -> float | None:
        """obskit's share of Prometheus' cost."""
        return self.obskit / self.prometheus if self.prometheus else None

    @property
    def missed(self) -> bool:
        """Whether the bar is missed."""
        return self.ratio is not None and self.bar is not None and self.ratio > self.bar


@dataclass(frozen=True, slots=True)
class Bench:
    """What to measure with: a folder, and whether Prometheus takes part."""

    folder: Path
    small: bool
    beside: bool

    def new_folder(self, name: str) -> Path:
        """A folder that is not there yet."""
        return self.folder / f"{name}-{len(list(self.folder.iterdir()))}"


def show(rows: Iterable[Row], versions: dict[str, str]) -> None:
    """The table for people."""
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{'':62}{'Prometheus':>12}{'obskit':>12}{'ratio':>8}{'bar':>7}")
    for row in rows:
        theirs = "" if row.prometheus is None else f"{row.prometheus:.3g} {row.unit}"
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        bar = "" if row.bar is None else f"{row.bar:g}"
        ours = f"{row.obskit:.3g} {row.unit}"
        print(f"{row.work:62}{theirs:>12}{ours:>12}{ratio:>8}{bar:>7}{'  missed' if row.missed else ''}")
