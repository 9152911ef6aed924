"""Rings keep what is newer than the cut, in order, whatever the rhythm of the series; lanes come back."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.store import lanes as lanes_module
from obskit.store.lanes import LANE, Lanes
from obskit.store.rings import Rings, blocks_of
from obskit.store.rounds import NEVER

DAY = 86_400_000
START = 1_700_000_000_000
SLOTS = [0, 1, 2, 63, 64, 130]
EVER = (NEVER, START + 4_000 * DAY)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sets(st.sampled_from(SLOTS), min_size=1), st.integers(1, 40), st.integers(1, 60_000)),
        st.tuples(st.just("cut"), st.sets(st.sampled_from(SLOTS)), st.integers(0, 600_000), st.none()),
        st.tuples(st.just("clear"), st.sets(st.sampled_from(SLOTS)), st.none(), st.none()),
    ),
    max_size=30,
)  # fmt: skip


def filled(slots: int) -> Rings:
    rings = Rings()
    rings.ensure(slots)
    return rings


def samples_of(rings: Rings, slot: int, start_ms: int = EVER[0], end_ms: int = EVER[1]) -> list[tuple[int, float]]:
    _, times, values = rings.gather(np.array([slot]), start_ms, end_ms)
    return list(zip(times.tolist(), values.tolist(), strict=True))


@given(STEPS, st.integers(0, 900_000), st.integers(0, 900_000))
@settings(max_examples=100, deadline=None)
def test_what_is_newer_than_the_cut_stays_in_order(steps: list[tuple], back_ms: int, length_ms: int) -> None:
    rings, now = filled(192), START
    kept: dict[int, list[tuple[int, float]]] = {slot: [] for slot in SLOTS}
    for step, chosen, count, every_ms in steps:
        slots = np.array(sorted(chosen), np.int64)
        if step == "write":
            for _ in range(count):
                now += every_ms
                rings.write(slots, np.full(len(slots), now), slots + now / 1e6)
                for slot in chosen:
                    kept[slot].append((now, slot + now / 1e6))
        elif step == "cut":
            rings.cut_ms[slots] = np.maximum(rings.cut_ms[slots], now - count)
        else:
            rings.clear(slots)
            rings.cut_ms[slots] = NEVER
            kept |= {slot: [] for slot in chosen}
        start, end = now - back_ms - length_ms, now - back_ms
        counts, times, values = rings.gather(np.array(SLOTS), start, end)
        owners = np.repeat(SLOTS, counts)
        for slot in SLOTS:
            cut = int(rings.cut_ms[slot])
            wanted = [point for point in kept[slot] if point[0] > cut]
            assert [point for point in samples_of(rings, slot) if point[0] > cut] == wanted
            found = zip(times[owners == slot].tolist(), values[owners == slot].tolist(), strict=True)
            assert [p for p in found if p[0] > cut] == [p for p in wanted if start < p[0] <= end]
    rings.clear(np.array(SLOTS))
    assert rings.lanes.in_use == 0


def test_a_ring_holds_as_much_as_its_window_and_a_little_more() -> None:
    rings, slots = filled(LANE), np.arange(LANE)
    for number in range(1_000):
        now = START + number * 15_000
        rings.cut_ms[:] = now - 300_000
        rings.write(slots, np.full(LANE, now), np.full(LANE, float(number)))
    assert rings.lanes.in_use == 24


def test_a_ring_that_turned_grows_when_its_series_comes_more_often() -> None:
    rings, slot, written = filled(1), np.array([0]), []
    for number in range(400):
        now = START + number * 15_000 if number < 100 else START + 1_500_000 + (number - 100) * 1_000
        rings.cut_ms[:] = now - 200_000
        rings.write(slot, np.array([now]), np.array([float(number)]))
        written.append((now, float(number)))
        assert samples_of(rings, 0, now - 200_000, now) == [point for point in written if point[0] > now - 200_000]


@pytest.mark.parametrize("days", [1, 24, 26, 1_000])
def test_times_far_apart_are_told_apart(days: int) -> None:
    rings, slots = filled(2), np.array([0, 1])
    rings.write(slots[:1], np.array([START]), np.array([1.0]))
    later = START + days * DAY
    rings.write(slots, np.array([later, later - 5]), np.array([2.0, 3.0]))
    assert samples_of(rings, 0, later - DAY // 2, later) == [(later, 2.0)]
    assert samples_of(rings, 1) == [(later - 5, 3.0)]
    # What is further back than 32 bits of milliseconds is not found any more; windows are shorter than that.
    assert samples_of(rings, 0) == [(START, 1.0)] * (days <= 24) + [(later, 2.0)]


def test_neighbours_are_read_as_one_piece_of_a_column() -> None:
    (block,) = blocks_of(np.arange(5, 9))
    assert block.which == slice(5, 9)
    (block,) = blocks_of(np.array([5, 7, 6]))
    assert not isinstance(block.which, slice)


@pytest.mark.parametrize("can_move", [True, False])
def test_pools_grow_and_keep_what_they_hold(monkeypatch: pytest.MonkeyPatch, *, can_move: bool) -> None:
    class Fixed(mmap.mmap):
        def resize(self, newsize: int) -> None:
            raise SystemError("mmap: resizing not available")

    if not can_move:
        monkeypatch.setattr(lanes_module.mmap, "mmap", Fixed)
    lanes = Lanes()
    first = lanes.take(3)
    lanes.values[first[:, None] + np.arange(LANE)] = 7.0
    lanes.times[first[:, None] + np.arange(LANE)] = 8
    more = lanes.take(1_000)
    assert len(set(first.tolist()) | set(more.tolist())) == 1_003
    assert (lanes.values[first[:, None] + np.arange(LANE)] == 7.0).all()
    assert (lanes.times[first[:, None] + np.arange(LANE)] == 8).all()
    lanes.values[more] = 1.0
    lanes.give_back(more)
    assert lanes.in_use == 3
