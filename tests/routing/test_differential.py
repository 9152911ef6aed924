"""A few random worlds beside a real Alertmanager; `python -m tests.routing.differential` plays as many as one likes."""

from __future__ import annotations

import copy
import os
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from obskit.model.labels import Labels
from tests.routing.differential import Message, Ours, compare, examine, play_ours, policy_of
from tests.routing.scenarios import random_labels, scenario

SEED = int(os.environ.get("OBSKIT_SEED", "1"))
WORLDS = 8


@pytest.mark.server("prometheus-alertmanager")
def test_the_real_one_tells_the_same_at_the_same_time() -> None:
    with ThreadPoolExecutor(WORLDS) as pool:
        outcomes = list(pool.map(examine, range(SEED, SEED + WORLDS)))
    assert [str(each) for outcome in outcomes for each in outcome.differences] == []
    assert sum(outcome.compared for outcome in outcomes) > 3 * WORLDS


@pytest.mark.server("amtool")
@pytest.mark.parametrize("seed", range(SEED, SEED + 6))
def test_amtool_routes_alike(seed: int, tmp_path: Path) -> None:
    world, dice = scenario(seed), random.Random(seed)
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump({**world.config, "receivers": [{"name": name} for name in world.receivers]}))
    route = policy_of(world).route
    for _ in range(8):
        labels = {name: value for name, value in random_labels(dice).items() if '"' not in value}
        words = [f"{name}={value}" for name, value in labels.items()]
        command = ["amtool", "config", "routes", "test", f"--config.file={file}", *words]
        named = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert ",".join(taken.receiver for taken in route.match(Labels(labels))) == named, labels


def our_world(tmp_path: Path) -> tuple[Ours, list[Message]]:
    """What ours told in a world, and as if the other had told the very same."""
    ours = play_ours(scenario(SEED), tmp_path)
    assert len(ours.messages) > 5
    return ours, copy.deepcopy(ours.messages)


def test_the_comparison_finds_nothing_where_nothing_differs(tmp_path: Path) -> None:
    ours, theirs = our_world(tmp_path)
    assert compare(scenario(SEED), ours, theirs).differences == []


def test_the_comparison_sees_what_differs(tmp_path: Path) -> None:
    ours, theirs = our_world(tmp_path)
    first = min(theirs, key=lambda each: each.at)
    later = [each for each in theirs if each is not first]
    late = Message(first.at + 1, first.body)
    other = Message(first.at, {**first.body, "commonLabels": {"no": "such"}})
    more = Message(first.at + 0.9, first.body)
    for changed in (later, [*later, late], [*later, other], [*theirs, more]):
        assert compare(scenario(SEED), ours, changed).differences
