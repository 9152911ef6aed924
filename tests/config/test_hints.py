"""What `obskit check` suggests of routing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from obskit.config import load_config
from obskit.config.hints import EQUAL, SUGGESTED
from obskit.model.problems import Severity
from tests.config.files import found, lay, told

RULES = {
    "groups": [
        {
            "name": "g",
            "rules": [
                {"alert": name, "expr": "vector(1)", "labels": {"severity": severity}}
                for name in ("A", "B")
                for severity in (("warning", "critical") if name == "A" else ("critical",))
            ],
        }
    ]
}
QUIET = "inhibit_rules: [{source_matchers: [severity=critical], target_matchers: [severity=warning]}]\n"


def hinted(folder: Path, text: str) -> list[str]:
    rest = "receivers: [{name: a}]\nrule_packs: []\nrule_files: [r.yaml]\n"
    problems = found(folder, {"obskit.yaml": text + rest, "r.yaml": json.dumps(RULES)})
    assert {each.severity for each in problems} <= {Severity.HINT}
    return told(problems, folder)


def test_a_warning_beside_its_critical_alert_is_told_twice(tmp_path: Path) -> None:
    (line,) = hinted(tmp_path, "route: {receiver: a, group_by: [alertname]}\n")
    assert (
        line == f"1:1  hint  told-twice  A: the warning is told beside the critical one; to keep it quiet: {SUGGESTED}"
    )


@pytest.mark.parametrize(
    ("inhibit_rules", "count"),
    [
        (QUIET, 0),
        (SUGGESTED + "\n", 0),
        ("inhibit_rules: [{source_match: {alertname: A}, target_matchers: [severity!=critical, job=x]}]\n", 0),
        ("inhibit_rules: [{source_matchers: [alertname=B], target_matchers: [severity=warning]}]\n", 1),
        ("inhibit_rules: [{source_matchers: [severity=warning], target_matchers: [severity=critical]}]\n", 1),
    ],
)
def test_a_rule_that_keeps_it_quiet_is_enough(tmp_path: Path, inhibit_rules: str, count: int) -> None:
    lines = hinted(tmp_path, f"{inhibit_rules}route: {{receiver: a, group_by: [alertname]}}\n")
    assert len(lines) == count
    assert all(line.startswith("1:1  hint  told-twice") for line in lines)


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ("{receiver: a}", "all alerts of a receiver are one message"),
        ("{receiver: a, group_by: []}", "all alerts of a receiver are one message"),
        ("{receiver: a, group_by: [...]}", "each alert is a message"),
        ("{receiver: a, group_by: [alertname, job]}", ""),
        ("{receiver: a, group_by: [alertname, instance]}", "each instance is a message of its own"),
        ("{receiver: a, group_by: [job]}", "whatever fires for one job is one message"),
        ("{receiver: a, group_by: [alertname], routes: [{group_by: [pod]}]}", "each pod is a message of its own"),
        ("{receiver: a, group_by: [alertname], routes: [{group_by: []}, {matchers: [a=b]}]}", ""),
    ],
)
def test_how_alerts_are_grouped_is_thought_about(tmp_path: Path, route: str, message: str) -> None:
    lines = hinted(tmp_path, f"{QUIET}route: {route}\n")
    assert [message in line and "  hint  group-by  " in line for line in lines] == ([True] if message else [])


def test_a_matcher_that_a_newer_alertmanager_reads_otherwise_is_pointed_at(tmp_path: Path) -> None:
    route = (
        "{receiver: a, group_by: [alertname], routes: [{matchers: [team=a b]}, {routes: [{matchers: ['c=\"\\t\"']}]}]}"
    )
    quiet = "inhibit_rules: [{source_matchers: [a='x'], target_matchers: [b=c]}]\n"
    lines = hinted(tmp_path, f"{QUIET}route: {route}\n")
    assert [line.split("  ")[2:] for line in lines] == [
        ["matcher-form", 'only Alertmanager\'s old grammar reads this: write team="a b"'],
        ["matcher-form", 'Alertmanager\'s two grammars read this differently; taken as c="\\\\t"'],
    ]
    (line, *_) = hinted(tmp_path, quiet)
    assert "1:36  hint  matcher-form  only Alertmanager's old grammar reads this: write a=\"'x'\"" in line


def test_who_wrote_no_route_is_told_nothing(tmp_path: Path) -> None:
    assert found(tmp_path, "rule_packs: [queues, host]\n") == []


def test_hints_are_no_warnings_of_the_config(tmp_path: Path) -> None:
    text = "route: {receiver: a}\nreceivers: [{name: a}]\n"
    assert load_config(lay(tmp_path, text), {}).warnings == ()


def test_the_suggestion_keeps_our_packs_apart(tmp_path: Path) -> None:
    text = f"route: {{receiver: a, group_by: [alertname]}}\nreceivers: [{{name: a}}]\n{SUGGESTED}\n"
    assert found(tmp_path, text) == []
    (rule,) = load_config(lay(tmp_path, text), {}).policy.inhibit_rules
    assert rule.equal == EQUAL
