"""Cases of the PromQL acceptance suite: as JSON lines (shared/conformance) and as `.test` scripts (our golden cases)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from obskit.model.labels import Labels
from obskit.model.samples import STALE_NAN

Points = list[tuple[int, float]]


@dataclass(frozen=True)
class Expectation:
    """What a query must answer. `kind` is empty, scalar, string, vector, matrix or error; None takes any value."""

    kind: str
    series: dict[Labels, Points] = field(default_factory=dict)
    scalar: float = 0.0
    string: str = ""
    ordered: bool = False
    notes: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    absent_notes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Case:
    """One query over some series."""

    id: str
    query: str
    times: tuple[int, ...]
    expect: Expectation
    series: tuple[tuple[Labels, Points], ...]
    needs: tuple[str, ...] = ()
    range_check: bool = False


def number(value: Any) -> float:
    """A number of the JSON form, where `stale` and what JSON lacks are strings."""
    return STALE_NAN if value == "stale" else float(value)


def read_json(path: Path) -> Iterator[Case]:
    """The cases of a JSON-lines file. Native histograms in loads are left out."""
    loads: dict[str, list[tuple[Labels, Points]]] = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "load":
            loads[record["id"]] = [_series(one) for one in record["series"] if not one.get("from_nhcb")]
            continue
        at = record["eval"]
        times = (at["time_ms"],) if at["type"] == "instant" else (at["start_ms"], at["end_ms"], at["step_ms"])
        yield Case(
            id=record["id"],
            query=record["query"],
            times=times,
            expect=_expectation(record["expect"]),
            series=tuple(one for load in record["loads"] for one in loads[load]),
            needs=tuple(record["needs"]),
            range_check=record.get("range_check", False),
        )


def _series(record: dict[str, Any]) -> tuple[Labels, Points]:
    return Labels(record["labels"]), [(t, number(value)) for t, value in record.get("samples", [])]


def _expectation(record: dict[str, Any]) -> Expectation:
    series: dict[Labels, Points] = {}
    for one in record.get("series", []):
        points = one["values"] if "values" in one else [(0, one.get("value", "NaN"))]
        series[Labels(one["labels"])] = [(t, number(value)) for t, value in points]
    return Expectation(
        kind=record["type"],
        series=series,
        scalar=number(record.get("scalar", 0)),
        string=record.get("string", ""),
        ordered=record.get("ordered", False),
        notes={kind: record[kind] for kind in ("fail", "warn", "info") if record.get(kind)},
        absent_notes=frozenset(kind for kind in ("warn", "info") if record.get(f"no_{kind}")),
    )
