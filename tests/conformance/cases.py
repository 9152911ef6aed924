"""Cases of the PromQL acceptance suite: as JSON lines (shared/conformance) and as `.test` scripts (our golden cases)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from obskit.model.histograms import NativeHistogram, ResetHint, filled
from obskit.model.labels import Labels
from obskit.model.samples import STALE_NAN

Value = float | NativeHistogram
Points = list[tuple[int, Value]]
Starts = dict[int, int]


@dataclass(frozen=True)
class Series:
    """A loaded series; `starts` are start timestamps by sample time."""

    labels: Labels
    points: Points
    starts: Starts = field(default_factory=dict)


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
    series: tuple[Series, ...]
    needs: tuple[str, ...] = ()
    range_check: bool = False


def number(value: Any) -> float:
    """A number of the JSON form, where `stale` and what JSON lacks are strings."""
    return STALE_NAN if value == "stale" else float(value)


def read_json(path: Path) -> Iterator[Case]:
    """The cases of a JSON-lines file."""
    loads: dict[str, list[Series]] = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "load":
            loads[record["id"]] = [_series(one) for one in record["series"]]
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


def _series(record: dict[str, Any]) -> Series:
    return Series(Labels(record["labels"]), _points(record), dict(record.get("start_timestamps", [])))


def _points(record: dict[str, Any], floats: str = "samples") -> Points:
    points: Points = [(t, number(value)) for t, value in record.get(floats, [])]
    points += [(t, histogram(value)) for t, value in record.get("histograms", [])]
    return sorted(points, key=lambda point: point[0])


def histogram(record: Any) -> Value:
    """A native histogram of the JSON form, or a stale marker in its place."""
    if record == "stale" or record["sum"] == "stale":
        return STALE_NAN
    return NativeHistogram(
        record["schema"],
        number(record["count"]),
        number(record["sum"]),
        record.get("zero_threshold", 0.0),
        number(record.get("zero_count", 0.0)),
        filled({index: number(count) for index, count in record.get("positive", [])}),
        filled({index: number(count) for index, count in record.get("negative", [])}),
        tuple(record.get("custom_values", ())),
        ResetHint(record.get("counter_reset_hint", "unknown")),
    )


def _expectation(record: dict[str, Any]) -> Expectation:
    series: dict[Labels, Points] = {}
    for one in record.get("series", []):
        if "values" in one or "histograms" in one:
            points = _points(one, "values")
        else:
            points = [(0, histogram(one["histogram"]) if "histogram" in one else number(one.get("value", "NaN")))]
        series[Labels(one["labels"])] = points
    return Expectation(
        kind=record["type"],
        series=series,
        scalar=number(record.get("scalar", 0)),
        string=record.get("string", ""),
        ordered=record.get("ordered", False),
        notes={kind: record[kind] for kind in ("fail", "warn", "info") if record.get(kind)},
        absent_notes=frozenset(kind for kind in ("warn", "info") if record.get(f"no_{kind}")),
    )
