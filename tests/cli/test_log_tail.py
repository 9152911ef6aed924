"""`obskit logs tail`: every line once, live, through sealing, floods and restarts; and a clean end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from obskit.cli.log_selection import parse_selection
from obskit.cli.log_tail import Tail, follow, newest
from obskit.clock import SystemClock
from obskit.errors import QueryError, QuerySyntaxError
from obskit.logql.engine import LogLine
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.store.interface import Batch
from obskit.testing.clock import FakeClock, run
from obskit.testing.logs import MemoryLogs
from tests.cli.conftest import Obskit, watch_once, write_config
from tests.store.shelf import Shelf

API, JOB = Labels({"app": "api", "source": "fly"}), Labels({"app": "job", "source": "file"})
NOW_NS = FakeClock().now_ns()
S = 10**9


def tailing(store: Any, text: str, clock: FakeClock) -> Tail:
    return Tail(store, parse_selection(text, store.logs, clock.now_ns()), clock)


def texts(lines: Iterator[LogLine]) -> list[str]:
    return [line.line for line in lines]


Scenario = Callable[[Shelf, FakeClock], Coroutine[Any, Any, None]]


def on_a_shelf(folder: Path, scenario: Scenario, clock: FakeClock | None = None) -> None:
    clock = clock or FakeClock()

    async def play() -> None:
        async with Shelf(folder, clock) as shelf:
            await scenario(shelf, clock)

    run(play(), clock)


async def put(shelf: Shelf, *rows: tuple[Labels, float, str]) -> None:
    """Lines that many seconds from now."""
    now_ns = shelf.clock.now_ns()
    await shelf.store.append(
        Batch(records=[Record(stream, now_ns + round(at_s * S), line) for stream, at_s, line in rows])
    )


def test_the_past_comes_first_and_what_is_new_after_it_once(tmp_path: Path) -> None:
    async def scenario(shelf: Shelf, clock: FakeClock) -> None:
        await put(shelf, *[(API, at - 20, f"old {at}") for at in range(5)])
        tail = tailing(shelf.store, "", clock)
        assert texts(tail.past(clock.now_ns() - 3600 * S, 2)) == ["old 3", "old 4"]
        await put(shelf, (JOB, 0, "new"), (API, -7200, "new, but late"))
        assert sorted(texts(tail.new())) == ["new", "new, but late"]
        assert texts(tail.new()) == []
        assert texts(tailing(shelf.store, "", clock).past(clock.now_ns() - 18 * S, None)) == [
            "old 2",
            "old 3",
            "old 4",
            "new",
        ]

    on_a_shelf(tmp_path, scenario)


def test_what_is_appended_while_the_past_is_read_comes_once(tmp_path: Path) -> None:
    async def scenario(shelf: Shelf, clock: FakeClock) -> None:
        await put(shelf, (API, -5, "before"))
        tail = tailing(shelf.store, "", clock)
        position = shelf.store.arrivals.position
        await put(shelf, (API, 0, "meanwhile"))
        shelf.store.arrivals.position = lambda: position() - 1  # type: ignore[method-assign]  # as if it came just after
        assert texts(tail.past(clock.now_ns() - 60 * S, 10)) == ["before", "meanwhile"]
        await put(shelf, (API, 0, "meanwhile"))
        assert texts(tail.new()) == ["meanwhile"]  # the second of two alike is not taken for the first

    on_a_shelf(tmp_path, scenario)


def test_what_was_sealed_between_two_looks_is_found_all_the_same(tmp_path: Path) -> None:
    async def scenario(shelf: Shelf, clock: FakeClock) -> None:
        tail = tailing(shelf.store, "", clock)
        assert texts(tail.past(clock.now_ns(), 10)) == []
        await put(shelf, (API, 0, "a"))
        assert texts(tail.new()) == ["a"]
        clock.advance(1)
        await put(shelf, (API, 0, "b"))
        await shelf.seal()
        await put(shelf, (JOB, 0, "c"))
        assert texts(tail.new()) == ["b", "c"]
        clock.advance(1)
        await put(shelf, (JOB, 0, "d"))
        assert texts(tail.new()) == ["d"]

    on_a_shelf(tmp_path, scenario)


@pytest.mark.parametrize(
    ("selection", "shown"),
    [
        ("", ["ok", "boom 7", "boom 9"]),
        ('|= "boom"', ["boom 7", "boom 9"]),
        ('!= "boom"', ["ok"]),
        ('{app="api"}', ["ok", "boom 7"]),
        ("api", ["ok", "boom 7"]),
        ('{source="file"} |~ "o+m" | line_format "<{{.app}}>"', ["<job>"]),
        ('| source="fly" |= "7"', ["boom 7"]),
    ],
)
def test_what_is_followed_may_be_said_in_full_or_in_short(selection: str, shown: list[str], tmp_path: Path) -> None:
    async def scenario(shelf: Shelf, clock: FakeClock) -> None:
        await put(shelf, (API, -1, "long ago"))
        tail = tailing(shelf.store, selection, clock)
        texts(tail.past(clock.now_ns(), 0))
        await put(shelf, (API, 0, "ok"), (API, 1, "boom 7"), (JOB, 2, "boom 9"))
        assert texts(tail.new()) == shown

    on_a_shelf(tmp_path, scenario)


def test_a_bare_word_is_a_service_where_there_is_no_such_app() -> None:
    logs = MemoryLogs([Record(Labels({"service_name": "checkout"}), NOW_NS, "x")])
    assert str(parse_selection("checkout", logs, NOW_NS + 1)) == '{service_name="checkout"}'
    assert str(parse_selection("nobody", logs, NOW_NS + 1)) == '{app="nobody"}'


def test_numbers_cannot_be_followed_and_a_mistake_is_told_where_it_was_written() -> None:
    with pytest.raises(QueryError, match="obskit logs query evaluates it"):
        parse_selection('rate({app="a"}[1m])', MemoryLogs(), NOW_NS)
    with pytest.raises(QuerySyntaxError, match="line 1, col 9") as wrong:
        parse_selection('|= "a" |', MemoryLogs(), NOW_NS)
    assert wrong.value.query == '|= "a" |'


def test_a_flood_is_cut_to_what_can_be_read_and_counted() -> None:
    lines = [LogLine(at, str(at), API, Labels(), Labels()) for at in range(1000)]
    skipped, kept = newest(iter(lines), 3)
    assert (skipped, texts(kept)) == (997, ["997", "998", "999"])


def test_new_lines_are_shown_within_a_second(tmp_path: Path) -> None:
    async def scenario(shelf: Shelf, clock: FakeClock) -> None:
        tail = tailing(shelf.store, "", clock)
        texts(tail.past(clock.now_ns(), 0))
        shown: list[tuple[float, str]] = []
        task = asyncio.create_task(
            follow(tail, lambda tail: shown.extend((clock.monotonic(), text) for text in texts(tail.new())), clock)
        )
        began_s = clock.monotonic()
        for number in range(3):
            await clock.sleep(5)
            await put(shelf, (API, 0, f"{number}"))
        await clock.sleep(1)
        task.cancel()
        assert [text for _, text in shown] == ["0", "1", "2"]
        assert max(at_s - began_s - 5 * (number + 1) for number, (at_s, _) in enumerate(shown)) < 1

    on_a_shelf(tmp_path, scenario)


class Running:
    """`obskit logs tail` as a process of its own, into a pipe."""

    def __init__(self, config: Path, *arguments: str) -> None:
        command = [sys.executable, "-c", "from obskit.cli.main import main; main()", "logs", "tail", *arguments]
        self.process = subprocess.Popen(
            [*command, "-c", str(config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    config = write_config(tmp_path)
    watch_once(config)
    tail = Running(config, "--raw")
    yield tail
    tail.process.kill()
    tail.process.communicate()


def test_it_goes_on_through_a_restart_of_the_daemon_and_ctrl_c_ends_it_without_a_word(
    running: Running, tmp_path: Path
) -> None:
    assert [running.line(), running.line()] == ['{"level":"error","msg":"no stock"}\n', "plain words\n"]
    for text in ("after a restart", "after another"):

        async def scenario(shelf: Shelf, _: FakeClock, text: str = text) -> None:
            await put(shelf, (API, 0, text))

        on_a_shelf(tmp_path / "data", scenario, FakeClock(SystemClock().now_ms()))
        assert running.line() == f"{text}\n"
    running.process.send_signal(signal.SIGINT)
    assert running.end() == (130, "")


def test_when_the_reader_of_the_pipe_is_gone_it_ends(running: Running) -> None:
    assert running.process.stdout is not None
    running.line()
    running.process.stdout.close()
    running.process.wait(20)
    assert running.process.returncode == 141
    assert running.process.stderr is not None
    assert running.process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["{app=}"], 1, "    1 | {app=}"),
        (["sum(1)"], 1, "obskit: "),
        (['rate({app="a"}[1m])'], 1, "obskit logs query evaluates it"),
        (["--since", "2999-01-01"], 2, "--since"),
    ],
)
def test_what_is_wrong_is_told(arguments: list[str], code: int, told: str, *, obskit: Obskit, watched: Path) -> None:
    result = obskit("logs", "tail", *arguments, "-c", watched)
    assert result.exit_code == code
    assert told in result.stderr


def test_without_a_store_it_says_so(obskit: Obskit, config: Path) -> None:
    result = obskit("logs", "tail", "-c", config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no store in" in result.stderr
