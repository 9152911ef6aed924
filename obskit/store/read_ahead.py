"""Work done in two threads, a little ahead of who takes the results: for work that leaves the interpreter to others.

That is what reading from disk, zstd and RE2 do; work that holds the interpreter is quicker without threads. Only some items
are ahead at any time, so memory stays bounded; and the first few are worked on at once, without a thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE: Final = 8
_TOGETHER: Final = 8
"""A thread is given so many items, or it would wait for the interpreter longer than it works."""
_THREADS: Final = 2


def worked_ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Each item and what the work makes of it, in order. Items are taken in the thread of the caller."""
    left = iter(items)
    for item in islice(left, _AT_ONCE):
        yield item, work(item)

    def work_together(some: list[T]) -> list[tuple[T, R]]:
        return [(item, work(item)) for item in some]

    waiting: deque[Future[list[tuple[T, R]]]] = deque()
    pool = ThreadPoolExecutor(_THREADS, "obskit-read")  # its threads start with the first item
    try:
        while some := list(islice(left, _TOGETHER)):
            waiting.append(pool.submit(work_together, some))
            if len(waiting) > _THREADS:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
