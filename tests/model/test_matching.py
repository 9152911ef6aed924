"""What patterns and matchers match; how matchers are read is in test_matchers.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.errors import PatternError
from obskit.model.matchers import Matcher, MatchOp, exact_name, match_all
from obskit.model.patterns import anchored, compile_pattern


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "(?=a)", "(a)\\1", "[z-a]", "*"])
def test_what_re2_refuses_is_a_pattern_error(pattern: str) -> None:
    with pytest.raises(PatternError, match="not an RE2 pattern"):
        compile_pattern(pattern)
    with pytest.raises(PatternError):
        Matcher("a", MatchOp.REGEX, pattern)


@pytest.mark.parametrize(
    ("pattern", "value", "found"),
    [("a|b", "a", True), ("a|b", "ab", False), ("a.c", "a\nc", True), ("", "", True), ("", "x", False),
     ("(?i)A", "a", True), ("a$", "a\n", False), (".+", "\u00fc", True)],
)  # fmt: skip
def test_a_label_pattern_matches_the_whole_value(pattern: str, value: str, found: bool) -> None:
    assert (anchored(pattern).match(value) is not None) is found


def test_a_costly_pattern_ends_soon() -> None:
    assert compile_pattern("(a+)+$").search("a" * 50_000 + "b") is None


@pytest.mark.parametrize(
    ("op", "value", "hits", "misses"),
    [
        (MatchOp.EQUAL, "a", ["a"], ["", "ab"]),
        (MatchOp.NOT_EQUAL, "a", ["", "ab"], ["a"]),
        (MatchOp.REGEX, "a.*", ["a", "ab"], ["", "ba"]),
        (MatchOp.NOT_REGEX, "a.*", ["", "ba"], ["a", "ab"]),
        (MatchOp.EQUAL, "", [""], ["a"]),
        (MatchOp.NOT_EQUAL, "", ["a"], [""]),
    ],
)
def test_a_matcher_keeps_some_values(op: MatchOp, value: str, hits: list[str], misses: list[str]) -> None:
    matcher = Matcher("x", op, value)
    assert [each for each in hits + misses if matcher.matches(each)] == hits
    assert matcher.matches_empty == ("" in hits)
    assert all(match_all([matcher], {"x": each}) for each in hits if each)
    assert match_all([matcher], {}) == ("" in hits)


PIECES = st.sampled_from(["a", "b", "|", "\\-", "\\.", "\\ ", "\\|", "\\\\", "\\_", "-", "_", "/", "\n", "\u00fc", "."])


@given(st.lists(PIECES, max_size=6).map("".join), st.text("ab|-._/\\ \n\u00fc", max_size=3))
def test_a_pattern_of_plain_texts_matches_what_re2_says(pattern: str, value: str) -> None:
    for asked in {value, *pattern.replace("\\", "").split("|")}:
        assert Matcher("x", MatchOp.REGEX, pattern).matches(asked) is (anchored(pattern).match(asked) is not None)


@given(st.text(max_size=5), st.text(max_size=5))
def test_a_negative_matcher_is_the_opposite(value: str, other: str) -> None:
    for positive, negative in ((MatchOp.EQUAL, MatchOp.NOT_EQUAL), (MatchOp.REGEX, MatchOp.NOT_REGEX)):
        pattern = "a+" if positive is MatchOp.REGEX else value
        assert Matcher("x", positive, pattern).matches(other) != Matcher("x", negative, pattern).matches(other)


def test_the_metric_a_selector_pins_is_found() -> None:
    job = Matcher("job", MatchOp.EQUAL, "x")
    assert exact_name([job, Matcher("__name__", MatchOp.EQUAL, "up")]) == "up"
    assert exact_name([job, Matcher("__name__", MatchOp.REGEX, "up")]) is None
    assert exact_name([job]) is None


def test_matchers_compare_by_what_they_say() -> None:
    assert Matcher("a", MatchOp.REGEX, "b") == Matcher("a", MatchOp.REGEX, "b")
    assert (
        len({Matcher("a", MatchOp.REGEX, "b"), Matcher("a", MatchOp.REGEX, "b"), Matcher("a", MatchOp.EQUAL, "b")}) == 2
    )
