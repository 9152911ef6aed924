"""Log files: nothing lost and nothing doubled, over rotation, truncation and a collector that is killed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obskit.collect.feed import Feed
from obskit.errors import CollectorError
from obskit.testing.clock import FakeClock, run
from obskit_collectors.file import KIND, FileSettings
from obskit_collectors.file_lines import Span, lines_of
from tests.collectors.kept import Kept


def tailing(kept: Kept, clock: FakeClock, **config: Any) -> Callable[[float], Awaitable[None]]:
    """Each call starts a new collector, lets it run for some seconds, and kills it."""

    async def tail_for(seconds: float) -> None:
        collector = KIND.build(FileSettings.model_validate(config))
        task = asyncio.ensure_future(collector.run(Feed(collector.name, kept, clock)))
        await clock.sleep(seconds)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return tail_for


def write(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_reading_once_again_reads_what_is_new(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    write(log, "x" * 5_000, "the last ones", "are of interest the first time")

    async def once() -> None:
        collector = KIND.build(FileSettings(paths=[str(tmp_path / "*.log")]))
        await collector.once(Feed(collector.name, kept, clock))

    run(once(), clock)
    assert kept.lines == ["the last ones", "are of interest the first time"]
    run(once(), clock)
    write(log, "new")
    write(tmp_path / "other.log", *map(str, range(20_000)))
    run(once(), clock)
    assert kept.lines[2:] == ["new", *map(str, range(20_000))]


def test_what_is_there_at_the_first_start_is_left_and_what_follows_is_read(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    write(log, "old")

    async def scenario() -> None:
        tail = tailing(kept, clock, paths=[str(log)], labels={"app": "api"})
        await tail(1)
        write(log, "written while it was down")
        await tail(2)

    run(scenario(), clock)
    assert kept.lines == ["written while it was down"]
    assert dict(kept.records[0].stream) == {"source": "file", "filename": str(log), "app": "api"}


def test_it_can_begin_at_the_beginning(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    write(log, "one", "two")
    run(tailing(kept, clock, paths=[str(log)], start="beginning")(2), clock)
    assert kept.lines == ["one", "two"]


def test_a_line_is_read_when_it_is_complete(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    log.write_text("")

    async def scenario() -> None:
        tail = tailing(kept, clock, paths=[str(log)])
        await tail(2)
        log.write_text("half")
        await tail(4)
        assert kept.lines == []
        write(log, " and half")
        await tail(2)

    run(scenario(), clock)
    assert kept.lines == ["half and half"]


def test_a_rotated_file_is_read_to_its_end_and_the_new_one_from_its_beginning(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    write(log, "before")

    async def scenario() -> None:
        tail = tailing(kept, clock, paths=[str(log)], start="beginning")
        await tail(2)
        write(log, "last words")
        log.rename(tmp_path / "app.log.1")
        write(log, "new file")
        await tail(3)

    run(scenario(), clock)
    assert sorted(kept.lines) == ["before", "last words", "new file"]


def test_a_truncated_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    write(log, "first line of the old content", "second")

    async def scenario() -> None:
        tail = tailing(kept, clock, paths=[str(log)], start="beginning")
        await tail(2)
        log.write_text("x\n")
        await tail(2)
        log.write_text("this is longer than all that was read before it was truncated again\n")
        await tail(2)

    run(scenario(), clock)
    assert kept.lines[2:] == ["x", "this is longer than all that was read before it was truncated again"]


def test_a_file_written_anew_with_as_many_bytes_is_read_again(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    write(log, "one")

    async def scenario() -> None:
        tailed = asyncio.ensure_future(tailing(kept, clock, paths=[str(log)], start="beginning")(6))
        await clock.sleep(3)
        before = log.stat().st_mtime_ns
        log.write_text("two\n")
        os.utime(log, ns=(before + 1, before + 1))  # a file system may count time in large steps
        await tailed

    run(scenario(), clock)
    assert kept.lines == ["one", "two"]


def test_a_file_that_appears_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    kept, clock = Kept(), FakeClock()
    write(tmp_path / "a.log", "old")

    async def scenario() -> None:
        tail = tailing(kept, clock, paths=[str(tmp_path / "*.log")], exclude=[str(tmp_path / "skip*")])
        await tail(1)
        write(tmp_path / "b.log", "new")
        write(tmp_path / "skip.log", "never")
        await tail(2)

    run(scenario(), clock)
    assert kept.lines == ["new"]


def test_lines_that_belong_together_are_one_record(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    write(log, "2026-11-20 boom", "Traceback:", '  File "x"', "2026-11-20 next", "  more")
    run(tailing(kept, clock, paths=[str(log)], start="beginning", multiline=r"^\d{4}-")(4), clock)
    assert kept.lines == ['2026-11-20 boom\nTraceback:\n  File "x"', "2026-11-20 next\n  more"]


def test_a_json_line_tells_its_time_level_and_trace(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock(1_700_000_100_000)
    line = json.dumps({"ts": 1_700_000_000.5, "level": "ERROR", "msg": "no", "trace_id": "abc"})
    write(log, line, '{"time": "2023-11-14T22:13:21Z"}', '{"ts": 9e18}', "{broken", "plain")
    run(tailing(kept, clock, paths=[str(log)], start="beginning")(1), clock)
    first, second, ahead, broken, plain = kept.records
    assert (first.t_ns, dict(first.metadata)) == (1_700_000_000_500_000_000, {"level": "error", "trace_id": "abc"})
    assert first.line == line
    assert second.t_ns == 1_700_000_001_000_000_000
    assert {record.t_ns // 1_000_000_000 for record in (ahead, broken, plain)} == {1_700_000_100}


def test_a_line_without_end_is_cut_and_the_next_one_is_whole(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    log.write_text("x" * 3_000_000 + "\nnext\n")
    run(tailing(kept, clock, paths=[str(log)], start="beginning", max_line="1KiB")(3), clock)
    assert [len(line) < 1100 for line in kept.lines] == [True, True]
    assert kept.lines[0].endswith("[cut]")
    assert kept.lines[1] == "next"


@pytest.mark.parametrize(
    "line",
    [
        '{"time":NaN}',
        '{"time":"nan"}',
        '{"time":1e400}',
        '{"time":1' + "0" * 400 + "}",
        '{"time":"' + "1" * 5000 + '"}',
        '{"a":' + "[" * 60_000,
    ],
    ids=["NaN", "nan", "1e400", "a long number", "a long text", "deep"],
)
def test_no_line_however_odd_keeps_the_next_one_from_being_read(tmp_path: Path, line: str) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    write(log, line, "next")
    run(tailing(kept, clock, paths=[str(log)], start="beginning")(2), clock)
    assert kept.lines == [line, "next"]


@pytest.mark.parametrize("time", ["0.005", "12", "86400000", '"1970-01-01T00:00:00Z"'])
def test_a_number_that_is_no_time_is_not_taken_for_one(tmp_path: Path, time: str) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    write(log, f'{{"msg":"GET /","time":{time}}}')
    run(tailing(kept, clock, paths=[str(log)], start="beginning")(2), clock)
    assert kept.records[0].t_ns > 1_000_000_000 * 10**9


def test_what_a_json_line_says_can_be_written_down(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock()
    write(log, '{"level":"\\ud800","trace_id":"a\\udfffb"}')
    run(tailing(kept, clock, paths=[str(log)], start="beginning")(2), clock)
    assert kept.records[0].metadata == {"level": "\ufffd", "trace_id": "a\ufffdb"}


def test_the_first_file_may_appear_after_the_start_and_after_a_restart(tmp_path: Path) -> None:
    kept, clock = Kept(), FakeClock()

    async def scenario() -> None:
        tail = tailing(kept, clock, paths=[str(tmp_path / "*.log")])
        await tail(2)
        write(tmp_path / "a.log", "first")
        await tail(2)

    run(scenario(), clock)
    assert kept.lines == ["first"]


def test_a_file_that_appears_is_seen_within_seconds_however_long_there_was_none(tmp_path: Path) -> None:
    kept, clock = Kept(), FakeClock()

    async def scenario() -> None:
        tailed = asyncio.ensure_future(tailing(kept, clock, paths=[str(tmp_path / "*.log")])(104))
        await clock.sleep(100)
        write(tmp_path / "a.log", "first")
        await tailed

    run(scenario(), clock)
    assert kept.lines == ["first"]


def test_a_name_with_brackets_is_found_again(tmp_path: Path) -> None:
    log, kept, clock = tmp_path / "app[1].log", Kept(), FakeClock()
    write(log, "one")

    async def scenario() -> None:
        tail = tailing(kept, clock, paths=[str(tmp_path / "*.log")], start="beginning")
        await tail(2)
        write(log, "two")
        await tail(2)

    run(scenario(), clock)
    assert kept.lines == ["one", "two"]


def test_no_file_at_all_is_told(tmp_path: Path) -> None:
    collector = KIND.build(FileSettings.model_validate({"paths": [str(tmp_path / "none.log")]}))
    with pytest.raises(CollectorError, match="no file matches"):
        run(collector.once(Feed("file", Kept(), FakeClock())))


@given(st.binary(max_size=60), st.booleans())
def test_lines_cover_what_they_consume(data: bytes, whole: bool) -> None:
    spans = list(lines_of(data, 7, whole=whole))
    end = spans[-1].end if spans else 7
    assert end - 7 == (len(data) if whole and data else data.rfind(b"\n") + 1)
    assert all(isinstance(span, Span) and b"\n" not in span.text for span in spans)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["write", "rotate", "restart", "many"]), min_size=1, max_size=7))
def test_whatever_happens_every_line_is_read_once(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    folder = tmp_path_factory.mktemp("logs")
    log, kept, clock, written = folder / "app.log", Kept(), FakeClock(), [0]
    log.write_text("")

    def more(count: int) -> None:
        write(log, *(f"line {written[0] + number}" for number in range(count)))
        written[0] += count

    async def scenario() -> None:
        tail = tailing(kept, clock, paths=[str(log)])
        await tail(1)
        for number, step in enumerate(steps):
            if step == "write":
                more(1)
            elif step == "many":
                more(300)
            elif step == "rotate":
                log.rename(folder / f"app.log.{number}")
                log.write_text("")
            else:
                await tail(1)
        await tail(3)

    run(scenario(), clock)
    lost_by_two_rotations = [
        f"line {number}" for number in range(written[0]) if f"line {number}" not in set(kept.lines)
    ]
    assert len(kept.lines) == len(set(kept.lines))
    # A file that was born and rotated away while nobody looked is not known to the cursor: it cannot be found again.
    assert not lost_by_two_rotations or steps.count("rotate") > 1


def test_a_time_without_a_zone_is_the_time_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import time

    log, kept, clock = tmp_path / "app.log", Kept(), FakeClock(1_700_000_100_000)
    write(log, '{"time": "2023-11-14T17:13:20", "msg": "logged at UTC-5"}')
    monkeypatch.setenv("TZ", "Etc/GMT+5")
    time.tzset()
    try:
        run(tailing(kept, clock, paths=[str(log)], start="beginning")(1), clock)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert kept.records[0].t_ns == 1_700_000_000_000_000_000
