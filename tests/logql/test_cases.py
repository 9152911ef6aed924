"""The golden cases of tests/logql/cases: data in, answer out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conformance.logql import cases, main, run_case

FILES = sorted((Path(__file__).parent / "cases").glob("*.jsonl"))
CASES = [pytest.param(case, loads, id=case["id"]) for path in FILES for case, loads in cases(path)]


@pytest.mark.parametrize(("case", "loads"), CASES)
def test_the_query_answers_as_the_case_says(case: dict[str, Any], loads: list[dict[str, Any]]) -> None:
    assert run_case(case, loads) == ""


def test_the_runner_counts_what_passed_and_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = '{"kind":"case","id":"1","loads":[],"eval":{"type":"instant","time_ns":0},"query":"1+1","expect":{"type":"scalar","scalar":%d}}\n'
    path = tmp_path / "some.jsonl"
    path.write_text(right % 2 + right % 3)
    assert main([str(path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 1 failed"
