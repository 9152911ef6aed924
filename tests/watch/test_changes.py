from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from obskit.testing.clock import FakeClock, run
from obskit.watch.changes import EVERY_S, changed, signature


def seconds_until_noticed(folder: Path, steps: dict[float, Callable[[Path], object]]) -> float | None:
    """When a change of the file is noticed, given what happens to it at which second; None when it never is."""
    file = folder / "obskit.yaml"
    file.write_text("a")
    clock = FakeClock()
    before = signature([file])

    async def happen() -> None:
        for at_s, step in steps.items():
            await clock.sleep(at_s - clock.monotonic())
            step(file)
        await clock.sleep(60)

    async def scenario() -> float | None:
        happening = asyncio.create_task(happen())
        watching = asyncio.create_task(changed(lambda: before, clock))
        await asyncio.wait([happening, watching], return_when=asyncio.FIRST_COMPLETED)
        happening.cancel()
        watching.cancel()
        return clock.monotonic() if watching.done() and not watching.cancelled() else None

    return run(scenario(), clock)


def retouched(file: Path) -> None:
    """Other text of the same length, a moment later."""
    stat = file.stat()
    file.write_text("b")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def replaced(file: Path) -> None:
    other = file.with_suffix(".new")
    other.write_text("another")
    other.replace(file)


@pytest.mark.parametrize(
    ("steps", "noticed_s"),
    [
        ({}, None),
        ({1.0: lambda file: file.write_text("ab")}, 2 * EVERY_S),
        ({1.0: retouched}, 2 * EVERY_S),
        ({1.0: replaced}, 2 * EVERY_S),
        ({1.0: Path.unlink}, 2 * EVERY_S),
    ],
    ids=["nothing", "longer", "same length", "replaced", "removed"],
)
def test_a_change_is_noticed_at_the_second_look(
    tmp_path: Path, steps: dict[float, Callable[[Path], object]], noticed_s: float | None
) -> None:
    assert seconds_until_noticed(tmp_path, steps) == noticed_s


def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    writing = {float(at_s): (lambda file, text="x" * at_s: file.write_text(text)) for at_s in range(2, 9)}
    assert seconds_until_noticed(tmp_path, writing) == 12.0  # written last at 8, looked at first at 10


def test_a_change_from_before_the_first_look_is_noticed_too(tmp_path: Path) -> None:
    file = tmp_path / "obskit.yaml"
    file.write_text("a")
    before = signature([file])
    file.write_text("changed while it was being read")
    clock = FakeClock()
    run(changed(lambda: before, clock), clock)
    assert clock.monotonic() == EVERY_S


def test_a_file_that_appears_is_a_change(tmp_path: Path) -> None:
    file = tmp_path / "later.yaml"
    before = signature([file])
    file.write_text("groups: []")
    assert signature([file]) != before
