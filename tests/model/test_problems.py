from __future__ import annotations

import pytest

from obskit.errors import ConfigError, QuerySyntaxError
from obskit.model.problems import Place, Problem, Severity, did_you_mean


def test_a_problem_says_where_it_is_and_what() -> None:
    problem = Problem(Place("rules.yaml", 3, 7), "unknown-key", "there is no key 'exprr'", Severity.WARNING)
    assert str(problem) == "rules.yaml:3:7  warn  unknown-key  there is no key 'exprr'"


@pytest.mark.parametrize(
    ("source", "column", "length", "carets"),
    [
        ("  exprr: up", 3, 5, "  ^^^^^"),
        ("x", 1, 1, "^"),
        ("abc", 2, 99, " ^^"),
        ("\tx", 2, 1, " ^"),
        ("x", 9, 3, "        ^"),
    ],
)
def test_the_frame_points_below_the_source(source: str, column: int, length: int, carets: str) -> None:
    problem = Problem(Place("f", 12, column, length), "id", "message", source=source)
    shown, below = problem.frame().split("\n")
    assert shown == f"   12 | {source}".replace("\t", " ")
    assert below == f"      | {carets}"


def test_there_is_no_frame_without_a_source() -> None:
    assert Problem(Place("f"), "id", "message").frame() == ""


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("exprr", ' (did you mean "expr"?)'), ("anotations", ' (did you mean "annotations"?)'), ("zzz", ""), ("", "")],
)
def test_the_nearest_name_is_offered(wrong: str, hint: str) -> None:
    assert did_you_mean(wrong, ["expr", "annotations", "labels"]) == hint


def test_a_config_error_lists_all_problems() -> None:
    problems = [Problem(Place("f", line), "id", f"message {line}") for line in (1, 2)]
    assert str(ConfigError(problems)) == "f:1:1  error  id  message 1\nf:2:1  error  id  message 2"


def test_a_query_error_counts_lines_and_columns() -> None:
    error = QuerySyntaxError("wrong", "a\nbc d", 5)
    assert (error.line, error.column, error.end) == (2, 4, 6)
    assert str(error) == "2:4: parse error: wrong"
