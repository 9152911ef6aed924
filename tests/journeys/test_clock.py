"""A wall clock that is set back, in process and on a clock of the test's: alerts go on, and nobody hears twice."""

from __future__ import annotations

from typing import Final

import pytest

from obskit.testing.clock import FakeClock, run
from tests.journeys.daemon import Watch
from tests.journeys.in_process import running, within
from tests.journeys.receivers import GaugePage, Receivers
from tests.journeys.setting import one_page, rule, write_rules

HOUR_MS: Final = 3_600_000


@pytest.mark.parametrize("back_ms", [30_000, HOUR_MS])
def test_after_the_clock_is_set_back_alerts_resolve_and_fire_as_before(
    watch: Watch, page: GaugePage, receivers: Receivers, back_ms: int
) -> None:
    page.values.update(a=1, b=0)
    write_rules(watch.folder, rule("A", "a > 0"), rule("B", "b > 0") | {"for": "5s"})
    watch.write(one_page(page, receivers) | {"global": {"scrape_interval": "1s"}})
    clock = FakeClock()

    async def scenario() -> None:
        async with running(watch.config, clock):
            assert await within(clock, 20, lambda: receivers.all_say("A", "firing")), receivers.states("A")
            clock.set_wall(clock.now_ms() - back_ms)
            await clock.sleep(10)
            assert [body["status"] for body in receivers.posted("A")] == ["firing"]
            page.values.update(a=0, b=1)
            assert await within(clock, 30, lambda: receivers.all_say("A", "resolved")), receivers.states("A")
            assert await within(clock, 30, lambda: receivers.all_say("B", "firing")), receivers.states("B")
            page.values["b"] = 0
            assert await within(clock, 30, lambda: receivers.all_say("B", "resolved")), receivers.states("B")
        for alert in ("A", "B"):
            assert [body["status"] for body in receivers.posted(alert)] == ["firing", "resolved"]

    run(scenario(), clock)
