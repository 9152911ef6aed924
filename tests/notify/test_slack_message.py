from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import Alert
from obskit.model.labels import Labels
from obskit.notify import slack_message
from obskit.notify.slack_message import SIZE_LIMIT, escape, message, plain
from obskit.notify.text import card
from obskit.testing.slack_limits import refuse_message
from tests.notify.golden import check_golden
from tests.notify.notices import START_MS, alert, notice, resolved

SAMPLES = {
    "slack_firing": notice(),
    "slack_several": notice(alert("a"), alert("b", summary="9 % failed"), alert("c"), alert("d")),
    "slack_warning": notice(alert(severity="warning")),
    "slack_resolved": resolved("a", "b"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_messages_are_as_they_were(name: str) -> None:
    check_golden(name, message(card(SAMPLES[name])))


def test_plain_messages_are_as_they_were() -> None:
    check_golden("slack_plain", plain(card(notice())))


def test_colour_icon_and_word_all_tell_the_state() -> None:
    built = message(card(resolved()))
    headline = built["blocks"][0]["text"]["text"]
    assert "✅" in headline
    assert "resolved" in headline
    assert built["attachments"][0]["color"] == "#2da44e"


def test_there_is_no_button_without_something_to_open() -> None:
    built = message(card(notice(alert(runbook_url="", logs_url=""))))
    assert [block["type"] for block in built["attachments"][0]["blocks"]] == ["section", "context", "section"]


def test_text_of_users_cannot_call_a_channel_or_forge_a_link() -> None:
    built = str(message(card(notice(alert(summary="<!channel> <https://evil.example|click> & co")))))
    assert "<!channel>" not in built
    assert "<https://evil" not in built


def test_a_day_is_named_when_the_alert_is_older_than_one() -> None:
    built = str(message(card(notice(after_ms=2 * 86_400_000))))
    assert "<!date^1700000000^{date_short_pretty} {time}|2023-11-14 22:13 UTC>" in built


def test_escaping_counts_as_slack_counts() -> None:
    assert escape("a<b", 10) == "a&lt;b"
    assert escape("<<<", 9) == "&lt;&lt;…"
    assert escape("abc", 3) == "abc"


def test_parts_are_dropped_in_a_fixed_order_until_the_message_fits() -> None:
    url = "https://runbooks.example/" + "r" * 2_900
    everything: dict[str, Any] = {
        "summary": "s" * 2_000,
        "description": "d" * 2_000,
        "action": "a" * 2_000,
        "runbook_url": url,
        "logs_url": url,
        "dashboard_url": url[:2_400],
    }
    alerts = [alert(name, **{**everything, "summary": name * 2_000}) for name in "abc"]
    built = message(card(notice(*alerts)))
    texts = json.dumps(built, ensure_ascii=False).replace("\\n", "\n")
    assert "ddd" not in texts  # the detail goes first
    assert "• machine c" in texts
    assert "*Do first:*" in texts
    assert "Runbook" in texts
    assert refuse_message(built, update=True) == ("", [])


def test_detail_goes_before_members_and_members_before_links() -> None:
    steps = list(slack_message._smaller(card(notice(alert("a"), alert("b"), alert("c")))))
    left = [(bool(step.detail), len(step.members), step.more_members, len(step.links)) for step in steps]
    assert left == [(True, 3, 0, 2), (False, 3, 0, 2), (False, 1, 2, 2), (False, 0, 0, 2), (False, 0, 0, 0)]


WORDS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=80) | st.sampled_from(
    ["&" * 5_000, "<" * 900, "x" * 9_000]
)


@st.composite
def _notices(draw: st.DrawFn) -> Notice:
    alerts = []
    for number in range(draw(st.integers(1, 6))):
        labels = {"alertname": draw(WORDS), "severity": draw(WORDS), "app": draw(WORDS), "machine": str(number)}
        texts = {key: draw(WORDS) for key in ("summary", "description", "action")}
        urls = {key: "https://x.example/" + "<|>&" * draw(st.integers(0, 700)) for key in ("runbook_url", "logs_url")}
        ended = draw(st.none() | st.integers(START_MS, START_MS + 10**9))
        source, url = draw(WORDS), urls["logs_url"]
        alerts.append(Alert(Labels(labels), texts | urls, START_MS, ended, source=source, generator_url=url))
    reason = draw(st.sampled_from(NoticeReason))
    return notice(*alerts, reason=reason, after_ms=draw(st.integers(0, 10**10)))


@settings(max_examples=80, deadline=None)
@given(_notices())
def test_whatever_the_alerts_say_slack_takes_the_message(one: Notice) -> None:
    shown = card(one)
    for built in (message(shown), plain(shown)):
        assert refuse_message(built, update=True) == ("", [])
        assert slack_message._size(built) <= SIZE_LIMIT
