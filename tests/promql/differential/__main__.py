"""`python -m tests.promql.differential [--seed N] [--queries N]`: a campaign; 1 when there was a difference."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.promql.differential.beside import Finding, beside, make_questions
from tests.promql.differential.shrink import shrunk

PER_DATA_SET = 250


def main() -> int:
    """Run it: a new data set every 250 queries."""
    parser = argparse.ArgumentParser(prog="python -m tests.promql.differential")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--known", action="store_true", help="print differences that a known change accounts for too")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for number in range(0, options.queries, PER_DATA_SET):
        run_data_set(options.seed * 1000 + number // PER_DATA_SET, counts, show_known=options.known)
    for kind, count in counts.most_common():
        print(f"{count:7} {kind}")
    return 1 if counts["different"] else 0


def run_data_set(seed: int, counts: Counter[str], *, show_known: bool) -> None:
    """Ask the questions of one data set."""
    with tempfile.TemporaryDirectory() as folder, beside(Path(folder), seed) as sides:
        for question in make_questions(seed, PER_DATA_SET):
            counts["asked"] += 1
            finding = sides.compare(question)
            if finding is None:
                counts["equal"] += 1
                continue
            counts[f"known: {finding.change}" if finding.change else "different"] += 1
            if not finding.change or show_known:
                show(seed, shrunk(finding, sides.compare))


def show(seed: int, finding: Finding) -> None:
    """Print a difference."""
    print(f"data set {seed}: {finding}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
