from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Obskit

WRONG = "collectors:\n  - file: {paths: [a], evry: 5s}\n"
UNWISE = "groups: [{name: a, rules: [{alert: A, expr: up == 0}]}]"
RIGHT = "groups: [{name: a, rules: [{alert: A, expr: up == 0, labels: {severity: info}}]}]"


def lay(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


@pytest.fixture(autouse=True)
def in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "flags", "code", "last"),
    [
        (RIGHT, [], 0, "1 file, 1 rule, 0 errors, 0 warnings"),
        (UNWISE, [], 0, "1 file, 1 rule, 0 errors, 1 warning"),
        (UNWISE, ["--lint-fatal"], 3, "1 file, 1 rule, 0 errors, 1 warning"),
        ("groups: [{name: a, rulez: []}]", ["--lint-fatal"], 1, "1 file, 0 rules, 1 error, 0 warnings"),
        ("rule_packs: []\n" + WRONG, [], 1, "1 file, 0 rules, 1 error, 0 warnings"),
    ],
)
def test_the_exit_code_says_how_bad_it_is(
    text: str, flags: list[str], code: int, last: str, *, obskit: Obskit, tmp_path: Path
) -> None:
    lay(tmp_path, rules=text)
    result = obskit("check", "rules.yaml", *flags)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (code, last)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no config found (obskit.yaml, /etc/obskit/obskit.yaml): name the files to check"),
        (["nothing.yaml"], "no such file: nothing.yaml"),
        (["--format", "xml"], "'xml' is not one of 'text', 'json', 'github'"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], told: str, obskit: Obskit) -> None:
    result = obskit("check", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_text_is_place_severity_id_message_and_the_line_with_a_caret(obskit: Obskit, tmp_path: Path) -> None:
    lay(tmp_path, obskit=WRONG)
    result = obskit("check")
    assert result.stdout.splitlines()[:3] == [
        'obskit.yaml:2:24  error  unknown-key  collectors[0].file: "evry" is not a key here (did you mean "every"?)',
        "    2 |   - file: {paths: [a], evry: 5s}",
        "      |                        ^^^^",
    ]
    assert "\x1b" not in result.stdout


def test_json_is_a_list_of_problems(obskit: Obskit, tmp_path: Path) -> None:
    lay(tmp_path, obskit=WRONG)
    (problem,) = json.loads(obskit("check", "--format", "json").stdout)
    assert problem == {
        "file": "obskit.yaml",
        "line": 2,
        "column": 24,
        "length": 4,
        "severity": "error",
        "id": "unknown-key",
        "message": 'collectors[0].file: "evry" is not a key here (did you mean "every"?)',
    }


def test_json_of_nothing_wrong_is_an_empty_list(obskit: Obskit, tmp_path: Path) -> None:
    lay(tmp_path, obskit="")
    assert json.loads(obskit("check", "--format", "json").stdout) == []


def test_github_is_a_workflow_command_for_each_with_what_would_end_it_escaped(obskit: Obskit, tmp_path: Path) -> None:
    lay(tmp_path, **{"a,b": 'groups: [{name: a, rules: [{alert: A, expr: "up % 5 + %"}]}]'})
    lines = obskit("check", "a,b.yaml", "--format", "github").stdout.splitlines()
    assert [line.partition(",line=1,col=")[0] for line in lines] == [
        "::warning file=a%2Cb.yaml",
        "::error file=a%2Cb.yaml",
    ]
    assert ",title=promql-syntax::" in lines[1]


def test_keys_that_a_prometheus_refuses_are_named(obskit: Obskit, tmp_path: Path) -> None:
    lay(
        tmp_path,
        rules=RIGHT.replace("expr: up == 0", "expr: up == 0, on_missing: keep"),
        obskit="rule_files: [rules.yaml]",
    )
    told = "rules.yaml uses obskit's own keys, a Prometheus refuses them: on_missing"
    for arguments in (["rules.yaml"], []):
        result = obskit("check", *arguments)
        assert result.exit_code == 0
        assert result.stdout.splitlines()[-2] == told


def test_a_folder_is_all_the_yaml_in_it(obskit: Obskit, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/a.yaml").write_text(RIGHT)
    (tmp_path / "rules/b.yml").write_text(RIGHT)
    (tmp_path / "rules/notes.md").write_text("not rules")
    assert obskit("check", "rules").stdout == "2 files, 2 rules, 0 errors, 0 warnings\n"


def test_a_folder_is_checked_with_the_folders_in_it_and_with_unit_tests(obskit: Obskit, tmp_path: Path) -> None:
    tests = "rule_files: [../a.yml]\ntests: [{alert_rule_test: [{eval_time: 1m, alertname: Dwon}]}]\n"
    (tmp_path / "rules/host/tests").mkdir(parents=True)
    (tmp_path / "rules/host/a.yml").write_text(RIGHT)
    (tmp_path / "rules/host/tests/a.yml").write_text(tests)
    result = obskit("check", "rules")
    assert result.stdout.splitlines()[-1] == "2 files, 1 rule, 0 errors, 1 warning"
    assert "unknown-alert" in result.stdout
    (tmp_path / "rules/host/tests/a.yml").write_text(tests.replace("a.yml", "b.yml"))
    assert obskit("check", "rules").exit_code == 1


def test_a_folder_without_any_yaml_is_a_mistake(obskit: Obskit, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    result = obskit("check", "rules")
    assert (result.exit_code, "no .yaml or .yml file in rules" in result.output) == (2, True)


def test_the_schema_is_json(obskit: Obskit) -> None:
    assert json.loads(obskit("schema").stdout)["title"] == "obskit.yaml"
