from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from obskit.model.actions import Notice, NoticeReason, Outcome, OutcomeReason, OutcomeStatus
from obskit.notify.base import Response
from obskit.notify.pagerduty import PagerDuty, PagerDutySettings, dedup_key
from obskit.testing.pagerduty import ROUTING_KEY
from tests.notify.golden import check_golden
from tests.notify.notices import alert, notice, resolved


def pagerduty(**settings: Any) -> PagerDuty:
    return PagerDuty(PagerDutySettings.model_validate({"routing_key": ROUTING_KEY, **settings}))


def event(one: Notice, *, step: str = "trigger", degraded: bool = False, **settings: Any) -> dict[str, Any]:
    request = pagerduty(**settings).render(one, step, None, degraded)
    assert request is not None
    decoded: dict[str, Any] = json.loads(request.body or b"")
    return decoded


def classify(status: int, body: str = "", **headers: str) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return pagerduty().classify(Response(status, named, body.encode()), "trigger")


def test_the_dedup_key_is_alertmanagers() -> None:
    key = dedup_key('{}:{alertname="HighErrors", cluster="prod"}')
    assert key == "0588e17d360f4f099bf4f3c0e49d504c23949120c54f19289f6e6d3d8e7934d7"


def test_a_trigger_is_as_it_was() -> None:
    check_golden("pagerduty_trigger", event(notice(alert("a"), alert("b", summary="9 % failed"))))


def test_a_resolve_needs_only_the_key() -> None:
    assert event(resolved(), step="resolve") == {
        "routing_key": ROUTING_KEY,
        "dedup_key": dedup_key(notice().group_key),
        "event_action": "resolve",
    }


@pytest.mark.parametrize(
    ("severity", "sent"),
    [
        ("critical", "critical"),
        ("page", "critical"),
        ("warning", "warning"),
        ("info", "info"),
        ("odd", "error"),
        ("", "error"),
    ],
)
def test_the_severity_label_is_mapped(severity: str, sent: str) -> None:
    assert event(notice(alert(severity=severity)))["payload"]["severity"] == sent


def test_a_configured_severity_wins() -> None:
    assert event(notice(), severity="info")["payload"]["severity"] == "info"


def test_details_of_the_settings_are_added() -> None:
    assert event(notice(), details={"team": "core"})["payload"]["custom_details"]["team"] == "core"


def test_an_event_above_the_limit_loses_its_details_not_its_count() -> None:
    many = notice(*(alert(f"a{number}", description="é" * 900) for number in range(400)))
    sent = event(many)
    assert len(json.dumps(sent, ensure_ascii=False).encode()) < 512_000
    assert sent["payload"]["custom_details"] == {"num_firing": "400", "num_resolved": "0"}
    assert sent["payload"]["summary"].startswith("[FIRING:400] High5xx")


def test_a_degraded_event_is_the_bare_minimum() -> None:
    sent = event(notice(), degraded=True)
    assert "links" not in sent
    assert sent["payload"]["custom_details"] == {"num_firing": "1", "num_resolved": "0"}


def test_a_long_summary_is_cut() -> None:
    assert len(event(notice(alert(summary="x" * 5_000)))["payload"]["summary"]) == 1_024


def test_a_resolve_never_takes_the_place_of_a_trigger() -> None:
    (trigger,), (resolve,) = pagerduty().steps(notice()), pagerduty().steps(resolved())
    assert (trigger.name, resolve.name) == ("trigger", "resolve")
    assert trigger.coalesce != resolve.coalesce


@pytest.mark.parametrize(
    ("status", "body", "headers", "outcome", "reason"),
    [
        (202, '{"status":"success"}', {}, OutcomeStatus.SENT, OutcomeReason.NONE),
        (400, '{"errors":["Invalid routing key"]}', {}, OutcomeStatus.PERMANENT, OutcomeReason.CREDENTIAL),
        (400, '{"errors":["summary"]}', {}, OutcomeStatus.PERMANENT, OutcomeReason.PAYLOAD),
        (429, "", {}, OutcomeStatus.RETRY, OutcomeReason.RATE_LIMITED),
        (500, "", {}, OutcomeStatus.RETRY, OutcomeReason.SERVER),
    ],
)
def test_answers_are_told_apart(
    status: int, body: str, headers: dict[str, str], outcome: OutcomeStatus, reason: OutcomeReason
) -> None:
    classified = classify(status, body, **headers)
    assert (classified.status, classified.reason) == (outcome, reason)


def test_a_429_without_a_time_waits_as_the_documentation_asks() -> None:
    assert classify(429).retry_after_s == 30
    assert classify(429, retry_after="5").retry_after_s == 5


def test_what_the_settings_say_is_in_the_incident() -> None:
    sent = event(
        notice(),
        description="the shop is down",
        images=[{"src": "https://img.example/a.png", "alt": "a chart"}],
        links=[{"href": "https://wiki.example", "text": "Wiki"}],
        **{"class": "outage"},
    )
    assert (sent["payload"]["summary"], sent["payload"]["class"]) == ("the shop is down", "outage")
    assert sent["images"] == [{"src": "https://img.example/a.png", "alt": "a chart"}]
    assert sent["links"][-1] == {"href": "https://wiki.example", "text": "Wiki"}


def test_one_incident_per_alert_hides_nobody() -> None:
    a, b, c = alert("a"), alert("b"), alert("c", ended=True)
    grown = replace(notice(a, b, c), changed=frozenset({b.fingerprint, c.fingerprint}))
    steps = [step.name for step in pagerduty(dedup="alert").steps(grown)]
    assert steps == [f"trigger:{b.fingerprint}", f"resolve:{c.fingerprint}"]
    sent = event(grown, step=steps[0], dedup="alert")
    assert sent["dedup_key"] == dedup_key(grown.group_key, b.fingerprint)
    assert sent["payload"]["summary"].startswith("[FIRING:1] High5xx")
    assert event(grown, step=steps[1], dedup="alert")["event_action"] == "resolve"


def test_a_repeat_tells_every_alert_that_fires() -> None:
    again = notice(alert("a"), alert("b"), alert("c", ended=True), reason=NoticeReason.REPEAT)
    assert len(pagerduty(dedup="alert").steps(again)) == 2


def test_a_deploy_is_a_change_and_pages_nobody() -> None:
    changes = pagerduty(send_as="change")
    assert [step.name for step in changes.steps(notice())] == ["change"]
    assert changes.steps(resolved()) == []
    request = changes.render(notice(), "change", None, False)
    assert request is not None
    assert request.url == "https://events.pagerduty.com/v2/change/enqueue"
    sent = json.loads(request.body or b"")
    assert set(sent) == {"routing_key", "payload", "links"}
    assert sent["payload"]["summary"].startswith("High5xx: 7.4 %")


def test_a_ruleset_takes_no_changes() -> None:
    with pytest.raises(ValidationError, match="not with a ruleset's"):
        pagerduty(routing_key="R0123", send_as="change")
