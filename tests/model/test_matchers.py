from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.model.matchers import Matcher, MatchOp, parse_matcher, parse_matchers

EQUAL, NOT_EQUAL, REGEX, NOT_REGEX = MatchOp.EQUAL, MatchOp.NOT_EQUAL, MatchOp.REGEX, MatchOp.NOT_REGEX


@pytest.mark.parametrize(
    ("text", "matcher"),
    [
        ("team=x", Matcher("team", EQUAL, "x")),
        ('team="x"', Matcher("team", EQUAL, "x")),
        ('  team = "x"  ', Matcher("team", EQUAL, "x")),
        ("team=", Matcher("team", EQUAL, "")),
        ('team=""', Matcher("team", EQUAL, "")),
        ('team!="x"', Matcher("team", NOT_EQUAL, "x")),
        ('severity=~"warning|critical"', Matcher("severity", REGEX, "warning|critical")),
        ("severity!~warn.*", Matcher("severity", NOT_REGEX, "warn.*")),
        ('{team="x"}', Matcher("team", EQUAL, "x")),
        (r'a="\"b\" \\ \n \d"', Matcher("a", EQUAL, '"b" \\ \n \\d')),
        ('a="x,y"', Matcher("a", EQUAL, "x,y")),
        ("a=two words", Matcher("a", EQUAL, "two words")),
        ("a:b=c", Matcher("a:b", EQUAL, "c")),
        ("a=b\\", Matcher("a", EQUAL, "b\\")),
        ('"a name"="x"', Matcher("a name", EQUAL, "x")),
        ("dienst.name=x", Matcher("dienst.name", EQUAL, "x")),
        ("größe=groß", Matcher("größe", EQUAL, "groß")),
        (r'{"a\t\u00e9"="\x41\101\U0001F642"}', Matcher("a\té", EQUAL, "AA🙂")),
    ],
)
def test_a_matcher_reads(text: str, matcher: Matcher) -> None:
    assert parse_matcher(text) == matcher


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
        ('team="x', "has no closing quote"),
        ('team=x"y', "unescaped double quote"),
        ('team="x"y"', "unescaped double quote"),
        ('{"x y"="1"', "a brace is missing"),
        (r'"a\q"="x"', r"unknown escape: \q"),
        ('a=~"("', "not an RE2 pattern"),
        ('a=~"(?=b)"', "not an RE2 pattern"),
        ("a=1,,", None),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str | None) -> None:
    if message is None:
        assert len(parse_matchers(text)) == 1
        return
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace("\\q", r"\\q")):
        parse_matcher(text)


def test_one_matcher_is_not_several() -> None:
    with pytest.raises(ValueError, match="expected one matcher, found 2"):
        parse_matcher("a=b,c=d")


@given(st.text(min_size=1), st.sampled_from([EQUAL, NOT_EQUAL]), st.text())
def test_what_is_printed_is_read_again(name: str, op: MatchOp, value: str) -> None:
    matcher = Matcher(name, op, value)
    assert parse_matchers("{" + str(matcher) + "}") == (matcher,)
