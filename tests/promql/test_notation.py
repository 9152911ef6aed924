"""The notation of test series."""

from __future__ import annotations

import math

import pytest

from obskit.model.labels import Labels
from obskit.model.samples import is_stale
from obskit.promql.notation import parse_series, parse_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1 2.5 -3e2", [1.0, 2.5, -300.0]),
        ("1x2", [1.0, 1.0, 1.0]),
        ("0x2", [0.0, 0.0, 0.0]),
        ("0+10x3", [0.0, 10.0, 20.0, 30.0]),
        ("5-1.5x2", [5.0, 3.5, 2.0]),
        ("-2+-1x1", [-2.0, -3.0]),
        ("_ 1 _x2", [None, 1.0, None, None]),
        ("Inf -inf", [math.inf, -math.inf]),
    ],
)
def test_it_expands_values(text: str, values: list[float | None]) -> None:
    assert parse_values(text) == values


def test_stale_is_the_marker() -> None:
    (value,) = parse_values("stale")
    assert value is not None
    assert is_stale(value)


def test_it_reads_names_and_labels() -> None:
    labels = Labels({"__name__": "m", "a": "x }y", "b": ""})
    assert parse_series('m{a="x }y", b=""} 1') == (labels, [1.0])
    assert parse_series("m 1 2") == (Labels({"__name__": "m"}), [1.0, 2.0])
    assert parse_series("{} 1") == (Labels(), [1.0])


@pytest.mark.parametrize("text", ["m 1+2", "m abc", 'm{a=~"b"} 1'])
def test_what_it_cannot_read_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"how many values|not a value|with = only"):
        parse_series(text)
