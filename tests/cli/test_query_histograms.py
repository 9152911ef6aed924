"""`obskit query` shows native histograms: as Prometheus prints them, and in the shape of its API."""

from __future__ import annotations

import json

import pytest

from obskit.cli.results import show
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.model.results import Element, Matrix, RangeSeries, Result, Vector

LABELS = Labels({"__name__": "sizes"})
ONE = NativeHistogram.exponential(0, count=3, sum=5, positive={1: 1, 2: 2})
AS_JSON = {"count": "3", "sum": "5", "buckets": [[0, "1", "2", "1"], [0, "2", "4", "2"]]}
VECTOR = Result(Vector((Element(LABELS, float("nan"), 60_000, ONE),)))
MATRIX = Result(Matrix((RangeSeries(LABELS, [0, 60_000], [2.0, float("nan")], {1: ONE}),)))


def test_a_histogram_is_shown_in_place_of_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    show(VECTOR, "text")
    assert "{count:3, sum:5, (1,2]:1, (2,4]:2}" in capsys.readouterr().out
    show(MATRIX, "text")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("  2")
    assert lines[2].endswith("  {count:3, sum:5, (1,2]:1, (2,4]:2}")


def test_json_has_histograms_beside_values(capsys: pytest.CaptureFixture[str]) -> None:
    show(VECTOR, "json")
    (element,) = json.loads(capsys.readouterr().out)["result"]
    assert element == {"metric": {"__name__": "sizes"}, "histogram": [60, AS_JSON]}
    show(MATRIX, "json")
    (series,) = json.loads(capsys.readouterr().out)["result"]
    assert series == {"metric": {"__name__": "sizes"}, "values": [[0, "2"]], "histograms": [[60, AS_JSON]]}
