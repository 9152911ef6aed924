from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import LOG_LINES, Alert
from obskit.model.context import Ack, Care, Context, Deploy, Escalated, Limit, Silence, TopError
from obskit.model.digest import Digest, Entry, Tally
from obskit.model.labels import Labels
from obskit.notify import slack_message
from obskit.notify.slack_context import context_message, has_context, plain_context
from obskit.notify.slack_digest import digest_message, plain_digest
from obskit.notify.slack_message import SIZE_LIMIT, escape, message, plain
from obskit.notify.text import card
from obskit.testing.slack_limits import refuse_message
from tests.notify.golden import check_golden
from tests.notify.notices import KNOWN, MINUTE_MS, START_MS, alert, notice, resolved

ACKED = Care(ack=Ack("ann", START_MS + 2 * MINUTE_MS, "PagerDuty"))
SILENCED = Care(silence=Silence("ann", START_MS + 66 * MINUTE_MS, "known, the vendor is on it"))
SAMPLES = {
    "slack_firing": replace(notice(), context=KNOWN),
    "slack_bare": notice(),
    "slack_acked": replace(notice(), care=ACKED),
    "slack_silenced": replace(notice(), care=SILENCED),
    "slack_escalated": replace(notice(), care=Care(escalated=(Escalated("pagerduty", 300_000),))),
    "slack_flapping": replace(notice(alert(severity="warning")), care=Care(flaps=5)),
    "slack_part": replace(notice(alert("a"), alert("b"), alert("c", ended=True)), context=KNOWN),
    "slack_over": replace(resolved("a", "b"), care=ACKED, context=KNOWN),
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
    built = message(card(replace(notice(alert(runbook_url="", logs_url="")), external_url="")))
    assert [block["type"] for block in built["attachments"][0]["blocks"]] == ["section", "section", "context"]


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
        "dashboard_url": url[:2_000],
    }
    alerts = [alert(name, **{**everything, "summary": name * 2_000}) for name in "abc"]
    built = message(card(notice(*alerts)))
    texts = json.dumps(built, ensure_ascii=False).replace("\\n", "\n")
    assert "ddd" not in texts  # the detail goes first
    assert "• machine c" in texts
    assert "*Do first:*" in texts
    assert "Runbook" in texts
    assert refuse_message(built, update=True) == ("", [])


def test_what_a_person_can_do_without_goes_first() -> None:
    one = replace(notice(alert("a"), alert("b"), alert("c")), context=KNOWN)
    steps = list(slack_message._smaller(card(one)))
    left = [
        (
            bool(step.sparkline),
            len(step.members),
            step.more_members,
            bool(step.error),
            bool(step.deploy),
            len(step.links),
        )
        for step in steps
    ]
    assert left == [
        (True, 3, 0, True, True, 2),
        (False, 3, 0, True, True, 2),
        (False, 1, 2, True, True, 2),
        (False, 0, 0, True, True, 2),
        (False, 0, 0, False, True, 2),
        (False, 0, 0, False, False, 2),
        (False, 0, 0, False, False, 0),
    ]


WORDS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=80) | st.sampled_from(
    ["&" * 5_000, "<" * 900, "x" * 9_000]
)


TIMES = st.integers(START_MS - 10**9, START_MS + 10**9)
FLOATS = st.floats()
CARES = st.builds(
    Care,
    ack=st.none() | st.builds(Ack, WORDS, TIMES, WORDS),
    silence=st.none() | st.builds(Silence, WORDS, TIMES, WORDS),
    flaps=st.integers(0, 50),
)
CONTEXTS = st.builds(
    Context,
    limit=st.none() | st.builds(Limit, st.sampled_from([">", "<=", "=="]), FLOATS),
    readings=st.lists(st.tuples(TIMES, FLOATS), max_size=90).map(
        lambda found: tuple(sorted(found, key=lambda r: r[0]))
    ),
    unit=WORDS,
    deploys=st.lists(st.builds(Deploy, TIMES, WORDS, WORDS, WORDS), max_size=5).map(tuple),
    top_error=st.none() | st.builds(TopError, WORDS, st.integers(0, 10**9)),
)


@st.composite
def _notices(draw: st.DrawFn) -> Notice:
    alerts = []
    for number in range(draw(st.integers(1, 6))):
        labels = {"alertname": draw(WORDS), "severity": draw(WORDS), "app": draw(WORDS), "machine": str(number)}
        texts = {key: draw(WORDS) for key in ("summary", "description", "action", LOG_LINES)}
        urls = {key: "https://x.example/" + "<|>&" * draw(st.integers(0, 700)) for key in ("runbook_url", "logs_url")}
        ended = draw(st.none() | st.integers(START_MS, START_MS + 10**9))
        source, url = draw(WORDS), urls["logs_url"]
        alerts.append(Alert(Labels(labels), texts | urls, START_MS, ended, source=source, generator_url=url))
    reason = draw(st.sampled_from(NoticeReason))
    one = notice(*alerts, reason=reason, after_ms=draw(st.integers(0, 10**10)))
    return replace(one, care=draw(CARES), context=draw(CONTEXTS))


@settings(max_examples=80, deadline=None)
@given(_notices())
def test_whatever_the_alerts_say_slack_takes_the_message(one: Notice) -> None:
    shown = card(one)
    for built in (message(shown), plain(shown)):
        assert refuse_message(built, update=True) == ("", [])
        assert slack_message._size(built) <= SIZE_LIMIT
    if has_context(shown, one.context):
        for built in (
            *(context_message(shown, one.context, charts=drawn) for drawn in (True, False)),
            plain_context(shown, one.context),
        ):
            assert refuse_message(built, update=False) == ("", [])
            assert len(built["text"]) <= 4_000


@settings(max_examples=30, deadline=None)
@given(
    st.builds(
        Digest,
        id=st.just("d"),
        receiver=WORDS,
        since_ms=TIMES,
        decided_ms=TIMES,
        total=st.integers(0, 10**6),
        firing=st.integers(0, 10**6),
        moved=st.integers(0, 9),
        more_tallies=st.integers(0, 9),
        tallies=st.lists(st.builds(Tally, WORDS, WORDS, st.integers(0, 9), st.integers(0, 9)), max_size=12).map(tuple),
        entries=st.lists(st.builds(Entry, WORDS, WORDS, WORDS, TIMES), max_size=12).map(tuple),
        external_url=st.sampled_from(["", "https://obskit.example", "javascript:x"]),
    )
)
def test_whatever_a_flood_is_made_of_slack_takes_the_digest(digest: Digest) -> None:
    for built in (digest_message(digest), plain_digest(digest)):
        assert refuse_message(built, update=True) == ("", [])
        assert slack_message._size(built) <= SIZE_LIMIT


def test_log_lines_stand_in_a_block_that_they_cannot_leave() -> None:
    built = message(card(notice(alert("a", log_lines="GET /a\n```<!channel>"))))
    (block,) = [one for one in built["attachments"][0]["blocks"] if "GET /a" in str(one)]
    assert block["text"]["text"] == '```\nGET /a\n"&lt;!channel&gt;\n```'
