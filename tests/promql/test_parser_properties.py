"""Whatever can be written: printing and parsing give the same tree, and no text crashes the parser."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.errors import QuerySyntaxError
from obskit.promql.literals import quote_string, unquote
from obskit.promql.parser import parse
from tests.promql.expressions import VECTORS


@settings(max_examples=150, deadline=None)
@given(VECTORS)
def test_what_is_printed_parses_to_the_same_tree(text: str) -> None:
    tree = parse(text)
    assert parse(str(tree)) == tree
    assert str(parse(str(tree))) == str(tree)


@settings(max_examples=150, deadline=None)
@given(VECTORS)
def test_children_lie_within_their_parents(text: str) -> None:
    for node in parse(text).walk():
        assert 0 <= node.start < node.end <= len(text)
        for child in node.children:
            assert node.start <= child.start
            assert child.end <= node.end


PIECES = st.sampled_from(
    ["x", "sum", "by", "(", ")", "{", "}", "[", "]", ",", "=", "=~", '"a"', "'", "5m", "1", "+", "-", "@", "offset", ":",
     "rate", "and", "on", "bool", "start", "#", "\n", "é", "!", "fill", "</", "smoothed"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=12).map(" ".join), st.text(max_size=20)))
def test_no_text_does_worse_than_a_syntax_error_within_it(text: str) -> None:
    error = _error_of(text)
    assert error is None or 0 <= error.start <= len(text) + 1
    assert error is None or error.start < error.end


def _error_of(text: str) -> QuerySyntaxError | None:
    try:
        parse(text)
    except QuerySyntaxError as error:
        return error
    return None


@settings(max_examples=100)
@given(st.text(st.characters(codec="utf-8")))
def test_a_quoted_string_reads_back(text: str) -> None:
    assert unquote(quote_string(text)) == text
