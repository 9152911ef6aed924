"""The golden cases, in scripts beside this file and as JSON lines in cases/: data in, answer out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.log_cases import LogCase, problem
from tests.conformance.logql import cases, main

HERE = Path(__file__).parent
FILES = sorted([*(HERE / "cases").glob("*.jsonl"), *HERE.glob("*.logqltest")])
CASES = [pytest.param(case, id=case.id) for path in FILES for case in cases(path)]


@pytest.mark.parametrize("case", CASES)
def test_the_query_answers_as_the_case_says(case: LogCase) -> None:
    assert problem(case) == ""


def test_the_runner_counts_what_passed_and_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = '{"kind":"case","id":"1","loads":[],"eval":{"type":"instant","time_ns":0},"query":"1+1","expect":{"type":"scalar","scalar":%d}}\n'
    path = tmp_path / "some.jsonl"
    path.write_text(right % 2 + right % 3)
    assert main([str(path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 1 failed"
