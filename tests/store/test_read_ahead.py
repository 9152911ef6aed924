"""Work ahead gives what work in turn gives, and no more of it than was asked for."""

from __future__ import annotations

import threading
from itertools import islice

import pytest

from obskit.store.read_ahead import worked_ahead


@pytest.mark.parametrize("count", [0, 1, 8, 9, 24, 25, 500])
def test_results_come_in_order(count: int) -> None:
    assert list(worked_ahead(lambda item: item * 2, range(count))) == [(item, item * 2) for item in range(count)]


def test_who_takes_a_few_results_starts_no_thread() -> None:
    before = threading.active_count()
    work = worked_ahead(lambda _: threading.current_thread().name, range(100))
    assert {name for _, name in islice(work, 8)} == {threading.current_thread().name}
    assert threading.active_count() == before


def test_only_some_items_are_ahead() -> None:
    taken: list[int] = []
    items = (taken.append(item) or item for item in range(10_000))
    work = worked_ahead(lambda item: item, items)
    assert len(list(islice(work, 20))) == 20
    work.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(taken) < 100


def test_an_error_ends_it_where_it_came_up() -> None:
    def work(item: int) -> int:
        return 1 // (100 - item)

    found: list[int] = []
    with pytest.raises(ZeroDivisionError):
        found.extend(item for item, _ in worked_ahead(work, range(1_000)))
    assert found[-1] < 100
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("obskit-read")]
