"""Range queries are computed in bands of rows that share clocks: each step must be what an instant query answers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from obskit.model.labels import Labels
from obskit.model.results import Matrix, Vector
from obskit.promql import blocks, clocks, windows
from obskit.promql.clocks import by_clock
from obskit.promql.columns import SampleColumns
from obskit.promql.engine import Engine
from obskit.promql.labelsets import LabelSets
from obskit.promql.windows import RangeVector
from obskit.testing.store import MemoryMetrics

MINUTE = 60_000
STEPS = range(0, 20 * MINUTE + 1, 20_000)


@pytest.fixture(params=[(64, 1), (64, 1000), (1 << 15, 4), (1 << 15, 1000)])
def bands(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bands of one row, or of all, with the rows of a target together or each for itself."""
    cells, rows = request.param
    for module in (blocks, windows, clocks):
        monkeypatch.setattr(module, "TILE", cells)
    monkeypatch.setattr(clocks, "FEW_ROWS", rows)
    return None


def targets(seed: int) -> MemoryMetrics:
    """Three targets with clocks of their own, that miss scrapes and start anew; one has a series that comes late."""
    random = np.random.default_rng(seed)
    store = MemoryMetrics()
    for target in range(3):
        clock = int(random.integers(0, 15_000)) + np.arange(0, 20 * MINUTE, 15_000)
        clock = clock[random.random(len(clock)) > 0.1]
        for series in range(8):
            times = clock[10:] if series == 7 else clock
            steps = random.poisson(3, len(times)).astype(float)
            values = np.cumsum(steps) + (1000.0 if series in (1, 5, 6) else 0.0)
            if series in (2, 5):
                values[len(values) // 2 :] -= values[len(values) // 2]
            if series == 3:
                values[20] = math.nan
            if series == 4:
                values[:30], values[40] = 0.0, math.inf
            labels = {"__name__": "x_total", "app": f"a{series % 2}", "target": str(target), "series": str(series)}
            store.add(Labels(labels), times.tolist(), values.tolist())
    store.add(Labels({"__name__": "x_total", "app": "a0", "target": "none"}), [], [])
    return store


QUERIES = (
    *("rate(x_total[1m])", "increase(x_total[5m])", "delta(x_total[70s])", "irate(x_total[1m])"),
    *("resets(x_total[5m])", "avg_over_time(x_total[2m])", "quantile_over_time(0.9, x_total[2m])"),
    *("predict_linear(x_total[2m], 60)", "absent_over_time(x_total[10s])", "rate(x_total[1m] @ 600)"),
    *("sum by (app) (rate(x_total[1m]))", "avg(x_total)", "stddev by (target) (x_total)", "max(delta(x_total[1m]))"),
)


@pytest.mark.usefixtures("bands")
@pytest.mark.parametrize("query", QUERIES)
def test_each_step_of_a_range_is_what_an_instant_query_answers(query: str) -> None:
    engine = Engine(targets(seed=7))
    whole = engine.range(query, STEPS[0], STEPS[-1], STEPS.step).value
    assert isinstance(whole, Matrix)
    found = {
        (one.labels, t_ms): value for one in whole.series for t_ms, value in zip(one.times_ms, one.values, strict=True)
    }
    expected = {}
    for at_ms in STEPS:
        answer = engine.instant(query, at_ms).value
        assert isinstance(answer, Vector)
        expected.update({(one.labels, at_ms): one.value for one in answer.elements})
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert math.isclose(found[key], value, rel_tol=1e-12) or (math.isnan(value) and math.isnan(found[key]))


def columns(rows: list[list[int]]) -> SampleColumns:
    """Samples at these times; all values are zero."""
    sets = LabelSets.of([Labels({"row": str(row)}) for row in range(len(rows))])
    times = np.array([t_ms for row in rows for t_ms in row], np.int64)
    return SampleColumns(sets, np.cumsum([0, *map(len, rows)]), times, np.zeros(len(times)))


def test_neighbouring_rows_of_one_target_share_a_clock() -> None:
    found = clocks.clocks_of(columns([[1, 2]] * 5 + [[1, 3]] * 5 + [[1, 2, 3, 9]] * 5 + [[1, 4, 3, 9]] * 5 + [[]]))
    assert found.rows.tolist() == [0, 5, 10, 15, 20]
    assert found.of.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5 + [4]


@pytest.mark.parametrize("rows", [[[1, 2], [1, 2], [1, 3], [1, 4], [1, 5]], [[], []], []])
def test_where_few_rows_share_their_times_nobody_looks_for_it(rows: list[list[int]]) -> None:
    assert not clocks.clocks_of(columns(rows)).shared


def test_windows_are_found_once_per_clock_and_lie_where_each_row_has_its_samples() -> None:
    samples = columns([list(range(0, 10 * MINUTE, 15_000))] * 5)
    ends = np.arange(MINUTE, 10 * MINUTE, 10_000)
    found = RangeVector(samples, ends, ends, MINUTE).windows()
    assert (found.first - found.first[:1] == samples.starts[:-1, None]).all()
    assert (samples.times_ms[found.last - 1] <= ends).all()
    assert (samples.times_ms[found.first] > ends - MINUTE).all()
    (band,) = by_clock(samples, ends, MINUTE)
    assert (band.first == found.first[:1]).all()
    assert (band.last == found.last[:1]).all()
