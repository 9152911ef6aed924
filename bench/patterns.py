"""How well lines are grouped: the logparser benchmark's method on the 16 LogHub samples, beside published results.

    python -m bench.patterns DIR [--json FILE]

DIR holds the samples as LogHub has them (github.com/logpai/loghub): `<Set>/<Set>_2k.log_structured.csv`, or the CSV
files flat. They are not part of this repository: their licence is for research. Lines are what the column `Content`
says, in order; one pass, the same settings for every set, and a line's group is where its template has led at the end.
Grouping accuracy (Zhu et al., ICSE-SEIP 2019): the share of lines whose group has exactly the lines of one event.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

from obskit.grouping.miner import Miner

DRAIN = {
    "HDFS": 0.9975, "Hadoop": 0.9475, "Spark": 0.92, "Zookeeper": 0.9665, "BGL": 0.9625, "HPC": 0.887,
    "Thunderbird": 0.955, "Windows": 0.997, "Linux": 0.69, "Android": 0.911, "HealthApp": 0.78, "Apache": 1.0,
    "Proxifier": 0.5265, "OpenSSH": 0.7875, "OpenStack": 0.7325, "Mac": 0.7865,
}  # fmt: skip
"""As logparser publishes for Drain, with settings tuned for each set."""

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Score:
    """What came of one set. `lines_per_s` are of CPU, the best of ROUNDS, with a new miner each."""

    name: str
    accuracy: float
    drain: float
    lines: int
    events: int
    templates: int
    lines_per_s: float
    wrong: list[str]


def grouping_accuracy(events: Sequence[Hashable], groups: Sequence[Hashable]) -> float:
    """The share of lines whose group has exactly the lines of their event."""
    return 1 - sum(wrong_by_event(events, groups).values()) / len(events)


def wrong_by_event(events: Sequence[Hashable], groups: Sequence[Hashable]) -> Counter[Hashable]:
    """Lines of the events that are no group of their own."""
    sizes = Counter(groups)
    groups_of: dict[Hashable, Counter[Hashable]] = defaultdict(Counter)
    for event, group in zip(events, groups, strict=True):
        groups_of[event][group] += 1
    wrong: Counter[Hashable] = Counter()
    for event, counts in groups_of.items():
        ((group, count), *others) = counts.most_common()
        if others or sizes[group] != count:
            wrong[event] = counts.total()
    return wrong


def read(folder: Path, name: str) -> tuple[list[str], list[str], dict[str, str]]:
    """Lines, the event of each, and what LogHub's template of an event is."""
    file = f"{name}_2k.log_structured.csv"
    path = next((p for p in (folder / name / file, folder / file) if p.exists()), None)
    if path is None:
        raise FileNotFoundError(f"{file} is not in {folder} (get it from github.com/logpai/loghub)")
    with path.open(encoding="utf-8", errors="replace", newline="") as source:
        rows = list(csv.DictReader(source))
    return (
        [row["Content"] for row in rows],
        [row["EventId"] for row in rows],
        {row["EventId"]: row["EventTemplate"] for row in rows},
    )


def measure(folder: Path, name: str, show: int = 3) -> Score:
    """One set."""
    lines, events, templates = read(folder, name)
    took = []
    for _ in range(ROUNDS):
        miner = Miner()
        started = process_time()
        ids = [miner.add(line).id for line in lines]
        took.append(process_time() - started)
    groups = [miner.current(id_) for id_ in ids]
    wrong = wrong_by_event(events, groups)
    worst = [f"{count} lines: {templates[str(event)]}" for event, count in wrong.most_common(show)]
    accuracy = grouping_accuracy(events, groups)
    return Score(
        name, accuracy, DRAIN[name], len(lines), len(set(events)), len(miner), len(lines) / min(took), wrong=worst
    )


def table(scores: Sequence[Score], explain: bool) -> str:
    """For people."""
    head = f"{'set':<12} {'obskit':>7} {'Drain':>7} {'events':>7} {'templates':>10} {'lines/CPU s':>12}"
    rows = [head, "-" * len(head)]
    for score in scores:
        rows.append(
            f"{score.name:<12} {score.accuracy:>7.4f} {score.drain:>7.4f} {score.events:>7} {score.templates:>10}"
            f" {score.lines_per_s:>12,.0f}"
        )
        rows += [f"    {line}" for line in score.wrong if explain]
    rows += ["-" * len(head), "{:<12} {:>7.4f} {:>7.4f} {:>7} {:>10} {:>12,.0f}".format("mean", *summary(scores))]
    return "\n".join(rows)


def summary(scores: Sequence[Score]) -> tuple[float, float, str, str, float]:
    """Mean accuracy, Drain's over the same sets, and lines per CPU second over all lines."""
    seconds = sum(score.lines / score.lines_per_s for score in scores)
    mean = sum(score.accuracy for score in scores) / len(scores)
    return mean, sum(score.drain for score in scores) / len(scores), "", "", sum(s.lines for s in scores) / seconds


def main() -> int:
    """Exit code 1 when the mean is under --at-least."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="a checkout of logpai/loghub, or its CSV files")
    options.add_argument("--only", nargs="+", choices=sorted(DRAIN), help="some of the sets")
    options.add_argument("--explain", action="store_true", help="show the events that cost most")
    options.add_argument("--at-least", type=float, default=0.0, help="the mean that is wanted")
    options.add_argument("--json", type=Path, help="write the numbers to a file")
    chosen = options.parse_args()
    try:
        scores = [measure(chosen.folder, name) for name in chosen.only or DRAIN]
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(scores, chosen.explain))
    mean, drain, *_, rate = summary(scores)
    if chosen.json:
        numbers = {"mean": mean, "drain": drain, "lines_per_cpu_s": rate, "sets": [asdict(score) for score in scores]}
        chosen.json.write_text(json.dumps(numbers, indent=2) + "\n")
    return 0 if mean >= chosen.at_least else 1


if __name__ == "__main__":
    sys.exit(main())
