"""What alerting rules in the wild do, in rules of our own: our engine and promtool make the same of each of them.

idioms/idioms.test.yml holds what promtool printed: whoever changes it asks promtool again.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from obskit.logql.engine import Engine as LogQL
from obskit.model.alerts import AlertState
from obskit.model.labels import Labels
from obskit.promql.engine import Engine as PromQL
from obskit.rules.evaluation import Evaluator, Standing
from obskit.rules.files import RuleFile, load_rules
from obskit.rules.template_functions import FUNCTIONS
from obskit.rules.unit_test_data import GivenMetrics
from obskit.rules.unit_tests import run_test_file
from obskit.store.listed_logs import ListedLogs

FOLDER = Path(__file__).parent / "idioms"
NEEDS_NO_DATA = {
    "Always",
    "AScalarRule",
    "Comparisons",
    "Lists",
    "NoMill",
    "NoMillWorks",
    "OddNumbers",
    "Templates",
    "TextsAsNumbers",
    "Times",
    "Variables",
}
LATER = {"externalURL", "pathPrefix", "now", "toDuration", "urlQueryEscape"}
"""Functions that promtool 2.42 does not have, or not in its tests."""


@pytest.fixture(scope="module")
def rules() -> RuleFile:
    return load_rules((FOLDER / "rules.yml").read_text(), "rules.yml", default_interval_ms=15_000)


def test_all_that_is_expected_comes_of_the_idioms() -> None:
    (case,) = run_test_file(FOLDER / "idioms.test.yml").cases
    assert case.failures == ()


@pytest.mark.server("promtool")
def test_promtool_expects_the_same() -> None:
    run = subprocess.run(
        ["promtool", "test", "rules", "idioms.test.yml"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_idioms_load_and_their_templates_are_sound(rules: RuleFile) -> None:
    assert {problem.id for problem in rules.problems} <= {"missing-severity", "labels-volatile", "template-fails"}
    assert rules.usable


def test_the_idioms_call_every_function_there_is() -> None:
    text = (FOLDER / "rules.yml").read_text()
    missing = {name for name in FUNCTIONS if not re.search(rf"\b{name}\b", text)}
    assert missing == LATER


def test_on_an_empty_store_only_what_needs_no_data_fires_and_nothing_fails(rules: RuleFile) -> None:
    evaluator = Evaluator(PromQL(GivenMetrics()), LogQL(ListedLogs()), external_labels=Labels(), external_url="")
    fired = set()
    for group in rules.groups:
        for rule in group.rules:
            outcome = evaluator.at_slot(group, rule, Standing(), 1_700_000_000_000)
            assert not outcome.error, rule.name
            fired |= {rule.name for alert in outcome.standing.active.values() if alert.state is AlertState.FIRING}
    assert fired == NEEDS_NO_DATA
