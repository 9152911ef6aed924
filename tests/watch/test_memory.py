from __future__ import annotations

import asyncio
import gc
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from obskit.model.reused import COLUMNS
from obskit.testing.clock import FakeClock, run
from obskit.watch.memory import EVERY_S, Pages, _unchanged, give_back, stay_small

SMAPS = """\
559d00000000-559d00001000 r--p 00000000 08:01 11 /usr/bin/python3
Rss:                   4 kB
Anonymous:             0 kB
559d00001000-559d00004000 r-xp 00001000 08:01 11 /usr/bin/python3
Rss:                  12 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
559d00004000-559d00005000 r--p 00004000 08:01 11 /usr/lib/a folder/relocated.so
Anonymous:             4 kB
559d00005000-559d00006000 rw-p 00005000 08:01 11 /usr/bin/python3
Anonymous:             0 kB
559d00006000-559d00007000 r--s 00000000 08:01 12 /var/lib/main.db-shm
Anonymous:             0 kB
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
"""


@pytest.fixture
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_only_private_read_only_pages_of_files_that_nobody_wrote_are_let_go() -> None:
    assert list(_unchanged(SMAPS)) == [(0x559D00000000, 0x1000), (0x559D00001000, 0x3000)]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/smaps")
def test_a_process_is_smaller_after_it_let_go_of_its_pages_and_goes_on() -> None:
    program = """
import json, re
from pathlib import Path
from obskit.watch.memory import Pages
def rss_kb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
pages = Pages.of_this_process()
before = rss_kb()
pages.release()
print(before - rss_kb())
import decimal, sqlite3
assert json.loads(json.dumps({"a": 1})) == {"a": 1}
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d{4,}\n", ended.stdout), "more than a megabyte"


@pytest.mark.usefixtures("_thawed")
def test_what_lives_after_the_start_is_never_collected_again() -> None:
    clock = FakeClock()

    async def scenario() -> None:
        task = asyncio.create_task(stay_small(Pages(), clock))
        before = gc.get_freeze_count()
        await clock.sleep(EVERY_S * 2)
        assert gc.get_freeze_count() > before
        task.cancel()

    run(scenario(), clock)


def test_what_large_queries_used_goes_back_too() -> None:
    COLUMNS.take(1 << 22)
    assert COLUMNS.kept_bytes
    give_back(Pages())
    assert not COLUMNS.kept_bytes
