"""`obskit test rules`: what it prints, what it writes, and how it ends."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from obskit.shipped import shipped_path
from tests.cli.conftest import Obskit

RULES = "groups: [{name: a, rules: [{alert: High, expr: m > 5, labels: {severity: info}}]}]"
TESTS = """
rule_files: [rules.yaml]
tests:
  - name: it fires
    input_series: [{series: m, values: "9 9"}]
    alert_rule_test: [{alertname: High, eval_time: 1m, exp_alerts: [{exp_labels: {severity: info}}]}]
  - name: it is <quiet> & "still"
    input_series: [{series: m, values: "1 1"}]
    alert_rule_test: [{alertname: High, eval_time: 1m, exp_alerts: []}]
"""
WRONG = TESTS.replace('"1 1"', '"8 8"')


@pytest.fixture(autouse=True)
def in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "right.yaml").write_text(TESTS)
    (tmp_path / "wrong.yaml").write_text(WRONG)


def test_tests_that_pass(obskit: Obskit) -> None:
    result = obskit("test", "rules", "right.yaml")
    assert (result.exit_code, result.stdout) == (0, "right.yaml: ok, 2 tests\n2 passed, 0 failed\n")


def test_a_test_that_fails_says_what_was_expected_and_what_came(obskit: Obskit) -> None:
    result = obskit("test", "rules", "right.yaml", "wrong.yaml")
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert lines[:3] == ["right.yaml: ok, 2 tests", "wrong.yaml: FAILED, 2 tests", '  it is <quiet> & "still"']
    assert lines[3].startswith("    ")
    assert "High" in "".join(lines[3:-1])
    assert lines[-1] == "3 passed, 1 failed"


def test_only_the_tests_whose_name_matches_are_run(obskit: Obskit) -> None:
    result = obskit("test", "rules", "wrong.yaml", "--run", "fires")
    assert (result.exit_code, result.stdout) == (0, "wrong.yaml: ok, 1 test\n1 passed, 0 failed\n")


def test_the_junit_file_tells_the_same(obskit: Obskit, tmp_path: Path) -> None:
    obskit("test", "rules", "wrong.yaml", "--junit", "out.xml")
    (suite,) = ET.fromstring((tmp_path / "out.xml").read_text())
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("wrong.yaml", "2", "1")
    assert [(case.get("name"), len(case)) for case in suite] == [("it fires", 0), ('it is <quiet> & "still"', 1)]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["right.yaml", "--run", "("], 2, "obskit: --run: "),
        (["nothing.yaml"], 2, "does not exist"),
        ([], 2, "Missing argument"),
        (["broken.yaml"], 1, "broken.yaml:1:"),
    ],
)
def test_what_cannot_be_run_is_told(
    arguments: list[str], code: int, told: str, *, obskit: Obskit, tmp_path: Path
) -> None:
    (tmp_path / "broken.yaml").write_text("tests: [")
    result = obskit("test", "rules", *arguments)
    assert result.exit_code == code
    assert told in result.stderr


def test_the_tests_of_a_shipped_pack_pass(obskit: Obskit) -> None:
    assert obskit("test", "rules", shipped_path("alert_rules") / "tests/watchdog.yaml").exit_code == 0
