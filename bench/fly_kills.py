"""kill -9, again and again, while `obskit watch` reads Fly.io's logs: what is lost, what comes twice.

    python -m bench.fly_kills --lines 100000 --kills 20

The lines are as bad as they come: a fifth late, a fifth twice, runs of forty with equal times.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from pathlib import Path

from obskit.clock import SystemClock
from obskit.testing.fly import FakeFly
from tests.journeys.daemon import Watch
from tests.journeys.fly_kills import everything_once, kill_while_it_reads, stored


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder, FakeFly(clock) as fly, Watch(Path(folder)) as watch:
        began = clock.monotonic()
        texts = kill_while_it_reads(watch, fly, lines=args.lines, kills=args.kills, dice=random.Random(args.seed))
        well = everything_once(watch, texts, 600)
        found = stored(watch)
        lost = Counter(texts) - found
        print(f"{args.lines:,} lines written, {args.kills} kills, {len(fly.requests):,} pages asked for")
        print(f"{found.total():,} stored, {lost.total():,} lost, {found.total() - len(found):,} doubled")
        print(f"{clock.monotonic() - began:.0f} s, {watch.rss_mb('VmHWM'):.0f} MB at most")
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main())
