from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from obskit.clock import Clock
from obskit.collect import Captured, Check, Collector, Feed, Kind, Source, Supervisor
from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit.model.settings import Settings
from obskit.store.interface import Batch, Samples
from obskit.testing.clock import FakeClock, run


class Doing(Settings):
    """Settings of a collector whose behaviour is its name."""

    name: str
    what: str = "works"
    level: int = 0


class Actor:
    """A collector that works, crashes, ends, or is told to stay away."""

    def __init__(self, settings: Doing, log: list[str]) -> None:
        self.name = settings.name
        self._what = settings.what
        self._log = log

    async def run(self, feed: Feed) -> None:
        self._log.append(f"start {self.name}")
        try:
            await self._act(feed)
        finally:
            self._log.append(f"{'retire' if feed.retired else 'stop'} {self.name}")

    async def once(self, feed: Feed) -> None:
        raise NotImplementedError

    async def _act(self, feed: Feed) -> None:
        if self._what == "crashes":
            raise RuntimeError("a defect")
        if self._what == "is limited":
            raise CollectorError("slow down", reason="rate_limited", retry_after=50)
        if self._what == "works":
            while True:
                with feed.book("t").call():
                    now_ms = feed.clock.now_ms()
                await feed.append(Batch(Samples([Labels({"__name__": self.name})], [now_ms], [1.0])), "t")
                await feed.clock.sleep(1)


class Stage:
    """A supervisor over Actors, and what they did."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.intake = Captured()
        self.log: list[str] = []
        self.built = 0
        self.supervisor = Supervisor(self.intake, self.clock, find=self._find)

    def _find(self, name: str) -> Kind[Any]:
        if name != "actor":
            raise CollectorError(f"no collector {name}", reason="config")
        return Kind(Doing, self._build, self._doctor)

    def _build(self, settings: Doing) -> Collector:
        self.built += 1
        return Actor(settings, self.log)

    async def _doctor(self, settings: Doing, clock: Clock) -> Sequence[Check]:
        return []

    def play(self, scenario: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            await scenario(self)
            await self.supervisor.stop()

        run(whole(), self.clock)


def actor(name: str, what: str = "works", level: int = 0) -> Source:
    return Source("actor", Doing(name=name, what=what, level=level))


def test_a_crash_is_counted_and_started_again_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.supervisor.reload([actor("crasher", "crashes"), actor("worker")])
        await stage.clock.sleep(30)
        crashed, well = stage.supervisor.status()
        assert (crashed.up, crashed.error, crashed.errors) == (False, "crashed: RuntimeError", 5)
        assert (well.up, well.items) == (True, 30)
        assert len([record for record in caplog.records if record.exc_info]) == 1

    Stage().play(scenario)


def test_after_a_crash_a_new_collector_is_built() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.supervisor.reload([actor("crasher", "crashes")])
        await stage.clock.sleep(10)
        assert stage.built == 1 + stage.log.count("start crasher")

    Stage().play(scenario)


@pytest.mark.parametrize(("what", "starts"), [("ends", 4), ("is limited", 1)])
def test_a_collector_that_ends_is_started_again_when_it_may(what: str, starts: int) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.supervisor.reload([actor("a", what)])
        await stage.clock.sleep(20)
        assert stage.log.count("start a") == starts

    Stage().play(scenario)


def test_a_reload_leaves_equal_collectors_alone() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.supervisor.reload([actor("same"), actor("changed"), actor("gone")])
        await stage.clock.sleep(5)
        await stage.supervisor.reload([actor("changed", level=2), actor("new"), actor("same")])
        await stage.clock.sleep(5)
        assert stage.log.count("start same") == 1
        assert stage.log.count("start changed") == 2
        assert [row.collector for row in stage.supervisor.status()] == ["same", "changed", "new"]

    Stage().play(scenario)


def test_only_a_collector_whose_name_is_gone_is_retired() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.supervisor.reload([actor("kept"), actor("changed"), actor("gone")])
        await stage.clock.sleep(1)
        await stage.supervisor.reload([actor("kept"), actor("changed", level=2)])
        assert "retire gone" in stage.log
        assert "stop changed" in stage.log
        await stage.supervisor.stop()
        assert "stop kept" in stage.log

    Stage().play(scenario)


def test_a_reload_that_cannot_be_built_changes_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.supervisor.reload([actor("a")])
        await stage.clock.sleep(1)
        with pytest.raises(CollectorError):
            await stage.supervisor.reload([actor("b"), Source("unheard_of", Doing(name="x"))])
        await stage.clock.sleep(1)
        assert stage.log == ["start a"]
        assert stage.supervisor.status()[0].up

    Stage().play(scenario)


def test_a_collector_that_has_not_read_yet_has_a_row() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.supervisor.reload([actor("a")])
        (row,) = stage.supervisor.status()
        assert (row.collector, row.target, row.up) == ("a", "", None)

    Stage().play(scenario)


def test_two_equal_sources_are_two_collectors() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.supervisor.reload([actor("a"), actor("a")])
        await stage.clock.sleep(1)
        await stage.supervisor.reload([actor("a")])
        assert (stage.log.count("start a"), stage.log.count("stop a")) == (2, 1)

    Stage().play(scenario)
