"""Fly.io's logs over HTTP: nothing lost and nothing doubled, whatever comes late, twice or at equal times."""

from __future__ import annotations

import asyncio
import gzip
import logging
import random
from collections.abc import Iterator

import pytest

from obskit.clock import NS_PER_MS, NS_PER_S
from obskit.collect import Feed
from obskit.errors import CollectorError
from obskit.model.telemetry import REGISTRY
from obskit.testing.clock import FakeClock, run
from obskit.testing.fly import FakeFly
from obskit.testing.http import Failure
from obskit_collectors.fly import KIND
from tests.collectors.fly_setting import last_values, lines, run_for, settings
from tests.collectors.kept import Kept
from tests.collectors.patient import patient_clock

AGE = "obskit_fly_last_line_age_seconds"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    return patient_clock(monkeypatch)


@pytest.fixture
def fly(clock: FakeClock) -> Iterator[FakeFly]:
    with FakeFly(clock) as server:
        server.app("shop")
        yield server


def asked(fly: FakeFly, route: str = "logs") -> int:
    return sum(fly.route(request) == route for request in fly.requests)


def test_it_reads_back_an_hour_and_goes_on(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.write("shop", "old", t_ns=clock.now_ns() - 7_200 * NS_PER_S)
    for number in range(250):
        fly.write("shop", f"line {number}", t_ns=clock.now_ns() - 1_000 * NS_PER_S + number)

    async def scenario() -> None:
        task = asyncio.create_task(run_for(20, settings(fly, logs="poll"), kept, clock))
        await clock.sleep(10)
        fly.write("shop", "new")
        await task

    run(scenario(), clock)
    assert lines(kept) == [*(f"line {number}" for number in range(250)), "new"]
    assert {str(record.stream) for record in kept.records} == {'{app="shop", region="fra", source="fly"}'}


def test_late_doubled_and_equally_timed_lines_come_once_over_many_kills(fly: FakeFly, clock: FakeClock) -> None:
    kept, dice, written = Kept(), random.Random(3), []
    config = settings(fly, logs="poll", apps=["shop"])

    async def run_and_kill(steps: int, seconds: float) -> None:
        """Killed in the middle of whatever it does then."""
        task = asyncio.create_task(KIND.build(config).run(Feed("fly", kept, clock)))
        await clock.sleep(seconds)
        for _ in range(steps):
            await clock.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def scenario() -> None:
        for life in range(12):
            now_ns = clock.now_ns() + life  # a page cannot hold the lines of one nanosecond twice over
            for number in range(250):
                text = f"line {life} {number}"
                # Runs of equal times, some longer than what is left of a page, and lines up to 25 s late.
                late_ns = dice.choice((0, 0, 0, 3, 25)) * NS_PER_S
                t_ns = now_ns - number // 40 * 7 * NS_PER_MS - late_ns
                written.append(text)
                for _ in range(dice.choice((1, 1, 2))):
                    fly.write("shop", text, t_ns=t_ns, id=text)
            await run_and_kill(dice.randrange(1_500), dice.choice((0.05, 0.3, 9)))
        await run_for(60, config, kept, clock)

    run(scenario(), clock)
    assert sorted(lines(kept)) == sorted(written)


def test_a_line_that_shows_up_late_is_found_while_it_runs(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()

    async def scenario() -> None:
        task = asyncio.create_task(run_for(60, settings(fly, logs="poll"), kept, clock))
        await clock.sleep(5)
        fly.write("shop", "newest")
        await clock.sleep(5)
        fly.write("shop", "late", t_ns=clock.now_ns() - 25 * NS_PER_S)
        await task

    run(scenario(), clock)
    assert lines(kept) == ["newest", "late"]


@pytest.mark.parametrize("page_size", [7, 50, 100])
def test_short_pages_are_no_end(fly: FakeFly, clock: FakeClock, page_size: int) -> None:
    kept = Kept()
    fly.page_size = page_size
    for number in range(500):
        fly.write("shop", str(number), t_ns=clock.now_ns() - 500 * NS_PER_MS + number * NS_PER_MS)
    run(run_for(30, settings(fly, logs="poll"), kept, clock), clock)
    assert lines(kept) == [str(number) for number in range(500)]


def test_more_lines_of_one_millisecond_than_a_page_holds_do_not_stop_it(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    for number in range(350):
        fly.write("shop", str(number), t_ns=clock.now_ns() - 5 * NS_PER_S + number)
    run(run_for(20, settings(fly, logs="poll"), kept, clock), clock)
    assert lines(kept) == [str(number) for number in range(350)]


def test_a_cursor_that_comes_as_a_number_is_followed(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.numeric_cursor = True
    for number in range(120):
        fly.write("shop", str(number), t_ns=clock.now_ns() - 120 + number)
    run(run_for(5, settings(fly, logs="poll"), kept, clock), clock)
    assert len(lines(kept)) == 120


def test_after_a_long_pause_it_begins_where_lines_are_still_kept_and_says_so(
    fly: FakeFly, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    config = settings(fly, logs="poll")
    fly.write("shop", "before")
    run(run_for(5, config, kept, clock), clock)
    clock.advance(9 * 86_400)
    fly.write("shop", "kept", t_ns=clock.now_ns() - 86_400 * NS_PER_S)
    with caplog.at_level(logging.WARNING):
        run(run_for(5, config, kept, clock), clock)
    assert lines(kept) == ["before", "kept"]
    assert "log lines are lost, they are kept for 168 h: app=shop" in caplog.text


def test_storms_of_429_slow_it_down_and_lose_nothing(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.burst = 2
    for number in range(1500):
        fly.write("shop", str(number), t_ns=clock.now_ns() - 100 * NS_PER_S + number * 60 * NS_PER_MS)
    run(run_for(120, settings(fly, logs="poll"), kept, clock), clock)
    assert lines(kept) == [str(number) for number in range(1500)]


@pytest.mark.parametrize(
    "failure",
    [
        Failure(200, body='{"data":[{"id":"1","attr'),
        Failure(200, body="{}"),
        Failure(200, body='{"data":"none"}'),
        Failure(502),
        Failure(drop=True),
        Failure(200, cut=True, body='{"data":[]}'),
        Failure(429, retry_after=3),
        Failure(200, body="\x1f\x8b\x00", headers={"Content-Encoding": "gzip"}),
    ],
)
def test_a_bad_answer_is_asked_for_again(fly: FakeFly, clock: FakeClock, failure: Failure) -> None:
    kept = Kept()
    fly.write("shop", "hello")
    fly.plan(failure, failure, route="logs")
    (status,) = run(run_for(30, settings(fly, logs="poll", apps=["shop"]), kept, clock), clock)
    assert lines(kept) == ["hello"]
    assert (status.errors, status.up) == (2, True)


def test_what_is_unknown_or_no_line_is_left_out_and_counted(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    labels = {"collector": "fly", "reason": "bad_data"}
    before = REGISTRY.get_sample_value("obskit_collector_dropped_total", labels) or 0
    fly.unknown_fields = True
    fly.write("shop", "strange")
    fly.write("shop", "")
    run(run_for(1, settings(fly, logs="poll"), kept, clock), clock)
    assert lines(kept) == ["strange"]
    assert kept.records[0].metadata["level"] == "splendid"
    assert REGISTRY.get_sample_value("obskit_collector_dropped_total", labels) == before + 1


def test_a_wrong_token_is_told_once_for_all_apps_and_then_nobody_asks(
    fly: FakeFly, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    apps = [f"app{number}" for number in range(6)]
    for app in apps:
        fly.write(app, "hello")
    wrong = settings(fly, logs="poll", apps=apps, token="fm2_wrong-token")
    with caplog.at_level(logging.WARNING):
        rows = run(run_for(800, wrong, kept, clock), clock)
    assert [(row.target, row.up, row.errors) for row in rows if row.up is not None] == [("token", False, 1)]
    assert asked(fly) <= len(apps)
    (told,) = [record.message for record in caplog.records]
    assert "fly tokens create readonly acme" in told
    assert "wrong-token" not in told
    run(run_for(2, settings(fly, logs="poll", apps=apps), kept, clock), clock)
    assert len(lines(kept)) == len(apps)


def test_a_token_that_was_refused_is_tried_again_after_a_quarter_of_an_hour(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.write("shop", "hello")
    fly.plan(Failure(401), route="logs")
    rows = run(run_for(920, settings(fly, logs="poll", apps=["shop"]), kept, clock), clock)
    assert lines(kept) == ["hello"]
    assert [(row.target, row.up) for row in rows] == [("logs/shop", True)]


def test_an_app_that_is_gone_or_somebody_elses_holds_up_no_other(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.write("shop", "hello")
    fly.write("foreign", "secret")
    fly.elsewhere.add("foreign")
    rows = run(run_for(200, settings(fly, logs="poll", apps=["shop", "gone", "foreign"]), kept, clock), clock)
    assert {row.target: row.up for row in rows} == {"logs/shop": True, "logs/gone": False, "logs/foreign": False}
    assert lines(kept) == ["hello"]
    (gone,) = [row for row in rows if row.target == "logs/foreign"]
    assert "belongs to another organisation" in gone.error
    assert gone.errors == 1


def test_apps_that_come_and_go_are_followed(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()

    async def scenario() -> None:
        task = asyncio.create_task(run_for(300, settings(fly, logs="poll"), kept, clock))
        await clock.sleep(100)
        fly.write("worker", "here I am")
        fly.delete("shop")
        rows.extend(await task)

    rows: list[object] = []
    run(scenario(), clock)
    assert lines(kept) == ["here I am"]
    assert {row.target for row in rows} == {"apps", "logs/worker"}  # type: ignore[attr-defined]  # rows of books


def test_while_the_list_of_apps_cannot_be_read_the_known_ones_are(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()

    async def scenario() -> None:
        task = asyncio.create_task(run_for(300, settings(fly, logs="poll"), kept, clock))
        await clock.sleep(100)
        fly.break_down(Failure(503), route="apps")
        await clock.sleep(100)
        fly.write("shop", "still read")
        rows.extend(await task)

    rows: list[object] = []
    run(scenario(), clock)
    assert lines(kept) == ["still read"]
    assert {row.target: row.up for row in rows} == {"apps": False, "logs/shop": True}  # type: ignore[attr-defined]  # rows of books


def test_a_quiet_app_is_asked_seldom_and_a_busy_one_at_once(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    run(run_for(60, settings(fly, logs="poll", apps=["shop"], every="4s"), kept, clock), clock)
    assert 12 <= asked(fly) <= 25
    fly.requests.clear()
    for number in range(3000):
        fly.write("shop", str(number), t_ns=clock.now_ns() - 3000 + number)
    run(run_for(2, settings(fly, logs="poll", apps=["shop"], every="4s"), kept, clock), clock)
    assert len(lines(kept)) == 3000


def test_many_quiet_apps_are_asked_less_often_each(fly: FakeFly, clock: FakeClock) -> None:
    apps = [f"app{number}" for number in range(40)]
    for app in apps:
        fly.app(app)
    run(run_for(60, settings(fly, logs="poll", apps=apps), Kept(), clock), clock)
    fly.requests.clear()
    run(run_for(60, settings(fly, logs="poll", apps=apps), Kept(), clock), clock)
    assert asked(fly) <= 60 * 10


def test_an_answer_that_unpacks_to_gigabytes_is_let_go_of(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.gzip_bomb = gzip.compress(bytes(1 << 25))
    (row,) = run(run_for(5, settings(fly, logs="poll", apps=["shop"]), kept, clock), clock)
    assert "larger than 16 MB" in row.error


def test_the_age_of_the_last_line_grows_and_is_unknown_before_there_was_one(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.write("shop", "hello")
    fly.app("silent")
    run(run_for(100, settings(fly, logs="poll"), kept, clock), clock)
    ages = last_values(kept, AGE, "app")
    assert set(ages) == {("shop",)}
    assert 80 <= ages["shop",] <= 100


@pytest.mark.parametrize("skew_s", [-600, 600])
def test_clocks_that_differ_lose_and_double_nothing(clock: FakeClock, skew_s: int) -> None:
    kept = Kept()
    with FakeFly(FakeClock()) as fly:
        clock.set_wall(clock.now_ms() + skew_s * 1000)
        for number in range(3):
            fly.write("shop", f"line {number}")
            run(run_for(100, settings(fly, logs="poll", apps=["shop"]), kept, clock), clock)
    assert lines(kept) == ["line 0", "line 1", "line 2"]


def test_one_read_shows_the_newest_lines_of_each_app(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    for number in range(130):
        fly.write("shop", str(number), t_ns=clock.now_ns() - 5 * 3600 * NS_PER_S + number)
    run(KIND.build(settings(fly, logs="poll")).once(Feed("fly", kept, clock)), clock)
    assert lines(kept) == [str(number) for number in range(30, 130)]


def test_one_read_tells_of_a_token_that_is_refused(fly: FakeFly, clock: FakeClock) -> None:
    collector = KIND.build(settings(fly, logs="poll", apps=["shop", "x"], token="Bearer nonsense"))
    with pytest.raises(CollectorError, match="401") as caught:
        run(collector.once(Feed("fly", Kept(), clock)), clock)
    assert caught.value.reason == "auth"
    assert asked(fly) == 1


def test_a_defect_in_one_follower_reaches_the_supervisor(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    kept.cursors["fly logs/shop"] = "not a cursor"
    collector = KIND.build(settings(fly, logs="poll", apps=["shop"]))
    with pytest.raises(CollectorError, match="cursor"):
        run(collector.run(Feed("fly", kept, clock)), clock)
