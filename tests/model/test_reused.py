"""Memory of large columns is used again, and only when nobody looks at it any more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from obskit.model.reused import Reused
from obskit.store.packing import blank

MB = 1 << 20


def address(memory: np.ndarray) -> int:  # type: ignore[type-arg]  # of whatever
    return int(memory.ctypes.data)


def test_what_nobody_looks_at_is_given_out_again() -> None:
    reused = Reused(8 * MB)
    first = reused.take(2 * MB)
    place = address(first)
    del first
    assert address(reused.take(MB)) == place


def test_what_a_view_looks_at_is_left_alone() -> None:
    reused = Reused(8 * MB)
    view = memoryview(reused.take(MB).view(np.float64).reshape(2, -1)[1])
    view[0] = 7.0
    reused.take(MB).fill(1)
    reused.take(MB).fill(2)
    assert view[0] == 7.0


def test_the_smallest_that_is_large_enough_is_taken() -> None:
    reused = Reused(64 * MB)
    held = [reused.take(size * MB) for size in (16, 4, 8)]
    places = {len(memory): address(memory) for memory in held}
    held.clear()
    assert address(reused.take(3 * MB)) == places[4 * MB]
    assert address(reused.take(5 * MB)) == places[8 * MB]


def test_no_more_is_kept_than_its_limit_and_what_was_too_small_gives_way() -> None:
    reused = Reused(8 * MB)
    held = [reused.take(4 * MB) for _ in range(3)]
    assert [len(memory) for memory in held] == [4 * MB] * 3
    assert reused.kept_bytes == 8 * MB
    held.clear()
    reused.take(6 * MB)
    assert reused.kept_bytes == 6 * MB


def test_what_is_in_use_outlives_a_release() -> None:
    reused = Reused(8 * MB)
    memory = reused.take(MB)
    memory.fill(7)
    reused.release()
    assert reused.kept_bytes == 0
    reused.take(MB).fill(1)
    assert (memory == 7).all()


def test_threads_never_share_memory() -> None:
    reused = Reused(8 * MB)

    def work(number: int) -> bool:
        for _ in range(50):
            memory = reused.take(MB)
            memory.fill(number)
            if not (memory == number).all():
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_large_columns_stay_what_they_are_while_others_come_and_go() -> None:
    kept = blank(2, 100_000)
    kept[:] = 5
    for _ in range(3):
        blank(2, 100_000)[:] = 6
    assert (kept == 5).all()
