"""Query results: our own golden cases, and the acceptance suite's plain ones where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.cases import Case
from tests.conformance.check import problem
from tests.conformance.promql import read

GOLDEN = sorted((Path(__file__).parent / "testdata").glob("*.test"))
SUITE = Path(__file__).parents[2] / ".." / "shared" / "conformance" / "promql" / "cases.jsonl"
CASES = [case for path in GOLDEN for case in read(path)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.id} {case.query}"[:60])
def test_it_answers_as_the_golden_case_says(case: Case) -> None:
    assert problem(case) is None


def test_it_answers_the_plain_cases_of_the_acceptance_suite() -> None:
    if not SUITE.exists():
        pytest.skip("the acceptance suite's cases are not here")
    wrong = [(case.id, why) for case in read(SUITE) if not case.needs and (why := problem(case))]
    assert wrong == []
