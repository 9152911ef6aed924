from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.notify import drawing, text
from obskit.notify.discord import MARKDOWN
from tests.notify.notices import alert, notice, resolved
from tests.notify.stories import EVIL, GROWN, OVER


def drawn(one: object, limit: int = 9_999) -> list[str]:
    from obskit.model.actions import Notice

    assert isinstance(one, Notice)
    return drawing.body(one, text.card(one), drawing.PLAIN, limit).splitlines()


def test_a_message_says_what_is_wrong_and_what_to_do() -> None:
    assert drawn(notice()) == [
        "7.4 % of requests to api failed, limit 2 %",
        "Most failures are TimeoutError: pool exhausted <!channel> & friends.",
        "app api · region fra · machine a · since 22:13 UTC (6 min) · rule api.yaml:High5xx",
        "Do first: Roll back the last deploy, then look at the pool's size.",
        "Runbook: https://docs.example/runbooks/high-5xx",
        "Logs: https://logs.example/?q=a|b&app=api",
    ]


def test_what_is_new_comes_second() -> None:
    assert drawn(GROWN)[1] == "+1 new: machine b"


def test_the_end_says_so_in_the_heading_and_how_it_was() -> None:
    assert drawing.heading(text.card(resolved()), 100) == "✅ RESOLVED: High5xx"
    assert drawn(OVER)[0].startswith("was: 7.4 %")


def test_what_matters_least_is_left_out_first() -> None:
    seen = []
    whole = drawing.body(GROWN, text.card(GROWN), drawing.PLAIN, 9_999)
    for limit in range(len(whole), 60, -1):
        lines = drawn(GROWN, limit)
        assert len("\n".join(lines)) <= limit
        if not seen or seen[-1] != lines:
            seen.append(lines)
    gone = [(set(before) - set(after)).pop() for before, after in pairwise(seen)]
    assert [line.partition(" ")[0] for line in gone[:8]] == [
        "Most", "-", "-", "Logs:", "+1", "app", "Runbook:", "Do",
    ]  # fmt: skip


@pytest.mark.parametrize("markup", [drawing.PLAIN, drawing.HTML, MARKDOWN])
@pytest.mark.parametrize("limit", [20, 140, 1_024, 4_096])
@pytest.mark.parametrize("size", [len, drawing.byte_size])
def test_no_limit_is_passed_whatever_is_said(markup: drawing.Markup, limit: int, size: object) -> None:
    assert callable(size)
    said = drawing.body(EVIL, text.card(EVIL), markup, limit, size)
    assert 0 < size(said) <= limit


@given(summary=st.text(max_size=300), limit=st.integers(8, 300))
@settings(max_examples=100, deadline=None)
def test_a_cut_never_cuts_an_entity(summary: str, limit: int) -> None:
    one = notice(alert(summary=summary))
    said = drawing.body(one, text.card(one), drawing.HTML, limit)
    assert len(said) <= limit
    assert "<" not in said.replace("<b>", "").replace("</b>", "").replace("<a href=", "").replace("</a>", "")
