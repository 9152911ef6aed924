"""kill -9 while the collector `fly` reads: what of the lines that were written is in the store, and how often."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, Final

from obskit.model.matchers import Matcher, MatchOp
from obskit.store.embedded import EmbeddedStore
from obskit.testing.fly import TOKEN, FakeFly, storm
from tests.journeys.daemon import Watch, clock, eventually, pause

LOGS_ALONE: Final = {"machines": False, "releases": "off", "volumes": False, "incidents": False}


def settings(fly: FakeFly, **more: Any) -> dict[str, Any]:
    """The logs of the app `shop`."""
    urls = dict.fromkeys(("api_url", "machines_url", "incidents_url"), fly.url)
    return {"fly": {"organization": "acme", "token": TOKEN, "apps": ["shop"], "every": "200ms", **urls, **more}}


def stored(watch: Watch) -> Counter[str]:
    """How often each line is in the store."""
    store = EmbeddedStore.open_readonly(watch.folder / "data")
    now_ns = clock.now_ns()
    everything = [Matcher("source", MatchOp.EQUAL, "fly")]
    records = store.logs.select(everything, now_ns - 3_600_000_000_000, now_ns + 60_000_000_000)
    found = Counter(record.line for record in records)
    store.database._release()
    return found


def kill_while_it_reads(watch: Watch, fly: FakeFly, *, lines: int, kills: int, dice: Random) -> list[str]:
    """Write lines while it runs, and while it is dead; the texts of all of them. It is left running."""
    watch.write({"collectors": [settings(fly, **LOGS_ALONE)], "rule_packs": []})
    texts = [f"line {number}" for number in range(lines)]
    parts = 2 * kills + 1
    for part in range(parts):
        storm(fly, "shop", texts[part * lines // parts : (part + 1) * lines // parts], dice)
        if part % 2 == 0:
            watch.start()
            pause(dice.uniform(0, 0.4))
        else:
            pause(dice.uniform(0, 0.4))
            watch.kill()
    return texts


def everything_once(watch: Watch, texts: list[str], seconds: float = 60.0) -> bool:
    """Whether, some reads later, each line is there, and none twice."""
    expected = Counter(texts)
    came = eventually(lambda: len(stored(watch)) == len(expected), seconds)
    pause(1)
    return came and stored(watch) == expected
