"""Days become objects, their files go, and queries see every line once, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from obskit.errors import ColdError, QueryError
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, MatchOp
from obskit.model.records import NO_METADATA, Record
from obskit.model.telemetry import REGISTRY
from obskit.store.cold import slices
from obskit.store.interface import Batch
from obskit.store.log_blocks import encoded
from obskit.store.log_interface import Scan
from obskit.testing.clock import FakeClock, run
from obskit.testing.http import Failure
from obskit.testing.s3 import FakeS3, Quirk
from tests.store.shelf import Shelf, day_files

DAY_S = 86_400
DAY_NS = DAY_S * 10**9
ALL = (0, 2**62)
WEB = Labels({"source": "fly", "app": "web"})
DB = Labels({"source": "fly", "app": "db"})
EDGE = Labels({"source": "cloudflare", "zone": "a"})
BARE = Labels({"app": "none"})


def noted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"obskit_store_cold_{name}", labels) or 0.0


def at(n: int, clock: FakeClock) -> Record:
    """A line of one of four streams, some with metadata, some with odd characters, spread over an hour."""
    stream = (WEB, DB, EDGE, BARE)[n % 4]
    metadata: Mapping[str, str] = {"trace_id": f"{n:032x}", "level": "info"} if n % 3 else NO_METADATA
    text = f"line {n} " + ("\ud800 half" if n % 50 == 7 else "a\nb\0" if n % 50 == 8 else "ü" * (n % 5))
    return Record(stream, clock.now_ns() - n % 3_600 * 10**9, text, metadata)


class Cellar:
    """A store with cold storage in a folder beside it (or in a bucket), on one clock."""

    def __init__(self, path: Path, s3: FakeS3 | None = None, clock: FakeClock | None = None, **more: object) -> None:
        self.clock = clock or FakeClock()
        self.hot, self.cold = path / "hot", path / "cold"
        self.cold.mkdir(exist_ok=True)
        place = {"s3": s3.settings()} if s3 else {"folder": str(self.cold)}
        self.settings: dict[str, object] = {"cold": place, "retention": {"logs": "2d", "cold": "10d"}, **more}
        self.sent: list[Record] = []

    def shelf(self) -> Shelf:
        return Shelf(self.hot, self.clock, **self.settings)

    async def fill(self, shelf: Shelf, count: int = 400, *, back_s: float = 0) -> None:
        """Lines of this hour, or of one before."""
        records = [at(len(self.sent) + n, self.clock) for n in range(count)]
        records = [Record(r.stream, r.t_ns - int(back_s * 10**9), r.line, r.metadata) for r in records]
        await shelf.store.append(Batch(records=records))
        await shelf.seal()
        self.sent += records

    async def move(self, shelf: Shelf) -> None:
        assert shelf.store.cold is not None
        await shelf.store.cold.once(shelf.now)

    async def tidy(self, shelf: Shelf) -> None:
        """Two rounds: files go a round after they are released."""
        await shelf.store.retention.once(shelf.now)
        await shelf.store.retention.once(shelf.now)

    def check(self, shelf: Shelf) -> None:
        """Every line is there once, with all that belongs to it, in order of time."""
        found = list(shelf.store.logs.select([], *ALL))
        assert Counter(map(repr, found)) == Counter(map(repr, self.sent))
        times = [record.t_ns for record in found]
        assert times == sorted(times)
        assert [r.t_ns for r in shelf.store.logs.select([], *ALL, newest_first=True)] == sorted(times, reverse=True)


@pytest.fixture
def s3() -> Iterator[FakeS3]:
    with FakeS3(FakeClock()) as service:
        yield service


def test_a_day_is_copied_then_goes_and_is_read_from_its_copy(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cellar.fill(shelf)
            await cellar.move(shelf)
            assert not list(cellar.cold.rglob("*.parquet"))  # the day is not over
            cellar.clock.advance(DAY_S + 3_600)
            await cellar.move(shelf)
            assert len(list(cellar.cold.rglob("*.parquet"))) == 3
            cellar.check(shelf)
            await cellar.tidy(shelf)
            assert day_files(cellar.hot)
            cellar.clock.advance(2 * DAY_S)
            await shelf.store.retention.once(shelf.now)
            cellar.check(shelf)  # released, and still there
            await shelf.store.retention.once(shelf.now)
            assert not day_files(cellar.hot)
            cellar.check(shelf)
        async with cellar.shelf() as shelf:
            cellar.check(shelf)

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


async def cold_shelf(cellar: Cellar, shelf: Shelf, count: int = 400) -> None:
    """Lines, four days old and cold."""
    await cellar.fill(shelf, count)
    cellar.clock.advance(4 * DAY_S)
    await cellar.move(shelf)
    await cellar.tidy(shelf)
    assert not day_files(cellar.hot)


@pytest.mark.parametrize(
    ("matchers", "containing"),
    [
        ([], ()),
        ([Matcher("source", MatchOp.EQUAL, "fly")], ()),
        ([Matcher("app", MatchOp.EQUAL, "db")], ()),
        ([Matcher("app", MatchOp.NOT_EQUAL, "db")], ("line 1",)),
        ([Matcher("source", MatchOp.EQUAL, "")], ("ü",)),
        ([], ("\ud800 half",)),
        ([], ("line 12 ", "ü")),
        ([], ("nowhere",)),
        ([Matcher("source", MatchOp.EQUAL, "else")], ()),
    ],
)
@pytest.mark.parametrize("seconds", [(0, 2**32), (-1_800, -600)])
def test_cold_lines_are_selected_as_hot_ones_are(
    tmp_path: Path, matchers: list[Matcher], containing: tuple[str, ...], seconds: tuple[int, int]
) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            now = cellar.clock.now_ns()
            start, end = (max(now + s * 10**9, 0) if s < 0 else s * 10**9 for s in seconds)
            await cellar.fill(shelf)
            reader = shelf.store.logs
            hot = list(reader.select(matchers, start, end, containing=containing))
            streams = set(reader.streams(matchers, start, end))
            cellar.clock.advance(4 * DAY_S)
            await cellar.move(shelf)
            await cellar.tidy(shelf)
            assert not day_files(cellar.hot)
            assert list(reader.select(matchers, start, end, containing=containing)) == hot
            assert set(reader.streams(matchers, start, end)) == streams

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


def test_late_lines_of_a_cold_day_are_read_beside_it_and_become_an_object_of_their_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cold_shelf(cellar, shelf)
            await cellar.fill(shelf, 60, back_s=4 * DAY_S)
            await cellar.tidy(shelf)
            assert len(day_files(cellar.hot)) == 1
            cellar.check(shelf)
            await cellar.move(shelf)
            assert len(list(cellar.cold.rglob("*.parquet"))) == 3  # there may be more to come
            cellar.clock.advance(3_600)
            await cellar.move(shelf)
            cellar.check(shelf)
            await cellar.tidy(shelf)
            assert not day_files(cellar.hot)
            assert len(list(cellar.cold.rglob("*.parquet"))) == 6
            cellar.check(shelf)

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


def test_late_lines_of_a_day_that_is_hot_and_copied_are_copied_with_it_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cellar.fill(shelf)
            cellar.clock.advance(DAY_S + 3_600)
            await cellar.move(shelf)
            await cellar.fill(shelf, 60, back_s=DAY_S + 3_600)
            cellar.check(shelf)
            cellar.clock.advance(DAY_S)
            await cellar.tidy(shelf)
            assert day_files(cellar.hot)  # not before they are copied
            await cellar.move(shelf)
            cellar.clock.advance(DAY_S)
            await cellar.move(shelf)
            assert len(list(cellar.cold.rglob("*.parquet"))) == 3
            await cellar.tidy(shelf)
            assert not day_files(cellar.hot)
            cellar.check(shelf)

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


@pytest.mark.parametrize("step", range(1, 26))
def test_an_interruption_at_any_write_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """As a kill would: the process ends after some transaction or request, and another one goes on."""

    class Killed(BaseException):
        pass

    async def interrupted() -> None:
        shelf = cellar.shelf()
        await shelf.__aenter__()
        cold, left = shelf.store.cold, step
        assert cold is not None

        def count_down() -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Killed

        for name in ("send", "put", "delete", "verify", "get"):
            real = getattr(cold._target, name)
            monkeypatch.setattr(cold._target, name, lambda *a, real=real: (real(*a), count_down())[0])
        write = shelf.store.database.write

        async def writes(*given: object, **named: object) -> object:
            result = await write(*given, **named)  # type: ignore[arg-type]  # whatever is given
            count_down()
            return result

        monkeypatch.setattr(shelf.store.database, "write", writes)
        try:
            await cellar.move(shelf)
            await cellar.tidy(shelf)
        except Killed:
            pass
        monkeypatch.undo()
        await shelf.store.close()

    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cellar.fill(shelf, 200)
        cellar.clock.advance(4 * DAY_S)
        await interrupted()
        async with cellar.shelf() as shelf:
            cellar.check(shelf)
            await cellar.move(shelf)
            cellar.check(shelf)
            await cellar.tidy(shelf)
            assert not day_files(cellar.hot)
            cellar.check(shelf)
            assert len(list(cellar.cold.rglob("*.parquet"))) == 3

    monkeypatch.setattr(slices, "PART_BYTES", 1_000)
    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


def test_a_source_with_much_gets_several_objects_and_goes_on_with_the_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: FakeS3
) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cellar.fill(shelf, 200)
            records = [Record(WEB, shelf.clock.now_ns() - n, f"{n} " + "much " * 500) for n in range(400)]
            await shelf.store.append(Batch(records=records))
            await shelf.seal()
            cellar.sent += records
            cellar.clock.advance(2 * DAY_S)
            s3.plan(Failure(after=True), Failure(after=True, status=503), route="HEAD")
            with pytest.raises(ColdError):
                await cellar.move(shelf)
            with pytest.raises(ColdError):
                await cellar.move(shelf)
            cellar.check(shelf)
            s3.plan(*[Failure(status=503)] * 2, route="PUT")
        async with cellar.shelf() as shelf:
            for _ in range(2):
                with pytest.raises(ColdError):
                    await cellar.move(shelf)
            await cellar.move(shelf)
            puts = [request.path for request in s3.requests if request.method == "PUT" and "parquet" in request.path]
            objects = [key for key in s3.objects if key.endswith(".parquet")]
            assert len(objects) > 3
            assert len(puts) == len(objects) + 4
            cellar.clock.advance(DAY_S)
            await cellar.tidy(shelf)
            assert not day_files(cellar.hot)
            cellar.check(shelf)

    monkeypatch.setattr(slices, "PART_BYTES", 1_000)
    monkeypatch.setattr(slices, "GROUP_BYTES", 1_000)
    cellar = Cellar(tmp_path, s3, clock=s3_clock(s3))
    run(scenario(), cellar.clock)


def s3_clock(s3: FakeS3) -> FakeClock:
    assert isinstance(s3._clock, FakeClock)
    return s3._clock


@pytest.mark.parametrize("quirk", [Quirk.EXPIRED, Quirk.CUT_UPLOADS, Quirk.LATE_OBJECTS, Quirk.FLIPPED_BIT])
def test_a_hot_file_stays_until_its_copy_is_verified(tmp_path: Path, s3: FakeS3, quirk: Quirk) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cellar.fill(shelf)
            cellar.clock.advance(4 * DAY_S)
            s3.quirks.add(quirk)
            for _ in range(3):
                with pytest.raises(ColdError):
                    await cellar.move(shelf)
                await cellar.tidy(shelf)
                assert day_files(cellar.hot)
                cellar.check(shelf)
            s3.quirks.clear()
            await cellar.move(shelf)
            await cellar.tidy(shelf)
            assert not day_files(cellar.hot)
            cellar.check(shelf)

    cellar = Cellar(tmp_path, s3, clock=s3_clock(s3))
    run(scenario(), cellar.clock)


def test_another_machine_finds_everything_in_the_bucket(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cold_shelf(cellar, shelf)
        other.sent = cellar.sent.copy()
        async with other.shelf() as shelf:
            assert list(shelf.store.logs.select([], *ALL)) == []
            await other.move(shelf)
            other.check(shelf)
            await other.fill(shelf, 40, back_s=4 * DAY_S)  # a late line there, whose head rows begin anew
            other.check(shelf)
            other.clock.advance(3_600)
            await other.move(shelf)
            other.clock.advance(3_600)
            await other.move(shelf)
            await other.tidy(shelf)
            assert not day_files(other.hot)
            other.check(shelf)
        async with cellar.shelf() as shelf:  # the old one does not write to it any more
            with pytest.raises(ColdError, match="belongs to another obskit"):
                await cellar.move(shelf)
            assert list(shelf.store.logs.select([], *ALL))

    cellar = Cellar(tmp_path)
    other = Cellar(tmp_path, clock=cellar.clock)
    other.hot = tmp_path / "other"
    run(scenario(), cellar.clock)


def test_a_lost_main_db_is_made_good_by_files_and_manifest(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cold_shelf(cellar, shelf)
            await cellar.fill(shelf, 100)
            cellar.clock.advance(DAY_S + 3_600)
            await cellar.move(shelf)
        for path in cellar.hot.glob("main.db*"):
            path.unlink()
        async with cellar.shelf() as shelf:
            await cellar.fill(shelf, 10)
            await cellar.move(shelf)
            cellar.check(shelf)  # one day cold, one both
            cellar.clock.advance(2 * DAY_S)
            await cellar.move(shelf)
            await cellar.tidy(shelf)
            cellar.check(shelf)

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


def test_objects_that_are_too_old_go_from_manifest_and_bucket(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cold_shelf(cellar, shelf)
            cellar.clock.advance(8 * DAY_S)
            await cellar.move(shelf)
            assert [path.name for path in cellar.cold.rglob("*")] == ["manifest.json"]
            assert json.loads((cellar.cold / "manifest.json").read_text())["days"] == []
            assert list(shelf.store.logs.select([], *ALL)) == []

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


@pytest.mark.parametrize("damage", ["missing", "flipped", "short", "garbage"])
def test_a_broken_object_is_reported_once_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cold_shelf(cellar, shelf)
            (path,) = cellar.cold.rglob("source=fly/*.parquet")
            data = path.read_bytes()
            if damage == "missing":
                path.unlink()
            elif damage == "flipped":
                path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
            else:
                path.write_bytes(data[:-30] if damage == "short" else b"x" * len(data))
            for _ in range(2):
                found = list(shelf.store.logs.select([], *ALL))
                assert {record.stream for record in found} == {EDGE, BARE}
            assert caplog.text.count("cannot be read") == 1

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


def test_a_broken_hot_file_is_made_good_by_its_copy(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cellar.fill(shelf)
            cellar.clock.advance(DAY_S + 3_600)
            await cellar.move(shelf)
        day_files(cellar.hot)[0].write_bytes(b"not a database" * 1_000)
        async with cellar.shelf() as shelf:
            cellar.check(shelf)

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


def test_a_broken_hot_file_gives_way_to_its_copy_when_late_lines_come(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cellar.fill(shelf)
            cellar.clock.advance(DAY_S + 3_600)
            await cellar.move(shelf)
        day_files(cellar.hot)[0].write_bytes(b"not a database" * 1_000)
        async with cellar.shelf() as shelf:
            await cellar.fill(shelf, 40, back_s=DAY_S + 3_600)
            cellar.check(shelf)
            cellar.clock.advance(2 * DAY_S)
            await cellar.move(shelf)
            cellar.clock.advance(3_600)
            await cellar.move(shelf)
            await cellar.tidy(shelf)
            assert not day_files(cellar.hot)
            cellar.check(shelf)

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


def test_sources_with_an_age_of_their_own_are_not_copied(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cold_shelf(cellar, shelf)
            assert {r.stream for r in shelf.store.logs.select([], *ALL)} == {EDGE, BARE}

    retention = {"logs": "2d", "cold": "10d", "sources": {"fly": {"age": "1d"}}}
    cellar = Cellar(tmp_path, retention=retention)
    run(scenario(), cellar.clock)


def test_a_full_disk_costs_nothing_that_is_copied(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            for _ in range(5):
                now = shelf.clock.now_ns()
                records = [Record(WEB, now + n, f"{n} {random.randbytes(30_000).hex()}") for n in range(120)]
                await shelf.store.append(Batch(records=records))
                cellar.sent += records
                await shelf.seal()
                cellar.clock.advance(DAY_S)
                await shelf.store.retention.once(shelf.now)
                cellar.clock.advance(3_600)
                await cellar.move(shelf)
            assert len(day_files(cellar.hot)) < 5
            cellar.check(shelf)

    cellar = Cellar(tmp_path, max_size="16MB", retention={"logs": "30d"}, max_line="100kB")
    run(scenario(), cellar.clock)


def test_a_query_tells_how_far_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cold_shelf(cellar, shelf)
            await cellar.fill(shelf)
            scan = Scan()
            blocks = shelf.store.logs.blocks([], *ALL, scan=scan)
            assert scan.progress.bytes_total == sum(len(encoded(record.line)) for record in cellar.sent)
            assert sum(len(block.chosen) for block in blocks) == 800
            assert scan.progress.bytes_read == pytest.approx(scan.progress.bytes_total, rel=0.1)
            stopped = Scan()
            blocks = shelf.store.logs.blocks([], *ALL, scan=stopped)
            stopped.progress.stop()
            with pytest.raises(QueryError):
                list(blocks)

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


def test_what_is_read_next_is_fetched_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: FakeS3) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            records = [Record(WEB, shelf.clock.now_ns() - n, f"{n} " + "much " * 500) for n in range(1_000)]
            await shelf.store.append(Batch(records=records))
            await shelf.seal()
            cellar.clock.advance(4 * DAY_S)
            await cellar.move(shelf)
            await cellar.tidy(shelf)
            s3.requests.clear()
            blocks = shelf.store.logs.blocks([], *ALL)
            next(blocks)
            assert s3.wait_for(lambda: len(s3.requests) > 3)  # a footer, and more than one row group
            assert sum(len(block.chosen) for block in blocks) < 1_000
            assert len([r for r in s3.requests if "range" in r.headers]) == len(s3.requests)
            assert len({r.headers["range"] for r in s3.requests}) == len(s3.requests)  # none twice

    monkeypatch.setattr(slices, "GROUP_BYTES", 100_000)
    cellar = Cellar(tmp_path, s3, clock=s3_clock(s3))
    run(scenario(), cellar.clock)


def test_a_cold_text_that_is_not_worth_it_is_left_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cold_shelf(cellar, shelf)
            seen: list[bytes] = []
            scan = Scan(worth=lambda text: seen.append(text) or b"zone" in text)  # type: ignore[func-returns-value]
            blocks = list(shelf.store.logs.blocks([Matcher("source", MatchOp.EQUAL, "cloudflare")], *ALL, scan=scan))
            assert {line for text in seen for line in text.split(b"\n")} > {b"line 2 \xc3\xbc\xc3\xbc"}
            assert not blocks

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


def test_minutes_that_are_cold_are_not_counted_from_the_table(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cold_shelf(cellar, shelf)
            await cellar.fill(shelf)
            minute = 60 * 10**9
            now = cellar.clock.now_ns() // minute * minute + 1
            counts = shelf.store.logs.counts([], now - 70 * minute, now + minute)
            assert counts is not None
            assert sum(int(lines.sum()) for _, _, lines, _ in counts) == 400
            assert shelf.store.logs.counts([], now - 10 * 1440 * minute, now + minute) is None

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


def test_the_loop_tells_a_failure_once_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cellar.fill(shelf)
            cellar.clock.advance(2 * DAY_S)
            cellar.cold.rename(tmp_path / "unmounted")
            assert shelf.store.cold is not None
            before = noted("errors_total", reason="missing")
            loop = asyncio.create_task(shelf.store.cold.run())
            await cellar.clock.sleep(900)
            assert caplog.text.count("are not copied") == 1
            assert noted("errors_total", reason="missing") > before + 1
            stuck = noted("last_success_timestamp_seconds")
            (tmp_path / "unmounted").rename(cellar.cold)
            await cellar.clock.sleep(900)
            assert noted("last_success_timestamp_seconds") > stuck
            assert noted("backlog_days") == 0
            assert noted("bytes") > 0
            loop.cancel()
            cellar.check(shelf)

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)


def test_without_a_target_cold_days_are_reported_not_fatal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with cellar.shelf() as shelf:
            await cold_shelf(cellar, shelf)
            await cellar.fill(shelf, 10)
        async with Shelf(cellar.hot, cellar.clock) as shelf:
            assert len(list(shelf.store.logs.select([], *ALL))) == 10
            assert "store.cold says nothing of it" in caplog.text

    cellar = Cellar(tmp_path)
    run(scenario(), cellar.clock)
