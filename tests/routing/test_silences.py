"""Silences: their states, how they change, and that they are there after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from obskit.model.alert_matchers import parse_matchers
from obskit.model.labels import Labels
from obskit.model.telemetry import REGISTRY
from obskit.routing.silences import (
    RETENTION_MS,
    Silence,
    SilenceRefused,
    Silences,
    SilenceState,
    SilenceUnknown,
)
from obskit.store.database import Database
from obskit.testing.clock import FakeClock, run

HOUR = 3_600_000


def silence(clock: FakeClock, start_ms: int = 0, length_ms: int = HOUR, matchers: str = "team=db") -> Silence:
    now_ms = clock.now_ms()
    return Silence(parse_matchers(matchers), now_ms + start_ms, now_ms + start_ms + length_ms, "ann", "deploy")


def kept(folder: Path, scenario: Callable[[Silences, FakeClock], Awaitable[None]]) -> None:
    """A scenario on a store, on the clock that jumps."""
    clock = FakeClock()

    async def whole() -> None:
        database = Database.open(folder, reserve_bytes=0)
        try:
            await scenario(Silences(database, clock), clock)
        finally:
            await database.close()

    run(whole(), clock)


def test_it_keeps_quiet_what_it_covers_while_it_lasts(tmp_path: Path) -> None:
    async def scenario(silences: Silences, clock: FakeClock) -> None:
        its_id = await silences.set(silence(clock, start_ms=HOUR))
        db, web = Labels({"team": "db"}), Labels({"team": "web"})
        found = []
        for _ in range(3):
            found.append((silences.silencing(db, clock.now_ms()), silences.silencing(web, clock.now_ms())))
            await clock.sleep(3_601)
        assert found == [((), ()), ((its_id,), ()), ((), ())]

    kept(tmp_path, scenario)


def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    written = []

    async def before(silences: Silences, clock: FakeClock) -> None:
        told = replace(silence(clock, matchers='a=~"x|y",b!="1",c!~z'), annotations={"ticket": "7"})
        await silences.set(told)
        written.extend(silences.all())

    async def after(silences: Silences, _: FakeClock) -> None:
        assert silences.all() == written
        assert silences.get(written[0].id) == written[0]

    kept(tmp_path, before)
    kept(tmp_path, after)


@pytest.mark.parametrize(
    ("start_ms", "change", "same"),
    [
        (0, {"ends_ms": 2 * HOUR}, True),
        (0, {"comment": "longer"}, True),
        (0, {"matchers": parse_matchers("team=web")}, False),
        (0, {"starts_ms": HOUR // 2}, False),
        (HOUR, {"starts_ms": HOUR // 2}, True),
        (HOUR, {"starts_ms": 0}, True),
        (HOUR, {"starts_ms": -5_000}, False),
        (HOUR, {"matchers": parse_matchers("team=web")}, False),
    ],
)
def test_a_change_that_would_rewrite_the_past_makes_a_new_one(
    tmp_path: Path, start_ms: int, change: dict[str, object], same: bool
) -> None:
    async def scenario(silences: Silences, clock: FakeClock) -> None:
        now_ms = clock.now_ms()
        old = silences.get(await silences.set(silence(clock, start_ms)))
        assert old is not None
        times = {key: now_ms + value for key, value in change.items() if isinstance(value, int)}
        new = replace(old, **{**change, **times})  # type: ignore[arg-type]  # fields by name
        its_id = await silences.set(new)
        assert (its_id == old.id) is same
        await clock.sleep(0.01)
        states = {each.id: each.state(clock.now_ms()) for each in silences.all()}
        assert len(states) == (1 if same else 2)
        assert same or states[old.id] is SilenceState.EXPIRED
        changed = silences.get(its_id)
        assert changed is not None
        assert changed.starts_ms >= now_ms

    kept(tmp_path, scenario)


def test_an_expired_one_is_renewed_as_a_new_one(tmp_path: Path) -> None:
    async def scenario(silences: Silences, clock: FakeClock) -> None:
        its_id = await silences.set(silence(clock))
        await silences.expire(its_id)
        await silences.expire(its_id)
        old = silences.get(its_id)
        assert old is not None
        assert old.state(clock.now_ms()) is SilenceState.EXPIRED
        assert await silences.set(replace(silence(clock), id=its_id)) != its_id
        assert silences.get(its_id) == old

    kept(tmp_path, scenario)


def test_a_pending_one_that_is_expired_never_began(tmp_path: Path) -> None:
    async def scenario(silences: Silences, clock: FakeClock) -> None:
        await silences.expire(await silences.set(silence(clock, start_ms=HOUR)))
        (only,) = silences.all()
        assert only.state(clock.now_ms()) is SilenceState.EXPIRED
        assert silences.silencing(Labels({"team": "db"}), clock.now_ms()) == ()

    kept(tmp_path, scenario)


@pytest.mark.parametrize(
    ("start_ms", "length_ms", "matchers", "message"),
    [
        (0, 0, "a=b", "Failed to create silence: start time must be before end time"),
        (-2 * HOUR, HOUR, "a=b", "Failed to create silence: end time can't be in the past"),
        (0, HOUR, "", "silence invalid: at least one matcher required"),
        (0, HOUR, "a=,b=~.*", "silence invalid: at least one matcher must not match the empty string"),
    ],
)
def test_what_cannot_be_one_is_refused_in_alertmanagers_words(
    tmp_path: Path, start_ms: int, length_ms: int, matchers: str, message: str
) -> None:
    async def scenario(silences: Silences, clock: FakeClock) -> None:
        with pytest.raises(SilenceRefused, match=message):
            await silences.set(silence(clock, start_ms, length_ms, matchers))
        assert silences.all() == []

    kept(tmp_path, scenario)


def test_negative_matchers_alone_are_enough(tmp_path: Path) -> None:
    async def scenario(silences: Silences, clock: FakeClock) -> None:
        assert await silences.set(silence(clock, matchers="a!=b"))

    kept(tmp_path, scenario)


def test_an_id_that_nobody_has_is_unknown(tmp_path: Path) -> None:
    async def scenario(silences: Silences, clock: FakeClock) -> None:
        with pytest.raises(SilenceUnknown, match="silence not found"):
            await silences.set(replace(silence(clock), id="7"))
        with pytest.raises(SilenceUnknown):
            await silences.expire("7")

    kept(tmp_path, scenario)


def test_they_are_listed_by_state_and_counted_and_the_old_ones_go(tmp_path: Path) -> None:
    async def scenario(silences: Silences, clock: FakeClock) -> None:
        spans = [(0, 3 * HOUR), (0, 2 * HOUR), (9 * HOUR, HOUR), (5 * HOUR, HOUR), (0, 1_000), (0, 2_000)]
        ids = [await silences.set(silence(clock, *span)) for span in spans]
        await clock.sleep(3)
        assert [each.id for each in silences.all()] == [ids[index] for index in (1, 0, 3, 2, 5, 4)]
        counted = {
            state: REGISTRY.get_sample_value("obskit_silences", {"state": state.value}) for state in SilenceState
        }
        assert counted == {SilenceState.ACTIVE: 2, SilenceState.PENDING: 2, SilenceState.EXPIRED: 2}
        await clock.sleep(RETENTION_MS / 1000)
        assert [each.id for each in silences.all()] == [ids[index] for index in (2, 3, 0, 1)]
        await silences.set(silence(clock))
        assert len(silences.all()) == 5

    kept(tmp_path, scenario)


def test_concurrent_changes_are_all_kept(tmp_path: Path) -> None:
    async def scenario(silences: Silences, clock: FakeClock) -> None:
        ids = await asyncio.gather(*(silences.set(silence(clock)) for _ in range(20)))
        assert {each.id for each in silences.all()} == set(ids)

    kept(tmp_path, scenario)
