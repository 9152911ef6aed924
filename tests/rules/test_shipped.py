"""What ships in alert_rules/: every rule is tested, readable at night, and has a runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from obskit.rules.files import RuleFile, load_rules
from obskit.rules.groups import AlertRule
from obskit.rules.unit_tests import run_test_file
from obskit.shipped import rule_packs

PACKS = rule_packs()
TESTS = {path.stem: path for path in sorted((PACKS["queues"].parent / "tests").glob("*.yaml"))}
RUNBOOKS = PACKS["queues"].parent.parent / "docs" / "runbooks"
RUNBOOK_URL = "https://github.com/obskit/obskit/blob/main/docs/runbooks/"


def load(pack: str) -> RuleFile:
    return load_rules(PACKS[pack].read_text(), f"{pack}.yaml")


ALERTS = [
    pytest.param(rule, id=f"{pack}-{rule.name}-{rule.labels['severity']}")
    for pack in PACKS
    for group in load(pack).groups
    for rule in group.rules
    if isinstance(rule, AlertRule)
]
PORTABLE = [pack for pack in PACKS if load(pack).portable]


def test_every_pack_has_a_file_of_tests() -> None:
    assert {"api", "errors", "events", "host", "logs", "obskit", "obskit-logs", "queues"} <= set(PACKS)
    assert set(TESTS) == set(PACKS)


def test_what_needs_no_type_of_ours_stays_loadable_by_prometheus() -> None:
    assert {"api", "host", "obskit", "queues"} <= set(PORTABLE)


@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_loads_without_a_warning(pack: str) -> None:
    assert load(pack).problems == ()


@pytest.mark.parametrize("pack", TESTS)
def test_its_unit_tests_pass(pack: str) -> None:
    report = run_test_file(TESTS[pack])
    assert [failure for case in report.cases for failure in case.failures] == []
    assert report.warnings == ()


@pytest.mark.parametrize("pack", PACKS)
def test_each_alert_fires_in_one_test_and_keeps_quiet_in_another(pack: str) -> None:
    tests = yaml.safe_load(TESTS[pack].read_text())["tests"]
    seen = [
        (test["alertname"], alert["exp_labels"]["severity"] if alert else "quiet")
        for case in tests
        for test in case["alert_rule_test"]
        for alert in (test["exp_alerts"] or [None])
    ]
    rules = [rule for group in load(pack).groups for rule in group.rules if isinstance(rule, AlertRule)]
    assert {(rule.name, rule.labels["severity"]) for rule in rules} <= set(seen)
    always = {"Watchdog"}
    assert {rule.name for rule in rules} - always <= {name for name, found in seen if found == "quiet"}


@pytest.mark.parametrize("rule", ALERTS)
def test_an_alert_says_how_bad_it_is_what_happened_and_what_to_do(rule: AlertRule) -> None:
    assert rule.labels["severity"] in {"critical", "warning", "info", "none"}
    assert list(rule.annotations) == ["summary", "action", "runbook_url"]
    assert rule.annotations["runbook_url"] == f"{RUNBOOK_URL}{rule.name}.md"
    assert len(rule.annotations["action"]) <= 120
    if rule.name != "Watchdog":
        assert re.search(r"\$value", rule.annotations["summary"]), "the summary tells the value"
        assert re.search(r"limit|target|must be", rule.annotations["summary"]), "... and the limit"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    names = {alert.values[0].name for alert in ALERTS}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == names


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_a_runbook_is_short_and_says_where_to_look_and_what_to_do(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# {path.stem}\n")
    assert len(text.splitlines()) <= 40
    assert [part for part in ("Look here first", "Fix") if part not in text] == []


@pytest.mark.server("promtool")
@pytest.mark.parametrize("pack", PORTABLE)
def test_promtool_says_the_same(pack: str) -> None:
    for command in (["check", "rules", PACKS[pack]], ["test", "rules", TESTS[pack]]):
        run = subprocess.run(["promtool", *command], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "SUCCESS" in run.stdout
