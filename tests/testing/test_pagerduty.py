from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from obskit.testing.clock import FakeClock
from obskit.testing.http import Failure
from obskit.testing.pagerduty import ROUTING_KEY, FakePagerDuty
from tests.testing.calls import post


@pytest.fixture
def pagerduty() -> Iterator[FakePagerDuty]:
    with FakePagerDuty(FakeClock()) as server:
        yield server


def send(server: FakePagerDuty, action: str, **more: Any) -> tuple[int, Any]:
    event = {"routing_key": ROUTING_KEY, "dedup_key": "k", "event_action": action}
    if action == "trigger":
        event["payload"] = {"summary": "s", "source": "x", "severity": "error", **more.pop("payload", {})}
    answer = post(server.url, {**event, **more})
    return answer.status, json.loads(answer.body) if answer.body.startswith(b"{") else answer.body


def test_an_incident_goes_through_its_states(pagerduty: FakePagerDuty) -> None:
    states = []
    for action in ("trigger", "acknowledge", "trigger", "resolve"):
        assert send(pagerduty, action)[0] == 202
        states.append(pagerduty.state("k"))
    assert states == ["triggered", "acknowledged", "acknowledged", "resolved"]
    assert len(pagerduty.incidents[0].events) == 4


def test_a_trigger_after_a_resolve_is_a_new_incident(pagerduty: FakePagerDuty) -> None:
    for action in ("trigger", "resolve", "trigger"):
        send(pagerduty, action)
    assert [incident.state for incident in pagerduty.incidents] == ["resolved", "triggered"]


def test_a_repeated_trigger_updates_the_summary(pagerduty: FakePagerDuty) -> None:
    send(pagerduty, "trigger", payload={"summary": "one"})
    send(pagerduty, "trigger", payload={"summary": "two"})
    assert [incident.summary for incident in pagerduty.incidents] == ["two"]


@pytest.mark.parametrize("action", ["acknowledge", "resolve"])
def test_what_has_no_incident_is_dropped_in_silence(pagerduty: FakePagerDuty, action: str) -> None:
    assert send(pagerduty, action)[0] == 202
    assert pagerduty.incidents == []
    assert pagerduty.state("k") == ""
    assert [event["event_action"] for event in pagerduty.dropped] == [action]


@pytest.mark.parametrize(
    ("action", "more", "complaint"),
    [
        ("trigger", {"routing_key": "x"}, "Invalid routing key"),
        ("explode", {}, "event_action"),
        ("trigger", {"dedup_key": "x" * 256}, "dedup_key"),
        ("resolve", {"dedup_key": ""}, "dedup_key"),
        ("trigger", {"payload": {"summary": ""}}, "summary"),
        ("trigger", {"payload": {"summary": "x" * 1_025}}, "summary"),
        ("trigger", {"payload": {"severity": "bad"}}, "severity"),
        ("trigger", {"payload": {"custom_details": "x"}}, "custom_details"),
        ("trigger", {"links": [{"text": "x"}]}, "links"),
    ],
)
def test_a_bad_event_is_refused_with_every_reason(
    pagerduty: FakePagerDuty, action: str, more: dict[str, Any], complaint: str
) -> None:
    status, said = send(pagerduty, action, **more)
    assert (status, said["status"]) == (400, "invalid event")
    assert complaint in said["errors"][0]


def test_without_a_key_it_makes_one(pagerduty: FakePagerDuty) -> None:
    assert send(pagerduty, "trigger", dedup_key="")[1]["dedup_key"] == "generated-0"


@pytest.mark.parametrize("body", [b"", b"nope", b"[]"])
def test_what_is_no_event_is_refused(pagerduty: FakePagerDuty, body: bytes) -> None:
    assert post(pagerduty.url, body).status == 400


def test_too_much_is_refused(pagerduty: FakePagerDuty) -> None:
    assert send(pagerduty, "trigger", payload={"custom_details": {"x": "x" * 600_000}})[0] == 413


def test_other_paths_do_not_exist(pagerduty: FakePagerDuty) -> None:
    assert post(pagerduty.base_url + "/v2/other", {}).status == 404


def test_a_limited_key_takes_120_a_minute() -> None:
    clock = FakeClock()
    with FakePagerDuty(clock, limited=True) as pagerduty:
        statuses = [send(pagerduty, "resolve")[0] for _ in range(121)]
        clock.advance(61)
        assert send(pagerduty, "resolve")[0] == 202
    assert statuses == [202] * 120 + [429]


def test_a_planned_429_reads_as_pagerdutys(pagerduty: FakePagerDuty) -> None:
    pagerduty.plan(Failure(429))
    assert send(pagerduty, "trigger") == (429, b"429 - Request Limit Exceeded")
