from __future__ import annotations

from dataclasses import replace

import pytest

from obskit.model.actions import NoticeReason
from obskit.model.alerts import Alert, ResolveReason
from obskit.model.labels import EMPTY, Labels
from obskit.notify import text
from obskit.notify.text import Tone, card, facts, headline, lasted, lines, news
from tests.notify.notices import MINUTE_MS, START_MS, alert, notice, resolved


def bare(**labels: str) -> Alert:
    return Alert(Labels({"alertname": "Bare", **labels}), {}, START_MS, source="")


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "0 s"),
        (499, "0 s"),
        (45_000, "45 s"),
        (59_600, "1 min"),
        (6 * MINUTE_MS, "6 min"),
        (6 * MINUTE_MS + 30_000, "6 min"),
        (60 * MINUTE_MS, "1 h"),
        (65 * MINUTE_MS, "1 h 5 min"),
        (25 * 60 * MINUTE_MS, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_a_span_is_said_in_its_two_largest_units(ms: int, said: str) -> None:
    assert lasted(ms) == said


def test_the_headline_reads_on_a_lock_screen() -> None:
    assert headline(card(notice())) == (
        "FIRING critical: High5xx - 7.4 % of requests to api failed, limit 2 % for 6 min - api/fra/a"
    )


def test_a_resolved_headline_does_not_read_as_if_it_still_were_so() -> None:
    assert headline(card(resolved("a", "b"))) == (
        "RESOLVED critical: High5xx - was: 7.4 % of requests to api failed, limit 2 % after 6 min - api/fra, 2 machines"
    )


def test_facts_without_data_vanish() -> None:
    shown = card(replace(notice(bare(), after_ms=0), group_labels=EMPTY))
    assert lines(shown, text.utc_stamp) == ["FIRING: Bare just now", "since 22:13 UTC"]


def test_a_value_stands_in_for_a_missing_summary() -> None:
    assert card(notice(replace(bare(), value=1234.5678))).summary == "value 1234.57"


def test_at_most_three_members_are_listed_by_the_label_that_varies() -> None:
    shown = card(notice(alert("a"), alert("b"), alert("c"), alert("d", summary="it burns")))
    assert shown.members == ("machine a", "machine b", "machine c")
    assert shown.more_members == 1


def test_a_member_says_what_the_message_has_not_said() -> None:
    shown = card(notice(alert("a"), alert("b", summary="it burns")))
    assert shown.members == ("machine a", "machine b: it burns")


def test_the_worst_alert_speaks_for_the_group() -> None:
    shown = card(notice(alert("a", severity="info"), alert("b", severity="critical", summary="it burns")))
    assert (shown.severity, shown.summary, shown.tone) == ("critical", "it burns", Tone.CRITICAL)


@pytest.mark.parametrize(
    ("severity", "tone"),
    [
        ("critical", Tone.CRITICAL),
        ("PAGE", Tone.CRITICAL),
        ("error", Tone.CRITICAL),
        ("warning", Tone.WARNING),
        ("", Tone.WARNING),
        ("odd", Tone.WARNING),
        ("info", Tone.INFO),
    ],
)
def test_severity_sets_the_tone(severity: str, tone: Tone) -> None:
    assert card(notice(bare(severity=severity))).tone is tone


def test_an_end_without_recovery_is_not_called_resolved() -> None:
    gone = replace(alert(ended=True), resolve_reason=ResolveReason.NO_DATA)
    shown = card(notice(gone, reason=NoticeReason.ALL_RESOLVED))
    assert (shown.tone, shown.word) == (Tone.ENDED, "ENDED (no data)")


@pytest.mark.parametrize(
    ("was", "now", "value", "said"),
    [
        ("api: 7.4 % fail (limit 2 %)", "api: 0.4 % fail (limit 2 %)", 0.4, "now: 0.4 %"),
        ("Queue a: 120 messages wait", "Queue a: 3 messages wait", 3, "now: 3"),
        ("waits 3m 20s (limit 3 minutes)", "waits 5s (limit 3 minutes)", 5, "now: 5s"),
        ("up is 0, must be 1", "up is 1, must be 1", 1, "now: 1"),
        ("7 minutes of work", "0.5 minutes of work", 0.5, "now: 0.5 minutes"),
        ("7 of 7", "7 of 7", 7, "now: 7"),
        ("it burns", "", 0.123456789, "now: 0.123457"),
        ("it burns", "all of it reads as something else entirely", 0.5, "now: 0.5"),
    ],
)
def test_what_recovered_says_what_it_was_and_what_it_is_now(was: str, now: str, value: float, said: str) -> None:
    over = replace(alert(ended=True, summary=was), resolved_value=value, resolved_summary=now)
    ended = notice(over, reason=NoticeReason.ALL_RESOLVED)
    assert card(ended).summary == f"was: {was}, {said}"
    assert news(ended) == f"Resolved after 6 min, {said.replace(':', '')}"


def test_alerts_of_several_names_are_all_named() -> None:
    alerts = [replace(bare(), labels=Labels({"alertname": name}), fingerprint="") for name in "ABCDE"]
    assert card(notice(*alerts)).title == "A, B, C +2"


def test_links_must_be_web_addresses() -> None:
    shown = card(notice(alert(runbook_url="javascript:alert(1)", logs_url="https://logs.example/")))
    assert [link.text for link in shown.links] == ["Logs"]


def test_the_facts_tell_where_since_when_how_many_and_which_rule() -> None:
    said = facts(card(notice(alert("a"), alert("b"), alert("c", ended=True))), text.utc_stamp)
    assert said == "app api · region fra · since 22:13 UTC (6 min) · 2 firing, 1 resolved · rule api.yaml:High5xx"


def fingerprints(*alerts: Alert) -> frozenset[str]:
    return frozenset(one.fingerprint for one in alerts)


@pytest.mark.parametrize(
    ("alerts", "changed", "reason", "said"),
    [
        (("a", "b", "c"), "bc", NoticeReason.NEW_ALERTS, "+2 new: machine b, machine c"),
        (("a", "b-"), "b", NoticeReason.SOME_RESOLVED, "1 of 2 resolved: machine b"),
        (("a", "b-", "c"), "bc", NoticeReason.NEW_ALERTS, "+1 new: machine c; 1 of 3 resolved: machine b"),
        (("a-", "b-"), "ab", NoticeReason.ALL_RESOLVED, "Resolved after 6 min"),
        (("a",), "", NoticeReason.REPEAT, "Still firing after 6 min: 7.4 % of requests to api failed, limit 2 %"),
        (("a",), "", NoticeReason.CHANGED, ""),
    ],
)
def test_news_is_what_changed(alerts: tuple[str, ...], changed: str, reason: NoticeReason, said: str) -> None:
    built = [alert(name[0], ended=name.endswith("-")) for name in alerts]
    marked = fingerprints(*(one for one in built if one.labels["machine"] in changed))
    assert news(notice(*built, reason=reason, changed=marked)) == said


def test_a_worse_newcomer_is_noticed() -> None:
    old, new = alert("a", severity="warning"), alert("b", severity="critical")
    assert text.became_worse(notice(old, new, changed=fingerprints(new)))
    assert not text.became_worse(notice(old, new, changed=fingerprints(old)))
    assert not text.became_worse(notice(new, changed=fingerprints(new)))


def test_clipping_keeps_one_line_within_the_limit() -> None:
    assert text.clip("one\ntwo  three", 9) == "one two…"
    assert text.clip("short", 9) == "short"


def test_log_lines_are_shown_while_it_fires() -> None:
    shown = card(notice(alert("a", log_lines="first\nlast")))
    assert shown.samples == ("first", "last")
    assert "> first" in lines(shown, text.utc_stamp)
    assert card(resolved("a")).samples == ()
