"""bench/patterns.py counts as the logparser benchmark does, and groups lines as people write them."""

import csv
import random
from pathlib import Path

import pytest

from bench.patterns import DRAIN, grouping_accuracy, measure, table
from obskit.grouping.miner import Miner


@pytest.mark.parametrize(
    ("events", "groups", "accuracy"),
    [
        ("aabb", "xxyy", 1.0),
        ("aabb", "xxxx", 0.0),
        ("aabb", "xyzz", 0.5),
        ("aabc", "xxyy", 0.5),
        ("abcd", "wxyz", 1.0),
    ],
)
def test_a_line_counts_when_its_group_is_its_event(events: str, groups: str, accuracy: float) -> None:
    assert grouping_accuracy(events, groups) == accuracy


def test_a_set_is_read_as_loghub_has_it(tmp_path: Path) -> None:
    with (tmp_path / "Apache_2k.log_structured.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["LineId", "Content", "EventId", "EventTemplate"])
        rows.writerows([n, f"child {n} in state", "E1", "child <*> in state"] for n in range(20))
        rows.writerows([n, ["done", "failed"][n % 2], "E2", "<*>"] for n in range(4))
    score = measure(tmp_path, "Apache")
    assert (score.accuracy, score.lines, score.events, score.templates) == (20 / 24, 24, 2, 3)
    assert "4 lines: <*>" in table([score], explain=True)
    assert len(DRAIN) == 16
    with pytest.raises(FileNotFoundError, match="Linux_2k"):
        measure(tmp_path, "Linux")


APPS = {
    "fly": ["machine {hex} started in {ms}", "machine {hex} stopped", "health check on port {n} passed", "health check on port {n} failed"],
    "worker": ['GET {url} {n} {ms}', "POST {url} {n} {ms}", "exceeded cpu limit of {ms}", "kv get {word} missed"],
    "python": ["order {n} of {word}@example.com paid in {ms}", "retry {n} of 5 for task {uuid}", "cannot reach {word}.internal:{n}"],
    "node": ["listening on http://localhost:{n}", "user {word} signed in from {ip}", "cache miss key={word}:{n} ttl={n}s"],
    "logfmt": ['level=info msg="request done" path=/a/{word} status={n} took={ms}', "level=warn msg=slow query={n} took={ms}"],
}  # fmt: skip


def fill(template: str, rand: random.Random) -> str:
    hexa = f"{rand.getrandbits(56):014x}"
    words = ["alpha", "bravo", "carol", "delta", "erin", "frank", "golf", "hotel", "ivan", "judy", "kilo", "lima"]
    return (
        template.replace("{hex}", hexa)
        .replace("{uuid}", f"{hexa[:8]}-12ab-4cde-8f01-{hexa[:12]}")
        .replace("{url}", f"/api/{rand.choice(words)}/{rand.randint(1, 9999)}")
        .replace("{ms}", rand.choice(["12ms", "1.2s", "431µs", "<1 ms"]))
        .replace("{ip}", f"10.{rand.randint(0, 9)}.0.{rand.randint(1, 250)}")
        .replace("{word}", rand.choice(words))
        .replace("{n}", str(rand.randint(1, 99_999)))
    )


@pytest.mark.parametrize("app", APPS)
def test_lines_of_applications_are_grouped_as_they_were_written(app: str) -> None:
    rand, miner = random.Random(app), Miner()
    events = [rand.randrange(len(APPS[app])) for _ in range(1_500)]
    ids = [miner.add(fill(APPS[app][event], rand)).id for event in events]
    assert grouping_accuracy(events, [miner.current(id_) for id_ in ids]) == 1
