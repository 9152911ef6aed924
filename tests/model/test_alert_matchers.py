"""Alertmanager's matchers: what each text means, and what its two grammars make of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.model.alert_matchers import AlertMatcher, matchers_text, misgiving, parse_matcher, parse_matchers
from obskit.model.matchers import MatchOp

EQUAL, NOT_EQUAL, REGEX, NOT_REGEX = MatchOp.EQUAL, MatchOp.NOT_EQUAL, MatchOp.REGEX, MatchOp.NOT_REGEX


@pytest.mark.parametrize(
    ("text", "matcher"),
    [
        ("team=x", AlertMatcher("team", EQUAL, "x")),
        ('team="x"', AlertMatcher("team", EQUAL, "x")),
        ('  team = "x"  ', AlertMatcher("team", EQUAL, "x")),
        ("team=", AlertMatcher("team", EQUAL, "")),
        ('team=""', AlertMatcher("team", EQUAL, "")),
        ('team!="x"', AlertMatcher("team", NOT_EQUAL, "x")),
        ('severity=~"warning|critical"', AlertMatcher("severity", REGEX, "warning|critical")),
        ("severity!~warn.*", AlertMatcher("severity", NOT_REGEX, "warn.*")),
        ('{team="x"}', AlertMatcher("team", EQUAL, "x")),
        (r'a="\"b\" \\ \n \d"', AlertMatcher("a", EQUAL, '"b" \\ \n \\d')),
        ('a="x,y"', AlertMatcher("a", EQUAL, "x,y")),
        ("a=two words", AlertMatcher("a", EQUAL, "two words")),
        ("a:b=c", AlertMatcher("a:b", EQUAL, "c")),
        ("a=b\\", AlertMatcher("a", EQUAL, "b\\")),
        ('"a name"="x"', AlertMatcher("a name", EQUAL, "x")),
        ("dienst.name=x", AlertMatcher("dienst.name", EQUAL, "x")),
        ("größe=groß", AlertMatcher("größe", EQUAL, "groß")),
        (r'{"a\t\u00e9"="\x41\101\U0001F642\xc3\xa9"}', AlertMatcher("a\té", EQUAL, "AA🙂é")),
    ],
)
def test_a_matcher_reads(text: str, matcher: AlertMatcher) -> None:
    assert parse_matchers(text) == (matcher,)
    assert text.startswith("{") or parse_matcher(text) == matcher


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("{}", 0), ("a=b,c!=d", 2), ('{a="b,}", c=~"d|e",}', 2), ('{"x y"="1", "z"!="2",}', 2)],
)
def test_matchers_are_separated_by_commas(text: str, count: int) -> None:
    assert len(parse_matchers(text)) == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("team", "bad matcher format: team"),
        ("=x", "bad matcher format: =x"),
        ("bad-name", "bad matcher format: bad-name"),
        ('team="x', "unescaped double quote"),
        ('team=x"y', "unescaped double quote"),
        ('team="x"y"', "unescaped double quote"),
        ('{"x y"="1"', "unexpected open or close brace"),
        ('{team="x"}', "unexpected open or close brace"),
        (r'"a\q"="x"', "bad matcher format"),
        (r'"a\'"="x"', "bad matcher format"),
        ('"a\nb"="x"', "bad matcher format"),
        (r'"\xff"=x', "bad matcher format"),
        ('"a"=', "bad matcher format"),
        (",a=1", "bad matcher format"),
        ("", "bad matcher format"),
        ('a=~"("', "not an RE2 pattern"),
        ('a=~"(?=b)"', "not an RE2 pattern"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_matcher(text)


@pytest.mark.parametrize("text", ["a=1,,", ",a=1", '"a"=1,,b=2'])
def test_commas_stand_between_matchers(text: str) -> None:
    with pytest.raises(ValueError, match="bad matcher format"):
        parse_matchers(text)


def test_one_matcher_is_not_several() -> None:
    assert parse_matcher("a=b,c=d") == AlertMatcher("a", EQUAL, "b,c=d")
    with pytest.raises(ValueError, match='bad matcher format: "a"=b,c=d'):
        parse_matcher('"a"=b,c=d')


@given(st.text(min_size=1), st.sampled_from([EQUAL, NOT_EQUAL]), st.text())
def test_what_is_printed_is_read_again(name: str, op: MatchOp, value: str) -> None:
    matcher = AlertMatcher(name, op, value)
    assert parse_matchers(matchers_text((matcher,))) == (matcher,)


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ('team="x"', ""),
        ("team=x", ""),
        ('"a name"=x', ""),
        ("team=two words", "only Alertmanager's old grammar"),
        ("team=", "only Alertmanager's old grammar"),
        (r'team="\d"', "only Alertmanager's old grammar"),
        (r'team="\t"', "read this differently; taken as"),
        ('{team="x"', "only Alertmanager's old grammar"),
    ],
)
def test_what_alertmanagers_two_grammars_do_not_agree_on_is_told(text: str, warned: str) -> None:
    assert misgiving(text).startswith(warned) if not warned else warned in misgiving(text)
    assert bool(misgiving(text)) == bool(warned)


@pytest.mark.parametrize(("value", "fits"), [("ab", True), ("a\n", False), ("a\nb", False), ("xab", False)])
def test_a_pattern_fits_the_whole_value_and_its_dot_no_newline(value: str, fits: bool) -> None:
    assert parse_matcher('x=~"a.*"').matches(value) is fits
    assert parse_matcher('x!~"a.*"').matches(value) is not fits


@pytest.mark.parametrize(
    ("matcher", "text"),
    [
        (AlertMatcher("team", EQUAL, 'a"b\n\t'), 'team="a\\"b\\n\t"'),
        (AlertMatcher("dienst.name", NOT_REGEX, "x"), 'dienst.name!~"x"'),
        (AlertMatcher("a name", EQUAL, "a\t"), '"a name"="a\\t"'),
    ],
)
def test_it_is_printed_as_alertmanager_prints_it(matcher: AlertMatcher, text: str) -> None:
    assert str(matcher) == text
