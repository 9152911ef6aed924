"""One search for all who look for something in lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from obskit.model.patterns import compile_pattern
from obskit.store.text_search import PatternSet, Question, TextSearch

PATTERNS = ["error", r"(?m:^start)", r"[0-9]{3}", "ü", r"\\", "(?i)Timeout", r"a\nb", r"(?m:end$)"]
TEXTS = st.lists(
    st.sampled_from(["error", "start", "123", "ü", "\\", "TIMEOUT", "a", "b", "end", " ", "x"]), max_size=12
)


@given(st.lists(st.sampled_from(PATTERNS), max_size=6), st.lists(TEXTS, max_size=5))
def test_a_set_finds_what_each_of_its_patterns_finds_alone(patterns: list[str], lines: list[list[str]]) -> None:
    data = "\n".join(map("".join, lines)).encode()
    alone = [number for number, one in enumerate(patterns) if compile_pattern(one).search(data) is not None]
    assert list(PatternSet(patterns).found_in(data)) == alone


def test_each_question_gets_the_numbers_of_its_own_patterns() -> None:
    own, rules, words = Question(["secret"]), Question(["a", "b", "c"]), Question(["c", "x"])
    search = TextSearch(own)
    search.ask(rules)
    search.ask(words)
    answers = search.look_into(b"b or c")
    assert {question: list(found) for question, found in answers.items()} == {own: [], rules: [1, 2], words: [0]}


def test_a_question_takes_the_place_of_another() -> None:
    own, before, after = Question([]), Question(["a"]), Question(["b"])
    search = TextSearch(own)
    search.ask(before)
    search.ask(after, instead_of=before)
    assert search.look_into(b"ab") == {own: [], after: [0]}


def test_who_has_no_patterns_is_answered_without_a_search() -> None:
    own = Question([])
    assert TextSearch(own).look_into(b"anything") == {own: []}


def test_patterns_that_take_long_are_left_to_those_who_ask_for_them() -> None:
    took = iter(range(1_000))
    own, slow = Question(["secret"]), Question(["(a|b)*c"])
    search = TextSearch(own, worked=lambda: float(next(took)))
    search.ask(slow)
    text = b"x" * 2_000_000
    assert slow in search.look_into(text)
    assert slow in search.look_into(text)
    assert search.look_into(text) == {own: []}
    search.ask(Question(["d"]), instead_of=slow)
    assert len(search.look_into(b"d")) == 2
