"""kill -9 while days are copied and let go: what was acknowledged is there once, hot or cold."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from obskit.clock import SystemClock
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore
from obskit.testing.clock import run
from tests.store.cold.mover import settings
from tests.store.test_kill import kill_at_random

TRIALS = 6


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """tests/store/cold/mover.py on a store in the temporary folder."""
    (tmp_path / "cold").mkdir()
    command = [sys.executable, "-m", "tests.store.cold.mover", tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        yield process


def test_nothing_is_lost_and_nothing_is_there_twice(tmp_path: Path, nursery: subprocess.Popen[str]) -> None:
    async def check(acknowledged: int) -> None:
        store = EmbeddedStore(Database.open_readonly(tmp_path / "hot"), SystemClock(), settings(tmp_path))
        cursor = int(await store.cursor("writer") or 0)
        assert cursor in (acknowledged, acknowledged + 1)
        lines = Counter(int(record.line.split()[0]) for record in store.logs.select([], 0, 2**62))
        assert lines == dict.fromkeys(range(1, cursor + 1), 4)
        await store.close()

    for _ in range(TRIALS):
        run(check(kill_at_random(nursery, most=500)))
    assert list((tmp_path / "cold").rglob("*.parquet"))
