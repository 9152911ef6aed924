"""Sealing: whatever is appended is selected, once, wherever it lies; and nothing of it is in anybody's way."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.errors import QueryError
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp, match_all
from obskit.model.records import Record
from obskit.model.telemetry import REGISTRY
from obskit.store import arrival, block_cutting, sealing
from obskit.store.day_file import DAY_NS, DayFile
from obskit.store.embedded import EmbeddedStore
from obskit.store.interface import Batch
from obskit.store.log_interface import MINUTE_NS, Records
from obskit.testing.clock import FakeClock, run
from tests.store.shelf import Shelf, block_of, day_files, lines

WEB, JOB = Labels({"app": "web", "source": "fly"}), Labels({"app": "job", "source": "cloudflare"})
ONLY_WEB = [Matcher("app", MatchOp.EQUAL, "web")]
ALL = (0, 2**62)
NOW_NS = FakeClock().now_ns() // DAY_NS * DAY_NS + DAY_NS // 2
TEXTS = ["", "plain", "two\nlines", "a\x00b", "half \ud83d", "größe", '{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}']

rows = st.lists(
    st.tuples(st.sampled_from([WEB, JOB]), st.integers(-40, 2), st.sampled_from(TEXTS), st.booleans()), max_size=8
)
actions = st.lists(
    st.one_of(rows, st.sampled_from(["seal", "seal", "reopen", "retain"])), min_size=1, max_size=12
)  # fmt: skip


def found(store: EmbeddedStore, **how: object) -> Counter[tuple[Labels, int, str, str]]:
    records = store.logs.select([], *ALL, **how)  # type: ignore[arg-type]  # keywords of select
    return Counter((one.stream, one.t_ns, one.line, one.metadata.get("k", "")) for one in records)


@given(actions, st.sampled_from([30, block_cutting.OWN_BYTES]))
@settings(max_examples=60, deadline=None)
def test_what_is_selected_is_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str | list[tuple[Labels, int, str, bool]]], own_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    clock = FakeClock(NOW_NS // 10**6)

    async def scenario() -> None:
        wanted: Counter[tuple[Labels, int, str, str]] = Counter()
        left = list(actions)
        while left:
            async with Shelf(folder, clock) as shelf:
                while left:
                    action = left.pop(0)
                    if isinstance(action, list):
                        records = [
                            Record(stream, NOW_NS + hours * DAY_NS // 24, text, {"k": text} if extra else {})
                            for stream, hours, text, extra in action
                        ]
                        await shelf.store.append(Batch(records=records))
                        wanted.update((one.stream, one.t_ns, one.line, one.metadata.get("k", "")) for one in records)
                    elif action == "seal":
                        await shelf.seal()
                    elif action == "retain":
                        await shelf.store.retention.once(shelf.now)
                    else:
                        break
                    check(shelf.store, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrival, "OWN_BYTES", own_bytes)
        run(scenario(), clock)


@given(
    st.lists(
        st.one_of(
            st.just("seal"), st.lists(st.tuples(st.sampled_from([WEB, JOB]), st.integers(0, 5)), min_size=1, max_size=8)
        ),
        max_size=10,
    )
)
@settings(max_examples=60, deadline=None)
def test_lines_of_one_time_stay_in_order_of_arrival(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str | list[tuple[Labels, int]]]
) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path_factory.mktemp("logs")) as shelf:
            given_lines: list[Record] = []
            for action in actions:
                if isinstance(action, str):
                    await shelf.seal()
                    continue
                batch = [Record(stream, t_ns, str(len(given_lines) + n)) for n, (stream, t_ns) in enumerate(action)]
                given_lines += batch
                await shelf.store.append(Batch(records=batch))
            for stream in (WEB, JOB):
                matchers = [Matcher("app", MatchOp.EQUAL, stream["app"])]
                wanted = sorted((one for one in given_lines if one.stream == stream), key=lambda one: one.t_ns)
                assert list(shelf.store.logs.select(matchers, *ALL)) == wanted
                assert list(shelf.store.logs.select(matchers, *ALL, newest_first=True)) == wanted[::-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrival, "OWN_BYTES", 6)
        run(scenario())


def check(store: EmbeddedStore, wanted: Counter[tuple[Labels, int, str, str]]) -> None:
    assert found(store) == wanted
    newest = [record.t_ns for record in store.logs.select([], *ALL, newest_first=True)]
    assert newest == sorted(newest, reverse=True)
    only = store.logs.select(ONLY_WEB, NOW_NS - DAY_NS, NOW_NS, containing=["4bf92f3577b34da6a3ce929d0e0e4736"])
    inside = {
        key: count
        for key, count in wanted.items()
        if key[0] == WEB and NOW_NS - DAY_NS <= key[1] < NOW_NS and "4bf9" in key[2]
    }
    assert Counter((one.stream, one.t_ns, one.line, one.metadata.get("k", "")) for one in only) == inside
    start = (NOW_NS - DAY_NS) // MINUTE_NS * MINUTE_NS + 1
    counts = store.logs.counts([], start, start + DAY_NS)
    assert counts is not None
    totals = {stream: int(lines.sum()) for stream, _, lines, _ in counts}
    expected = Counter[Labels]()
    for (stream, t_ns, _, _), count in wanted.items():
        if start <= t_ns < start + DAY_NS:
            expected[stream] += count
    assert totals == expected
    streams = store.logs.streams([], NOW_NS, NOW_NS + 1)
    assert set(streams) == {key[0] for key in wanted if key[1] == NOW_NS}


def test_a_crash_between_the_two_files_neither_loses_nor_doubles(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.store.append(lines((WEB, shelf.clock.now_ns(), "first"), (WEB, shelf.clock.now_ns(), "second")))
            database = shelf.store.database
            kept = database.read("SELECT * FROM log_head")
            await shelf.seal()
            marks = ",".join("?" * len(kept[0]))
            await database.write(lambda tx: tx.execute(f"INSERT INTO log_head VALUES ({marks})", kept[0]))
            assert [record.line for record in shelf.store.logs.select([], *ALL)] == ["first", "second"]
        async with Shelf(tmp_path) as shelf:
            await shelf.store.append(lines((WEB, shelf.clock.now_ns(), "third")))
            for _ in range(2):
                assert sorted(record.line for record in shelf.store.logs.select([], *ALL)) == [
                    "first",
                    "second",
                    "third",
                ]
                await shelf.seal()
            assert shelf.store.database.read("SELECT count(*) FROM log_head") == [(0,)]

    run(scenario())


def test_a_main_db_from_a_copy_goes_on_where_the_day_files_are(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()

    async def scenario() -> None:
        async with Shelf(tmp_path / "store") as shelf:
            now = shelf.clock.now_ns()
            await shelf.store.append(lines((WEB, now, "one")))
            await shelf.seal()
            with sqlite3.connect(copy / "main.db") as target:
                shelf.store.database._reader.backup(target)
            target.close()
            await shelf.store.append(lines((JOB, now, "two"), (WEB, now, "three")))
            await shelf.seal()
        for path in day_files(tmp_path / "store"):
            path.rename(copy / path.name)
        async with Shelf(copy) as shelf:
            other = Labels({"app": "other"})
            await shelf.store.append(lines((other, now, "four"), (JOB, now, "five")))
            for _ in range(2):
                found = {(record.stream, record.line) for record in shelf.store.logs.select([], *ALL)}
                assert found == {(WEB, "one"), (JOB, "two"), (WEB, "three"), (other, "four"), (JOB, "five")}
                await shelf.seal()

    run(scenario())


def test_a_file_of_another_main_db_is_put_aside(tmp_path: Path) -> None:
    async def scenario() -> None:
        for stream in (WEB, JOB):
            async with Shelf(tmp_path / stream["app"]) as shelf:
                await shelf.store.append(lines((stream, shelf.clock.now_ns(), "one")))
                await shelf.seal()
        (file,) = day_files(tmp_path / "web")
        file.rename(tmp_path / "job" / file.name)
        async with Shelf(tmp_path / "job") as shelf:
            await shelf.store.append(lines((JOB, shelf.clock.now_ns(), "two")))
            assert [(record.stream, record.line) for record in shelf.store.logs.select([], *ALL)] == [(JOB, "two")]
            assert len(asides(tmp_path / "job")) == 1

    run(scenario())


def test_many_streams_of_few_lines_share_blocks(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, max_streams=20_000) as shelf:
            streams = [Labels({"app": "web", "pod": str(n)}) for n in range(10_000)]
            for _ in range(3):
                records = Records()
                for number, stream in enumerate(streams):
                    records.add(stream, shelf.clock.now_ns() + number, f"a line of pod {number}")
                await shelf.store.append(Batch(records=records))
                await shelf.seal()
            (file,) = day_files(tmp_path)
            with sqlite3.connect(file) as connection:
                ((blocks,),) = connection.execute("SELECT count(*) FROM block")
            connection.close()
            assert blocks <= 5
            of_one = [Matcher("pod", MatchOp.EQUAL, "77")]
            assert [record.line for record in shelf.store.logs.select(of_one, *ALL)] == ["a line of pod 77"] * 3

    run(scenario())


def test_small_blocks_of_a_day_become_large_ones(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            for minute in range(60):
                shelf.clock.advance(1)
                await shelf.store.append(lines((WEB, shelf.clock.now_ns(), f"{minute} " + "x" * 20_000)))
                await shelf.seal()
            (file,) = day_files(tmp_path)
            with sqlite3.connect(file) as connection:
                ((blocks, open_blocks),) = connection.execute("SELECT count(*), sum(open) FROM block")
            connection.close()
            assert blocks <= 60 * 20_000 / block_cutting.OWN_BYTES + 1
            assert open_blocks <= 1
            assert [int(record.line.split()[0]) for record in shelf.store.logs.select([], *ALL)] == list(range(60))

    run(scenario())


def test_a_broken_block_is_reported_once_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            before = REGISTRY.get_sample_value("obskit_store_corrupt_total") or 0
            now = shelf.clock.now_ns()
            texts = [f"{n} {'x' * 400}" for n in range(2_000)]
            await shelf.store.append(lines(*((WEB, now + n, text) for n, text in enumerate(texts))))
            await shelf.seal()
            (file,) = day_files(tmp_path)
            with sqlite3.connect(file) as connection:
                ((first, text),) = connection.execute("SELECT id, text FROM body ORDER BY id LIMIT 1")
                broken = bytes([*text[:-20], text[-20] ^ 255, *text[-19:]])
                connection.execute("UPDATE body SET text = ? WHERE id = ?", (broken, first))
            connection.close()
            for _ in range(2):
                left = [record.line for record in shelf.store.logs.select([], *ALL)]
                assert 0 < len(left) < 2_000
                assert left == texts[-len(left) :]
            assert (REGISTRY.get_sample_value("obskit_store_corrupt_total") or 0) == before + 2
            await shelf.store.append(lines((WEB, now + 5_000, "later")))
            await shelf.seal()
            assert [record.line for record in shelf.store.logs.select([], now + 5_000, now + 5_001)] == ["later"]

    run(scenario())
    assert caplog.text.count("log lines cannot be read") == 1


def asides(folder: Path) -> list[Path]:
    return list(folder.glob("*.broken-1"))


@pytest.mark.parametrize("damage", ["garbage", "missing"])
def test_a_broken_or_missing_file_is_left_out(tmp_path: Path, damage: str) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            now = shelf.clock.now_ns()
            await shelf.store.append(lines((WEB, now - DAY_NS, "yesterday"), (WEB, now, "today")))
            await shelf.seal()
        yesterday, _ = day_files(tmp_path)
        if damage == "missing":
            yesterday.unlink()
        else:
            yesterday.write_bytes(b"not a database" * 1_000)
        async with Shelf(tmp_path) as shelf:
            assert [record.line for record in shelf.store.logs.select([], *ALL)] == ["today"]
            assert shelf.store.logs.streams([], *ALL) == [WEB]
            await shelf.store.retention.once(shelf.now)
            await shelf.store.append(lines((WEB, now, "more"), (WEB, now - DAY_NS, "late")))
            await shelf.seal()
            assert shelf.store.database.read("SELECT count(*) FROM log_head") == [(0,)]
            assert len(list(asides(tmp_path))) == (damage == "garbage")
            assert {record.line for record in shelf.store.logs.select([], *ALL)} == {"today", "more", "late"}

    run(scenario())


@pytest.mark.parametrize("left", ["empty", "journal"])
def test_a_file_whose_making_was_interrupted_is_made_anew(tmp_path: Path, left: str) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            await shelf.store.append(lines((WEB, shelf.clock.now_ns(), "one")))
            await shelf.seal()
            (file,) = day_files(tmp_path)
        interrupt(file, journal=left == "journal")
        async with Shelf(tmp_path) as shelf:
            await shelf.store.append(lines((WEB, shelf.clock.now_ns(), "two")))
            for _ in range(2):
                assert [record.line for record in shelf.store.logs.select([], *ALL)] == ["two"]
                await shelf.store.retention.once(shelf.now)
                await shelf.seal()
            assert asides(tmp_path) == []

    run(scenario())


def interrupt(file: Path, *, journal: bool) -> None:
    """Leave what a kill during the making of a file leaves: nothing, or a page with a journal that takes it back."""
    file.unlink()
    if not journal:
        file.touch()
        return
    work = file.with_name("work.db")
    with sqlite3.connect(work, isolation_level=None) as connection:
        connection.execute("CREATE TABLE before (x)")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DROP TABLE before")
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 3_000,)] * 50)  # spills: the journal is hot
        file.write_bytes(work.read_bytes())
        file.with_name(file.name + "-journal").write_bytes(work.with_name("work.db-journal").read_bytes())
        connection.execute("ROLLBACK")
    connection.close()


def test_lines_of_days_to_come_wait_in_the_head(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            far = shelf.clock.now_ns() + 400 * DAY_NS
            await shelf.store.append(lines((WEB, far, "from a wrong clock"), (WEB, shelf.clock.now_ns(), "now")))
            await shelf.seal()
            assert len(day_files(tmp_path)) == 1
            assert [record.line for record in shelf.store.logs.select([], *ALL)] == ["now", "from a wrong clock"]

    run(scenario())


def test_a_sealing_that_was_overtaken_writes_nothing(tmp_path: Path) -> None:
    """One that is cancelled goes on in its thread, beside the next one."""
    blocks = list(block_cutting.blocks_of([block_of([Record(WEB, 7, "once")], [1])]))
    file = DayFile(tmp_path / "logs-19700101.db")
    assert [file.seal((0, 5), [], blocks, [(1, "{}")]) for _ in range(2)] == [True, False]
    assert (file.sealed(), len(file.stored())) == (5, 1)
    file.close()


@pytest.mark.parametrize(
    ("limit", "value", "reason"), [("max_bytes", "1MB", "reads more"), ("max_time", "100ms", "took more")]
)
def test_a_query_that_costs_too_much_is_ended(tmp_path: Path, limit: str, value: str, reason: str) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, query={limit: value}) as shelf:
            now = shelf.clock.now_ns()
            await shelf.store.append(lines(*((WEB, now + n, f"{n} {'x' * 1_000}") for n in range(3_000))))
            await shelf.seal()
            blocks = shelf.store.logs.blocks([], *ALL)
            next(blocks)
            shelf.clock.advance(0.2)
            with pytest.raises(QueryError, match=f"{reason}.*{limit}"):
                list(blocks)

    run(scenario())


def test_the_loop_seals_after_a_minute_or_when_there_is_much(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            loop = asyncio.create_task(shelf.store.sealing.run(clock))
            await shelf.store.append(lines((WEB, clock.now_ns(), "one")))
            await clock.sleep(sealing.EVERY_S / 2)
            assert not day_files(tmp_path)
            await clock.sleep(sealing.EVERY_S)
            assert shelf.store.database.read("SELECT count(*) FROM log_head") == [(0,)]
            text = "y" * 60_000
            started = clock.now_ms()
            for number in range(sealing.SEAL_BYTES // 60_000 + 2):
                await shelf.store.append(lines((WEB, clock.now_ns() + number, text)))
            while shelf.store.database.read("SELECT count(*) FROM log_head") != [(0,)]:
                await clock.sleep(0.1)
            assert clock.now_ms() - started < sealing.EVERY_S * 1000 / 2
            loop.cancel()

    clock = FakeClock()
    run(scenario(), clock)


def test_a_source_may_have_an_age_of_its_own(tmp_path: Path) -> None:
    sources = {"fly": {"age": "1d"}, "cloudflare": {"max_size": "1MB"}}

    async def scenario() -> None:
        async with Shelf(tmp_path, retention={"sources": sources}) as shelf:
            now = shelf.clock.now_ns()
            for day in range(5):
                t_ns = now - day * DAY_NS
                await shelf.store.append(lines(*((WEB, t_ns + n, f"{day} {'x' * 300}") for n in range(600))))
                await shelf.store.append(lines((JOB, t_ns, f"{day} few"), (WEB, t_ns, f"{day} shared")))
            await shelf.seal()
            await shelf.store.retention.once(shelf.now)
            left = {(record.stream, record.line[0]) for record in shelf.store.logs.select([], *ALL)}
            assert {line for stream, line in left if stream == WEB} == {"0", "1"} or {"0"}
            assert {line for stream, line in left if stream == JOB} == {"0", "1", "2", "3", "4"}

    run(scenario())


@pytest.mark.parametrize("size", [50, 20_000], ids=["few", "bulk"])
def test_two_weeks_leave_head_files_and_memory_flat(tmp_path: Path, size: int) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock, retention={"logs": "7d"}) as shelf:
            sizes, memory = [], []
            tracemalloc.start()
            for _ in range(14 * 6):
                clock.advance(14_400)
                now = clock.now_ns()
                rows = [(WEB, now + n, f"{n} of {now} {n % 7 * 'x' * size}"[:size]) for n in range(20)]
                await shelf.store.append(lines(*rows, (JOB, now, "one")))
                await shelf.seal()
                await shelf.store.retention.once(shelf.now)
                sizes.append(shelf.store.database.file_bytes())
                memory.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()
            assert max(sizes[-12:]) <= max(sizes[:24]) * 1.2
            assert max(memory[-12:]) <= max(memory[:48]) + 1_000_000
            assert len(day_files(tmp_path)) <= 9
            assert all(path.stat().st_size < 10_000_000 for path in day_files(tmp_path))
            oldest = next(shelf.store.logs.select([], *ALL)).t_ns
            assert clock.now_ns() - oldest <= 8 * DAY_NS

    clock = FakeClock()
    run(scenario(), clock)


def test_select_matches_streams_in_shared_blocks(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            now = shelf.clock.now_ns()
            await shelf.store.append(lines(*((WEB if n % 2 else JOB, now + n, str(n)) for n in range(50))))
            await shelf.seal()
            records = list(shelf.store.logs.select(ONLY_WEB, *ALL))
            assert [record.line for record in records] == [str(n) for n in range(50) if n % 2]
            assert all(match_all(ONLY_WEB, record.stream) for record in records)

    run(scenario())


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
