"""Phones and boards that show one message per state: ntfy, Pushover, Teams."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from obskit.model.actions import OutcomeReason, OutcomeStatus
from obskit.testing import pushover
from obskit.testing.http import Failure
from obskit.testing.msteams import FakeTeams
from obskit.testing.ntfy import FakeNtfy
from obskit.testing.pushover import FakePushover
from tests.notify.deliveries import Conversation
from tests.notify.golden import check_golden
from tests.notify.notices import alert, notice
from tests.notify.stories import AGAIN, EVIL, FIRST, LIFE, OVER, at

SENT = OutcomeStatus.SENT


def tell_all(told: Conversation, *notices: Any) -> None:
    for one in notices or LIFE:
        assert {outcome.status for outcome in told.tell(one)} == {SENT}


# ntfy


@pytest.mark.parametrize(("old", "shown"), [(False, 1), (True, 5)])
def test_ntfy_shows_an_incident_as_one_notification_where_the_server_can(old: bool, shown: int) -> None:
    with FakeNtfy(old=old) as server:
        tell_all(Conversation("ntfy_configs", {"topic": "ops", "url": server.base_url}))
        assert len(server.shown) == shown
        last = server.shown[-1]
    assert (last["title"], last["priority"], last["tags"]) == ("RESOLVED: High5xx", 2, ["white_check_mark"])


def test_a_notification_of_ntfy_is_as_it_was() -> None:
    with FakeNtfy() as server:
        tell_all(Conversation("ntfy_configs", {"topic": "ops", "url": server.base_url}), FIRST)
        check_golden("ntfy_firing", server.published[0])


@pytest.mark.parametrize("degraded", [False, True])
def test_ntfy_takes_whatever_is_said(degraded: bool) -> None:
    with FakeNtfy() as server:
        told = Conversation("ntfy_configs", {"topic": "ops", "url": server.base_url})
        (action,) = told.actions(EVIL)
        assert told.attempt(action, degraded=degraded).status is SENT


def test_ntfy_is_logged_in_to_with_a_password_too() -> None:
    with FakeNtfy() as server:
        login = {"username": "ann", "password": "pa:ss"}
        tell_all(Conversation("ntfy_configs", {"topic": "ops", "url": server.base_url, **login}), FIRST)
        given = server.requests[0].headers["authorization"]
    assert base64.b64decode(given.removeprefix("Basic ")) == b"ann:pa:ss"


# Pushover


def push(server: FakePushover, **settings: Any) -> Conversation:
    keys = {"user_key": pushover.USER, "token": pushover.TOKEN, "api_url": server.url}
    return Conversation("pushover_configs", {**keys, **settings})


def test_an_emergency_rings_until_it_is_over_and_not_twice_at_once() -> None:
    with FakePushover() as server:
        told = push(server)
        tell_all(told, FIRST, AGAIN)
        assert [receipt.ended for receipt in server.receipts] == ["cancelled", ""]
        tell_all(told, OVER)
        assert [receipt.ended for receipt in server.receipts] == ["cancelled", "cancelled"]
        assert [one["priority"] for one in server.pushes] == ["2", "2", "0"]
        assert server.pushes[-1]["title"] == "✅ RESOLVED: High5xx"
        requests = len(server.requests)
        tell_all(told, OVER)
        assert len(server.requests) == requests + 1  # nothing rings: there is nothing to cancel


def test_what_rings_no_more_anyway_needs_no_cancelling() -> None:
    with FakePushover() as server:
        told = push(server)
        tell_all(told, FIRST)
        server.plan(Failure(404, body='{"status":0,"errors":["receipt not found"]}'))
        tell_all(told, OVER)


@pytest.mark.parametrize(
    ("severity", "settings", "priority"),
    [("critical", {}, "2"), ("warning", {}, "0"), ("info", {}, "-1"), ("critical", {"priority": 1}, "1")],
)
def test_a_push_is_as_urgent_as_its_alert(severity: str, settings: dict[str, Any], priority: str) -> None:
    with FakePushover() as server:
        tell_all(push(server, **settings), at(notice(alert(severity=severity)), 0))
        assert server.pushes[0]["priority"] == priority


def test_a_push_is_as_it_was() -> None:
    with FakePushover() as server:
        tell_all(push(server, html="true", sound="siren", url_title="Do this"), FIRST)
        check_golden("pushover_firing", server.pushes[0])


@pytest.mark.parametrize("degraded", [False, True])
def test_pushover_takes_whatever_is_said(degraded: bool) -> None:
    with FakePushover() as server:
        told = push(server, html="true")
        (action,) = told.actions(at(EVIL, 0))
        assert told.attempt(action, degraded=degraded).status is SENT


def test_a_wrong_key_is_no_matter_of_form() -> None:
    with FakePushover() as server:
        told = Conversation("pushover_configs", {"user_key": "uuuuuu", "token": pushover.TOKEN, "api_url": server.url})
        (outcome,) = told.tell(FIRST)
    assert (outcome.status, outcome.reason) == (OutcomeStatus.PERMANENT, OutcomeReason.CREDENTIAL)


# Teams


def test_a_card_is_as_it_was() -> None:
    with FakeTeams() as server:
        tell_all(Conversation("msteamsv2_configs", {"webhook_url": server.url}))
        first, *_, last = server.cards
    check_golden("msteams_firing", first)
    assert (last["body"][0]["text"], last["body"][0]["color"]) == ("✅ RESOLVED: High5xx", "Good")


@pytest.mark.parametrize("degraded", [False, True])
def test_teams_takes_whatever_is_said(degraded: bool) -> None:
    with FakeTeams() as server:
        told = Conversation("msteamsv2_configs", {"webhook_url": server.url})
        (action,) = told.actions(EVIL)
        assert told.attempt(action, degraded=degraded).status is SENT
