"""What a rule measures, split from what it compares it with."""

from __future__ import annotations

import pytest

from obskit.logql.parser import parse as parse_logql
from obskit.promql.parser import parse
from obskit.rules.comparison import comparison_of


@pytest.mark.parametrize(
    ("expr", "measured"),
    [
        ("up == 0", "up"),
        ("(a / b * 100) > 5", "(a / b * 100)"),
        ("5 < a", "a"),
        ("(a > 5)", "a"),
        ("a > b", "a"),
        ("a > 5 and on (job) b", "a"),
        ("a > 5 unless b and c", "a"),
        ("a > 5 < 10", "a"),
        ("a > on (job) group_left () b", "a"),
    ],
)
def test_the_measured_side_stands_left_of_the_comparison_at_the_top(expr: str, measured: str) -> None:
    comparison = comparison_of(parse(expr))
    assert comparison is not None
    assert str(comparison.measured.query) == measured


@pytest.mark.parametrize("expr", ["absent(up)", "a > bool 5", "a > 5 or b > 6", "sum(a > 5)", "a + b", "vector(1)"])
def test_an_expression_without_one_comparison_at_the_top_measures_nothing(expr: str) -> None:
    assert comparison_of(parse(expr)) is None


@pytest.mark.parametrize(
    ("expr", "steady"),
    [
        ("rate(a[5m]) > 1", True),
        ("sum by (app) (a) / sum by (app) (b) > 0.05", True),
        ("(a > bool 5) + b > 1", True),
        ("count(up == 0) > 1", False),
        ("time() - (a > 0) > 900", False),
        ("absent(a) == 1", False),
        ("topk(3, a) > 5", False),
        ("(a or b) > 5", False),
        ("a > (b unless c)", False),
    ],
)
def test_a_side_that_filters_by_value_does_not_tell_whether_there_are_data(expr: str, steady: bool) -> None:
    comparison = comparison_of(parse(expr))
    assert comparison is not None
    assert comparison.steady is steady


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ("a > b", ("job path", "job path")),
        ("a > on (job) b", ("job", "job")),
        ("a > ignoring (path) b", ("job", "job")),
        ("a > on (job) group_left () b", ("job path", "job")),
        ("a > on (job) group_left (path) b", ("job", "job")),
        ("a > on (job) group_right () b", ("job", "job path")),
    ],
)
def test_both_sides_find_a_result_by_the_labels_that_stay(expr: str, names: tuple[str, str]) -> None:
    comparison = comparison_of(parse(expr))
    assert comparison is not None
    told = [" ".join(name for name in ("job", "path") if side.tells(name)) for side in comparison.sides]
    assert told == list(names)


def test_logs_have_a_measured_side_and_never_lack_data() -> None:
    comparison = comparison_of(parse_logql('sum by (app) (count_over_time({a="b"}[5m])) > 3'))
    assert comparison is not None
    assert str(comparison.measured.query) == 'sum by (app) (count_over_time({a="b"} [5m]))'
    assert not comparison.steady
    assert comparison_of(parse_logql('count_over_time({a="b"}[5m])')) is None
