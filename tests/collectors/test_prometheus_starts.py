"""When counters began: from the page of a target to a rule that counts their first increment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import respx

from obskit.collect import Source, Supervisor
from obskit.logql.engine import Engine as LogQL
from obskit.model.labels import NAME, Labels
from obskit.model.results import Vector
from obskit.model.samples import MetricMeta, MetricType
from obskit.outbound import httpx
from obskit.promql.engine import Engine
from obskit.rules.commits import Listeners
from obskit.rules.evaluation import Evaluator
from obskit.rules.files import load_rules
from obskit.rules.runner import Runner
from obskit.testing.clock import FakeClock, run
from obskit_collectors import prometheus_starts
from obskit_collectors.prometheus_starts import Births, CounterStarts
from obskit_collectors.prometheus_targets import ScrapeSettings
from tests.store.shelf import Shelf, named

TEXT = {"Content-Type": "text/plain; version=0.0.4"}
OPENMETRICS = {"Content-Type": "application/openmetrics-text; version=1.0.0"}
UP = "# TYPE hits_total counter\nhits_total 7\n# TYPE depth gauge\ndepth 1\n"
FAILED = "# TYPE errors_total counter\nerrors_total 1\n"
RULES = """
groups:
  - name: first
    interval: 15s
    rules:
      - alert: FirstError
        expr: increase(errors_total[5m]) > 0
"""


class Stack:
    """A job under the supervisor, the store, and a rule, on a clock of its own; `page` is what the target has."""

    def __init__(self, shelf: Shelf, http: respx.MockRouter, counter_starts: str) -> None:
        self.shelf = shelf
        self._route = http.get("http://api:80/metrics")
        self._supervisor = Supervisor(shelf.store, shelf.clock)
        static: Any = ({"targets": ("api:80",)},)
        settings = ScrapeSettings.model_validate(
            {"job_name": "api", "static_configs": static, "counter_starts": counter_starts}
        )
        self._source = Source("prometheus", settings)
        evaluator = Evaluator(Engine(shelf.store.metrics), LogQL(shelf.store.logs))
        listeners = Listeners(record=lambda _tx, _transitions: None, after_commit=lambda: None)
        groups = load_rules(RULES, "rules.yml").groups
        self._runner = Runner(shelf.store, evaluator, listeners, shelf.clock, groups=groups)

    async def start(self) -> None:
        await self._supervisor.reload([self._source])

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def scraped(self, text: str, headers: dict[str, str] = TEXT, *, status: int = 200) -> None:
        """The page as it is for the next 15 s: one scrape."""
        self._route.mock(return_value=httpx.Response(status, text=text, headers=headers))
        await self.shelf.clock.sleep(15)

    async def fires(self) -> bool:
        """Whether the rule does, now."""
        await self._runner.evaluate_all(self.shelf.now)
        return bool(len(self.shelf.store.metrics.select(named("ALERTS"), self.shelf.now - 1_000, self.shelf.now)))

    def increase(self, name: str) -> float | None:
        found = Engine(self.shelf.store.metrics).instant(f"increase({name}[5m])", self.shelf.now)
        assert isinstance(found.value, Vector)
        return found.value.elements[0].value if found.value.elements else None


def play(tmp_path: Path, counter_starts: str, scenario: Any) -> None:
    clock = FakeClock()

    async def whole() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            stack = Stack(shelf, http, counter_starts)
            stack._route.mock(return_value=httpx.Response(200, text=UP, headers=TEXT))
            await stack.start()
            await scenario(stack)
            await stack.stop()

    with respx.mock(assert_all_called=False) as http:
        run(whole(), clock)


@pytest.mark.parametrize(("counter_starts", "fires"), [("off", False), ("created", False), ("observed", True)])
def test_a_counter_that_is_new_on_the_page_began_after_the_page_before(
    tmp_path: Path, counter_starts: str, fires: bool
) -> None:
    async def scenario(stack: Stack) -> None:
        await stack.scraped(UP)
        await stack.scraped(UP + FAILED)
        assert await stack.fires() is fires
        await stack.scraped(UP + FAILED)
        assert await stack.fires() is fires
        assert (stack.increase("errors_total") or 0.0) == pytest.approx(1.0 if fires else 0.0, abs=0.5)
        assert stack.increase("hits_total") == 0.0

    play(tmp_path, counter_starts, scenario)


@pytest.mark.parametrize(("counter_starts", "fires"), [("off", False), ("created", True), ("observed", True)])
def test_openmetrics_says_when_a_counter_began(tmp_path: Path, counter_starts: str, fires: bool) -> None:
    async def scenario(stack: Stack) -> None:
        began_s = stack.shelf.now / 1000
        await stack.scraped("# EOF\n", OPENMETRICS, status=500)
        page = f"# TYPE errors counter\nerrors_total 3\nerrors_created {began_s}\n# EOF\n"
        await stack.scraped(page, OPENMETRICS)
        assert await stack.fires() is fires

    play(tmp_path, counter_starts, scenario)


def test_a_restart_is_seen_though_the_counter_rose(tmp_path: Path) -> None:
    async def scenario(stack: Stack) -> None:
        for value, began_ms in ((5, stack.shelf.now - 1_000_000), (9, stack.shelf.now + 20_000)):
            page = f"# TYPE errors counter\nerrors_total {value}\nerrors_created {began_ms / 1000}\n# EOF\n"
            await stack.scraped(page, OPENMETRICS)
            await stack.scraped(page, OPENMETRICS)
        assert stack.increase("errors_total") == pytest.approx(9.0, rel=0.6)

    play(tmp_path, "created", scenario)


def test_after_a_failed_scrape_nothing_is_new(tmp_path: Path) -> None:
    async def scenario(stack: Stack) -> None:
        await stack.scraped(UP)
        await stack.scraped("", status=500)
        await stack.scraped(UP + FAILED)
        assert not await stack.fires()

    play(tmp_path, "observed", scenario)


def test_what_returns_to_the_page_is_not_new(tmp_path: Path) -> None:
    async def scenario(stack: Stack) -> None:
        await stack.scraped(UP + FAILED)
        await stack.scraped(UP)
        await stack.scraped(UP + FAILED)
        assert not await stack.fires()

    play(tmp_path, "observed", scenario)


HITS, DEPTH = Labels({NAME: "hits_total"}), Labels({NAME: "depth"})
META = {"hits_total": MetricMeta(MetricType.COUNTER), "depth": MetricMeta(MetricType.GAUGE)}


def seen(births: Births, *series: Labels, now_ms: int, new: tuple[Labels, ...] = ()) -> dict[int, int]:
    return births.read(list(series), [1.0] * len(series), META, now_ms=now_ms, new=new)


def test_only_counters_begin() -> None:
    births = Births(CounterStarts.OBSERVED)
    assert seen(births, now_ms=1_000) == {}
    assert seen(births, DEPTH, HITS, now_ms=2_000, new=(DEPTH, HITS)) == {1: 1_000}


def test_a_start_is_told_once() -> None:
    births = Births(CounterStarts.CREATED)
    series = [Labels({NAME: "hits_created"}), HITS]
    told = [births.read(series, [value, 5.0], META, now_ms=9_000, new=()) for value in (1.5, 1.5, 2.5)]
    assert told == [{1: 1_500}, {}, {1: 2_500}]


@pytest.mark.parametrize("created", [float("nan"), float("inf"), -1.0, 0.0, 99.0])
def test_a_start_that_cannot_be_is_none(created: float) -> None:
    births = Births(CounterStarts.CREATED)
    assert births.read([Labels({NAME: "hits_created"}), HITS], [created, 5.0], META, now_ms=9_000, new=()) == {}


def test_where_too_many_come_and_go_none_is_taken_for_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_starts, "_GONE_KEPT", 3)
    births = Births(CounterStarts.OBSERVED)
    seen(births, now_ms=1_000)
    births.vanished(Labels({NAME: "hits_total", "n": str(n)}) for n in range(4))
    assert seen(births, HITS, now_ms=2_000, new=(HITS,)) == {}
