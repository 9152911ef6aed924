"""Following the head: every line once, in the order of the appends, whatever sealing does meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.store import log_arrivals, sealing
from obskit.store.embedded import EmbeddedStore
from obskit.testing.clock import FakeClock, run
from tests.store.shelf import Shelf, lines

WEB, JOB = Labels({"app": "web"}), Labels({"app": "job"})
ONLY_WEB = [Matcher("app", MatchOp.EQUAL, "web")]


def texts(arrived: log_arrivals.Arrived) -> list[str]:
    return [block.line(index) for block in arrived.blocks for index in block.chosen.tolist()]


def test_lines_come_by_arrival_however_old_they_are_and_a_reader_beside_sees_them(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            reader = EmbeddedStore.open_readonly(tmp_path)
            now_ns = clock.now_ns()
            assert reader.arrivals.position() == 0
            await shelf.store.append(lines((WEB, now_ns, "first")))
            here = reader.arrivals.position()
            await shelf.store.append(lines((JOB, now_ns - 10**15, "late"), (WEB, now_ns, "second")))
            arrived = reader.arrivals.after(here, [])
            assert sorted(texts(arrived)) == ["late", "second"]
            assert (arrived.missed, arrived.more) == (False, False)
            assert arrived.position == reader.arrivals.position()
            assert texts(reader.arrivals.after(here, ONLY_WEB)) == ["second"]
            assert texts(reader.arrivals.after(here, [], containing=["cond"])) == ["second"]
            again = reader.arrivals.after(arrived.position, [])
            assert (texts(again), again.missed, again.more) == ([], False, False)
            await reader.close()

    run(scenario(), clock)


def test_who_comes_after_the_rows_were_sealed_is_told(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            await shelf.store.append(lines((WEB, clock.now_ns(), "gone")))
            await shelf.seal()
            missed = shelf.store.arrivals.after(0, [])
            assert (missed.missed, missed.position, texts(missed)) == (True, 1, [])
            await shelf.store.append(lines((WEB, clock.now_ns(), "here")))
            assert shelf.store.arrivals.after(0, []).missed
            assert not shelf.store.arrivals.after(1, []).missed

    run(scenario(), clock)


def test_much_at_once_comes_in_parts(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            for number in range(150):
                await shelf.store.append(lines((WEB, clock.now_ns(), f"{number} " + "x" * 64_000)))
            position, parts = 0, 0
            more = True
            while more:
                arrived = shelf.store.arrivals.after(position, [])
                assert not arrived.missed
                position, more = arrived.position, arrived.more
                parts += 1
            assert (position, parts) == (150, 2)

    run(scenario(), clock)


def test_sealed_rows_stay_for_a_moment_where_nothing_presses(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            loop = asyncio.create_task(shelf.store.sealing.run(clock))
            await clock.sleep(sealing.EVERY_S - 0.1)
            await shelf.store.append(lines((WEB, clock.now_ns(), "just in time")))
            await clock.sleep(0.2)
            assert texts(shelf.store.arrivals.after(0, [])) == ["just in time"]
            loop.cancel()

    run(scenario(), clock)
