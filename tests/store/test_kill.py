"""kill -9 at any moment: what was acknowledged is there, once, and the cursor says the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from obskit.store.embedded import EmbeddedStore
from obskit.testing.clock import run
from tests.store.shelf import named

TRIALS = 20


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """tests/store/writer.py on a store in the temporary folder."""
    command = [sys.executable, "-m", "tests.store.writer", tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        yield process


def kill_at_random(nursery: subprocess.Popen[str], most: int = 60) -> int:
    """Start a writer, kill it after some acknowledgements; the last number it acknowledged before it was dead."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write("go\n")
    pid = int(nursery.stdout.readline().split()[1])
    last = 0
    for _ in range(random.randrange(1, most)):
        last = int(nursery.stdout.readline())
    os.kill(pid, signal.SIGKILL)
    for line in iter(nursery.stdout.readline, "dead\n"):
        last = int(line)
    return last


def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(
    tmp_path: Path, nursery: subprocess.Popen[str]
) -> None:
    async def check(acknowledged: int) -> None:
        store = EmbeddedStore.open_readonly(tmp_path)
        cursor = int(await store.cursor("writer") or 0)
        assert cursor in (acknowledged, acknowledged + 1)
        expected = list(range(1, cursor + 1))
        lines = Counter(int(record.line.split()[0]) for record in store.logs.select([], 0, 2**62))
        assert lines == dict.fromkeys(expected, 10)
        window = store.metrics.select(named("numbered"), 0, 2**62)
        assert window.values.tolist() == expected * 5
        assert store.database.read("SELECT value FROM meta WHERE key = 'n'") == [(str(cursor),)]
        await store.close()

    for _ in range(TRIALS):
        run(check(kill_at_random(nursery)))
