"""Churn: a target that invents series must neither fill memory nor keep the others out of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from obskit.model.labels import Labels
from obskit.model.samples import STALE_NAN
from obskit.model.telemetry import REGISTRY
from obskit.store.interface import Batch, Samples
from obskit.store.pressure import SILENT_MS, excess, idle, target_of, too_many
from obskit.store.rounds import NEVER
from obskit.testing.clock import run
from tests.store.shelf import HOUR, MINUTE, Shelf, metric, named

LIMIT = 80
STEADY = [metric("up", instance=f"good-{number}:1") for number in range(20)]


def invented(scrape: int, count: int = 25) -> list[Labels]:
    return [metric("requests", instance="bad:1", path=f"/{scrape}/{number}") for number in range(count)]


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("obskit_store_dropped_total", {"reason": reason}) or 0.0


async def scrape(shelf: Shelf, labels: Sequence[Labels], ended: Sequence[Labels] = ()) -> None:
    values = [1.0] * len(labels) + [STALE_NAN] * len(ended)
    await shelf.store.append(Batch(Samples([*labels, *ended], [shelf.now] * len(values), values)))


async def churn(shelf: Shelf, scrapes: int, *, ending: bool = True) -> None:
    """A steady fleet beside a target whose series are all new at every scrape."""
    before: list[Labels] = []
    for number in range(scrapes):
        shelf.clock.advance(15)
        await scrape(shelf, STEADY)
        fresh = invented(number)
        await scrape(shelf, fresh, before if ending else [])
        before = fresh
        assert series_in_memory(shelf) <= LIMIT


def series_in_memory(shelf: Shelf) -> int:
    return len(shelf.store._metrics.head.live_ids() - {0})


def answers(shelf: Shelf) -> list[str]:
    """What both metrics are read as, as text: a stale marker is not equal to itself."""
    return [repr(sorted(shelf.points(name).items())) for name in ("requests", "up")]


def test_a_target_that_invents_series_pushes_out_its_own_and_nothing_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, max_series=LIMIT) as shelf:
            refused = dropped("series_limit"), dropped("target_limit")
            await churn(shelf, 40)
            await scrape(shelf, [metric("up", instance="late:1")])
            assert list(shelf.points("up", MINUTE)) == [*STEADY, metric("up", instance="late:1")]
            assert [len(points) for points in shelf.points("up").values()] == [40] * 20 + [1]
            assert (dropped("series_limit"), dropped("target_limit")) == refused

    run(scenario())


def test_what_memory_let_go_of_is_still_read_from_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, max_series=LIMIT) as shelf:
            await churn(shelf, 40)
            expected = {labels for number in range(40) for labels in invented(number)}
            assert set(shelf.points("requests")) == expected
            store = shelf.store._metrics
            assert store.edges(named("requests"), shelf.now - HOUR // 2, shelf.now) is None
            assert store.edges(named("requests"), shelf.now - 15_000, shelf.now) is not None
            assert store.edges(named("up"), shelf.now - HOUR // 2, shelf.now) is not None

    run(scenario())


def test_series_that_never_end_leave_room_for_the_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, max_series=LIMIT) as shelf:
            refused = dropped("target_limit")
            await churn(shelf, 15, ending=False)
            assert dropped("target_limit") > refused
            late = [metric("up", instance=f"late-{number}:1") for number in range(4)]
            await scrape(shelf, late)
            assert list(shelf.points("up", MINUTE)) == [*STEADY, *late]
            # Five minutes later they are silent, and the target's next ones are seen again.
            shelf.clock.advance(SILENT_MS / 1000)
            await scrape(shelf, invented(99))
            assert list(shelf.points("requests", MINUTE)) == invented(99)

    run(scenario())


def test_a_restart_is_bounded_too_and_knows_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, max_series=LIMIT) as shelf:
            await churn(shelf, 40)
            before = answers(shelf)
        async with Shelf(tmp_path, shelf.clock, max_series=LIMIT) as shelf:
            assert series_in_memory(shelf) <= LIMIT
            assert answers(shelf) == before
        async with Shelf(tmp_path, shelf.clock, max_series=10) as shelf:
            assert series_in_memory(shelf) <= 10
            assert answers(shelf) == before

    run(scenario())


def test_a_rule_that_looks_further_back_does_not_bring_them_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, max_series=LIMIT, memory_window="5m") as shelf:
            await churn(shelf, 40)
            before = answers(shelf)
            shelf.store.reserve_window("requests", HOUR)
            assert answers(shelf) == before
            assert series_in_memory(shelf) <= LIMIT

    run(scenario())


@pytest.mark.parametrize(("series", "gone"), [(0, 0), (700, 0), (701, 101), (800, 200), (1_000, 400)])
def test_above_seven_eighths_it_goes_down_to_three_quarters(series: int, gone: int) -> None:
    assert excess(series, 800) == gone


def test_ended_and_silent_series_are_idle_and_those_without_a_sample_are_not() -> None:
    now_ms = 10 * SILENT_MS
    times = np.array([now_ms, now_ms, now_ms - SILENT_MS, now_ms - SILENT_MS + 1, NEVER])
    values = np.array([1.0, STALE_NAN, 1.0, 1.0, np.nan])
    assert idle(times, values, now_ms).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(("of_target", "series", "refused"), [(80, 90, False), (81, 90, True), (0, 99, False)])
def test_a_target_may_have_eight_times_what_is_free(of_target: int, series: int, refused: bool) -> None:
    assert too_many(of_target, series, 100) is refused


@pytest.mark.parametrize(
    ("labels", "target"),
    [({"instance": "a:1", "job": "a"}, "a:1"), ({"job": "a"}, "a"), ({"alertname": "Down"}, "")],
)
def test_a_series_comes_from_its_instance_or_else_its_job(labels: dict[str, str], target: str) -> None:
    assert target_of(metric("x", **labels)) == target
