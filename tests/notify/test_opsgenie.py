from __future__ import annotations

from typing import Any

import pytest

from obskit.model.actions import OutcomeStatus
from obskit.notify.pagerduty import dedup_key
from obskit.testing.opsgenie import KEY, FakeOpsgenie
from tests.notify.deliveries import Conversation
from tests.notify.golden import check_golden
from tests.notify.notices import alert, notice
from tests.notify.stories import EVIL, FIRST, GROWN, LIFE, OVER

KINDS = {"opsgenie_configs": "", "jsm_configs": "/jsm/ops/integration"}


def talk(server: FakeOpsgenie, key: str = "opsgenie_configs", **settings: Any) -> Conversation:
    return Conversation(key, {"api_key": KEY, "api_url": server.base_url + KINDS[key], **settings})


@pytest.mark.parametrize("key", KINDS)
def test_an_incident_is_one_alert_under_alertmanagers_alias_that_is_closed_at_its_end(key: str) -> None:
    with FakeOpsgenie() as server:
        told = talk(server, key)
        for one in LIFE:
            assert {outcome.status for outcome in told.tell(one)} == {OutcomeStatus.SENT}
        (only,) = server.alerts
        paths = {request.path.partition("/v2/")[0] for request in server.requests}
    assert (only.alias, only.closed, only.count) == (dedup_key(FIRST.group_key), True, 4)
    assert paths == {KINDS[key]}


def test_an_alert_is_as_it_was() -> None:
    responders = [{"type": "teams", "name": "core, web"}, {"type": "user", "username": "ann@example.com"}]
    more = {"tags": "a, b", "actions": "restart", "note": "hello", "details": {"team": "core"}}
    with FakeOpsgenie() as server:
        talk(server, responders=responders, **more).tell(FIRST)
        check_golden("opsgenie_firing", server.alerts[0].fields)


def test_an_open_alert_is_brought_up_to_date_when_that_is_wanted() -> None:
    with FakeOpsgenie() as server:
        told = talk(server, update_alerts="true")
        told.tell(FIRST)
        told.tell(GROWN)
        assert server.alerts[0].fields["message"].startswith("[FIRING:2] High5xx")
        assert "+1 new: machine b" in server.alerts[0].fields["description"]


@pytest.mark.parametrize(
    ("severity", "priority"), [("critical", "P1"), ("error", "P2"), ("warning", "P3"), ("info", "P5"), ("odd", "P3")]
)
def test_the_priority_follows_the_severity(severity: str, priority: str) -> None:
    with FakeOpsgenie() as server:
        talk(server).tell(notice(alert(severity=severity)))
        assert server.alerts[0].fields["priority"] == priority


@pytest.mark.parametrize("degraded", [False, True])
def test_it_takes_whatever_is_said(degraded: bool) -> None:
    with FakeOpsgenie() as server:
        told = talk(server, update_alerts="true")
        for action in told.actions(EVIL):
            assert told.attempt(action, degraded=degraded).status is OutcomeStatus.SENT


def test_the_end_of_what_was_never_opened_comes_to_nothing() -> None:
    with FakeOpsgenie() as server:
        assert talk(server).tell(OVER)[0].status is OutcomeStatus.SENT
        assert len(server.dropped) == 1
