from __future__ import annotations

import math

import pytest

from obskit.cli.sparklines import chart, sparkline
from obskit.model.labels import Labels
from obskit.model.results import RangeSeries

API = Labels({"app": "api"})


def series(*values: float, step_ms: int = 60_000, labels: Labels = API) -> RangeSeries:
    return RangeSeries(labels, [at * step_ms for at in range(len(values))], list(values))


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([0, 0, 0], 3, "▁▁▁"),
        ([5, 5], 2, "██"),
        ([-4, 0, 4], 3, "▁▅█"),
        ([1, 9, 1, 1], 2, "█▁"),
        ([1, math.nan, math.inf, 8], 4, "▂  █"),
    ],
)
def test_bars_are_as_high_as_the_greatest_value_of_their_time(values: list[float], width: int, bars: str) -> None:
    assert sparkline(series(*values), 0, len(values) * 60_000, width) == bars


def test_a_chart_has_a_line_per_series_over_the_same_time() -> None:
    job = RangeSeries(Labels({"app": "job"}), [120_000], [1234.5])
    assert chart([series(1, 2, 3), job], 80) == [
        "  LAST     MIN     MAX       SERIES",
        '     3       1       3  ▃▆█  {app="api"}',
        '1234.5  1234.5  1234.5    █  {app="job"}',
        "1970-01-01T00:00:00Z to 1970-01-01T00:02:00Z, every 1m",
    ]


def test_a_chart_fits_its_width_and_one_point_is_a_chart() -> None:
    assert max(map(len, chart([series(*range(500))], 80))) <= 80
    assert chart([series(7)], 80)[1:] == ['   7    7    7  █  {app="api"}', "1970-01-01T00:00:00Z"]
