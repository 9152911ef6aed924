"""From what was appended to issues that last, and to the records that tell of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest

from obskit.errors import StoreFull
from obskit.grouping import telemetry
from obskit.grouping.issues import State
from obskit.grouping.keeper import MAX_WAITING, STREAM, Keeper
from obskit.grouping.settings import GroupingSettings
from obskit.model.labels import Labels
from obskit.model.records import Record
from obskit.store.database import Database
from obskit.store.interface import Batch, Touched
from obskit.testing.clock import FakeClock, run
from tests.grouping import traces

SHOP = Labels({"app": "shop"})


class Told:
    """An intake that keeps what it was given."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.full = False

    async def append(self, batch: Batch) -> None:
        if self.full:
            raise StoreFull("full")
        self.records += batch.records

    async def cursor(self, owner: str) -> str | None:
        return None

    def events(self) -> list[tuple[str, str]]:
        return [(each.metadata["event"], each.line) for each in self.records]


Scenario = Callable[[Keeper, Told], Awaitable[None]]


def scene(
    folder: Path, *scenarios: Scenario, settings: GroupingSettings | None = None, clock: FakeClock | None = None
) -> Told:
    """Each scenario has a daemon of its own, on the store of the one before."""
    clock, told = clock or FakeClock(), Told()

    async def all_of_them() -> None:
        for scenario in scenarios:
            database = Database.open(folder)
            keeper = Keeper(database, told, clock, settings or GroupingSettings())
            keeper.load()
            await scenario(keeper, told)
            await database.close()

    run(all_of_them(), clock)
    return told


def touched(
    clock_ms: int, lines: Iterable[str], metadata: dict[str, str] | None = None, stream: Labels = SHOP
) -> Touched:
    records = [Record(stream, clock_ms * 1_000_000, line, metadata or {}) for line in lines]
    return Touched(frozenset(), frozenset({stream}), clock_ms, records)


T = FakeClock().now_ms()


def test_an_error_is_new_once_and_counted_each_minute(tmp_path: Path) -> None:
    async def scenario(keeper: Keeper, told: Told) -> None:
        keeper.take(touched(T, ["all is well", *[f"ERROR cannot pay order {n}" for n in range(30)]]))
        await keeper.catch_up()
        keeper.take(touched(T + 1, [traces.PYTHON]))
        await keeper.catch_up()
        await keeper.tidy()
        await keeper.tidy()

    told = scene(tmp_path, scenario)
    failed = "shop.errors.PaymentFailed: order 1234 could not be paid"
    assert told.events() == [
        ("new", "cannot pay order <_>"),
        ("new", failed),
        ("seen", "cannot pay order <_>"),
        ("seen", failed),
    ]
    assert [each.metadata.get("count") for each in told.records] == [None, None, "30", "1"]
    assert {each.stream for each in told.records} == {STREAM}
    assert told.records[1].metadata["culprit"] == "shop/views:checkout"
    assert told.records[1].metadata["app"] == "shop"


def test_what_is_known_outlives_the_daemon(tmp_path: Path) -> None:
    async def first(keeper: Keeper, told: Told) -> None:
        keeper.take(
            touched(T, [f"ERROR cannot pay {name} now" for name in "abcdefghijkl" for _ in range(3)], {"release": "1"})
        )
        await keeper.close()
        (issue,) = keeper.book.issues.values()
        assert await keeper.change(issue.id, "resolve")
        await keeper.close()

    async def second(keeper: Keeper, told: Told) -> None:
        (issue,) = keeper.book.issues.values()
        assert (issue.count, issue.state, issue.title) == (36, State.RESOLVED, "cannot pay <_> now")
        assert (issue.first_release, len(issue.samples)) == ("1", 5)
        keeper.take(touched(T + 60_000, ["ERROR cannot pay bob now"], {"release": "1"}))
        await keeper.catch_up()
        assert issue.state is State.RESOLVED
        keeper.take(touched(T + 61_000, ["ERROR cannot pay carol now"], {"release": "2"}))
        await keeper.catch_up()
        assert list(keeper.book.issues.values()) == [issue]
        assert (issue.state, issue.count) == (State.REGRESSED, 38)
        await keeper.close()

    clock = FakeClock()
    told = scene(tmp_path, first, second, clock=clock)
    assert [event for event, _ in told.events()][-1] == "regressed"


def test_what_was_decided_and_not_told_is_told_after_a_restart(tmp_path: Path) -> None:
    async def first(keeper: Keeper, told: Told) -> None:
        told.full = True
        keeper.take(touched(T, ["ERROR cannot pay"]))
        with pytest.raises(StoreFull):
            await keeper.catch_up()
        assert not told.records

    async def second(keeper: Keeper, told: Told) -> None:
        told.full = False
        await keeper.catch_up()
        await keeper.close()

    async def third(keeper: Keeper, told: Told) -> None:
        await keeper.catch_up()

    assert scene(tmp_path, first, second, third).events() == [("new", "cannot pay")]


def test_groups_are_those_of_one_program_and_bounded(tmp_path: Path) -> None:
    async def scenario(keeper: Keeper, told: Told) -> None:
        for number in range(25):
            words = "".join(chr(97 + int(digit)) for digit in str(number)) * 2
            keeper.take(touched(T + number, [f"ERROR {words}"], stream=Labels({"app": f"app-{number % 2}"})))
        await keeper.catch_up()
        assert len(keeper.book.issues) == 10
        await keeper.close()

    async def after(keeper: Keeper, told: Told) -> None:
        assert len(keeper.book.issues) == 10
        assert min(issue.last_ms for issue in keeper.book.issues.values()) == T + 15

    scene(tmp_path, scenario, after, settings=GroupingSettings(max_groups=10))


def test_old_groups_are_forgotten(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario(keeper: Keeper, told: Told) -> None:
        keeper.take(touched(T, ["ERROR cannot pay"]))
        await keeper.catch_up()
        clock.advance(91 * 86_400)
        await keeper.tidy()
        assert not keeper.book.issues

    async def after(keeper: Keeper, told: Told) -> None:
        assert not keeper.book.issues

    scene(tmp_path, scenario, after, clock=clock)


def test_streams_are_chosen_by_selectors(tmp_path: Path) -> None:
    chosen = GroupingSettings(streams=('{app="shop", kind="audit"}',), ignore=('{app="noise"}',))

    async def scenario(keeper: Keeper, told: Told) -> None:
        keeper.take(touched(T, ["login failed"], stream=Labels({"app": "shop", "kind": "audit"})))
        keeper.take(touched(T, ["login failed"], stream=Labels({"app": "shop"})))
        keeper.take(touched(T, ["ERROR always"], stream=Labels({"app": "noise"})))
        keeper.take(touched(T, ["ERROR of our own"], stream=STREAM))
        await keeper.catch_up()

    assert scene(tmp_path, scenario, settings=chosen).events() == [("new", "login failed")]


def test_what_comes_too_fast_is_counted_and_not_kept(tmp_path: Path) -> None:
    async def scenario(keeper: Keeper, told: Told) -> None:
        before = telemetry.SKIPPED._value.get()
        much = touched(T, ["error" * 800] * (MAX_WAITING // 8_000 + 1))
        keeper.take(much)
        keeper.take(much)
        assert telemetry.SKIPPED._value.get() - before == len(much.records)
        await keeper.catch_up()
        keeper.take(much)
        assert telemetry.SKIPPED._value.get() - before == len(much.records)

    scene(tmp_path, scenario)


def test_the_loop_goes_on_by_itself(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario(keeper: Keeper, told: Told) -> None:
        import asyncio

        loop = asyncio.create_task(keeper.run())
        await clock.sleep(1)
        keeper.take(touched(T, ["ERROR cannot pay"]))
        await clock.sleep(1)
        assert told.events() == [("new", "cannot pay")]
        await clock.sleep(120)
        assert told.events() == [("new", "cannot pay"), ("seen", "cannot pay")]
        loop.cancel()

    scene(tmp_path, scenario, clock=clock)


def test_the_group_of_a_line_is_found_without_a_trace_of_the_search(tmp_path: Path) -> None:
    thrown, *said, calm = touched(
        1, [traces.PYTHON, *(f"ERROR no stock of item {at}" for at in range(3)), "all is well"]
    ).records

    async def scenario(keeper: Keeper, told: Told) -> None:
        book = keeper.book
        first = book.group_of(thrown)
        assert [book.group_of(record) for record in (said[0], calm)] == ["", ""]
        assert len(book.miner) == 0
        keeper.take(Touched(frozenset(), frozenset({SHOP}), 1, [thrown, *said[:2], calm]))
        await keeper.catch_up()
        by_kind = {issue.kind: issue.id for issue in book.issues.values()}
        assert by_kind == {"exception": first, "message": book.group_of(said[2])}
        assert book.group_of(calm) == ""

    scene(tmp_path, scenario)


def test_a_trace_that_comes_line_by_line_is_one_error(tmp_path: Path) -> None:
    clock = FakeClock()

    async def scenario(keeper: Keeper, told: Told) -> None:
        loops = asyncio.create_task(keeper.run())
        for line in traces.GO.splitlines():
            keeper.take(touched(clock.now_ms(), [line]))
            await clock.sleep(0.05)
        await clock.sleep(0.5)
        assert not keeper.book.issues
        await clock.sleep(1)
        (issue,) = keeper.book.issues.values()
        assert (issue.kind, issue.count) == ("exception", 1)
        assert issue.title.startswith("runtime error: index out of range")
        keeper.take(touched(clock.now_ms(), ["panic: again"]))
        loops.cancel()
        await asyncio.gather(loops, return_exceptions=True)
        await keeper.close()
        assert [issue.count for issue in keeper.book.issues.values()] == [1, 1]

    scene(tmp_path, scenario, clock=clock)
