"""What every receiver must do, whatever its service answers. A new kind is one line of KINDS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from obskit.model.actions import Outcome, OutcomeReason, OutcomeStatus
from obskit.notify import ReceiverSettings, build_integrations
from obskit.notify.receivers import KINDS as REGISTRY
from obskit.outbound import httpx
from obskit.outbox import Delivery
from obskit.testing.http import Failure, FakeServer
from obskit.testing.pagerduty import ROUTING_KEY, FakePagerDuty
from obskit.testing.slack import TOKEN, FakeSlack
from obskit.testing.webhook import TOKEN as HOOK_TOKEN
from obskit.testing.webhook import FakeWebhook
from tests.notify.notices import notice
from tests.servers import free_port

RETRY, PERMANENT, SENT = OutcomeStatus.RETRY, OutcomeStatus.PERMANENT, OutcomeStatus.SENT


@dataclass(frozen=True)
class Kind:
    key: str
    server: type[FakeServer]
    settings: Callable[[Any], dict[str, Any]]
    secrets: tuple[str, ...]


def _slack(server: Any) -> dict[str, Any]:
    return {"app_token": TOKEN, "channel": "#ops", "app_url": server.api_url}


def _webhook(server: Any) -> dict[str, Any]:
    login = {"authorization": {"credentials": "bearer-token-1"}}
    return {"url": server.url, "secret": "signing-secret-1", "http_config": login}


KINDS = {
    "slack": Kind("slack_configs", FakeSlack, _slack, (TOKEN,)),
    "slack webhook": Kind(
        "slack_configs", FakeSlack, lambda server: {"api_url": server.webhook_url}, ("fakesecrettoken",)
    ),
    "pagerduty": Kind(
        "pagerduty_configs",
        FakePagerDuty,
        lambda server: {"routing_key": ROUTING_KEY, "url": server.url},
        (ROUTING_KEY,),
    ),
    "webhook": Kind("webhook_configs", FakeWebhook, _webhook, (HOOK_TOKEN, "bearer-token-1", "signing-secret-1")),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def server(kind: Kind) -> Iterator[FakeServer]:
    with kind.server() as running:
        yield running


def attempt(kind: Kind, settings: dict[str, Any], *, degraded: bool = False) -> Outcome:
    """One attempt at the first action of a first notice."""

    async def scenario() -> Outcome:
        receiver = ReceiverSettings.model_validate({"name": "ops", kind.key: [settings]})
        async with httpx.AsyncClient(verify=False) as http:
            (integration,) = build_integrations(receiver, http)
            action, *_ = integration.actions(notice())
            return await integration.deliver(Delivery(1, action, 1, degraded=degraded))

    return asyncio.run(scenario())


def echo(kind: Kind) -> str:
    """A body that gives the receiver's secrets back, as careless services do."""
    return "you sent " + " ".join(kind.secrets)


def test_every_kind_that_sends_is_under_this_contract() -> None:
    assert {kind.key for kind in KINDS.values()} == set(REGISTRY) - {"console_configs"}


def test_it_arrives(kind: Kind, server: FakeServer) -> None:
    assert attempt(kind, kind.settings(server)).status is SENT


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (301, PERMANENT),
        (400, PERMANENT),
        (401, PERMANENT),
        (403, PERMANENT),
        (404, PERMANENT),
        (408, RETRY),
        (410, PERMANENT),
        (413, PERMANENT),
        (429, RETRY),
        (500, RETRY),
        (502, RETRY),
        (503, RETRY),
    ],
)
def test_every_status_ends_in_an_outcome(
    kind: Kind, server: FakeServer, status: int, expected: OutcomeStatus, caplog: pytest.LogCaptureFixture
) -> None:
    server.plan(Failure(status=status, body=echo(kind), retry_after=3 if status in (429, 503) else None))
    with caplog.at_level(logging.DEBUG):
        outcome = attempt(kind, kind.settings(server))
    assert outcome.status is expected
    assert outcome.reason
    assert outcome.retry_after_s == (3 if status in (429, 503) else None)
    for secret in kind.secrets:
        assert secret not in repr(outcome)
        assert secret not in caplog.text


@pytest.mark.parametrize("status", [200, 201, 204])
def test_success_is_what_the_service_says_it_is(kind: Kind, server: FakeServer, status: int) -> None:
    server.plan(Failure(status=status, body="" if status == 204 else "fine"))
    outcome = attempt(kind, kind.settings(server))
    # Slack's success is a body: a status without it comes from something that stands in its way.
    assert outcome.status is (RETRY if kind.server is FakeSlack else SENT)


def test_a_service_that_does_not_answer_in_time_is_tried_again(kind: Kind, server: FakeServer) -> None:
    server.plan(Failure(hang_s=30))
    outcome = attempt(kind, {**kind.settings(server), "timeout": "1s" if kind.server is FakeSlack else "100ms"})
    assert (outcome.status, outcome.reason) == (RETRY, OutcomeReason.TIMEOUT)


def test_a_dropped_connection_is_tried_again(kind: Kind, server: FakeServer) -> None:
    server.plan(Failure(drop=True))
    outcome = attempt(kind, kind.settings(server))
    assert (outcome.status, outcome.reason) == (RETRY, OutcomeReason.NETWORK)


def test_a_refused_connection_is_tried_again(kind: Kind, server: FakeServer) -> None:
    there, gone = server.base_url, f"http://127.0.0.1:{free_port()}"
    settings = {
        name: value.replace(there, gone) if isinstance(value, str) else value
        for name, value in kind.settings(server).items()
    }
    outcome = attempt(kind, settings)
    assert (outcome.status, outcome.reason) == (RETRY, OutcomeReason.NETWORK)
    assert not any(secret in outcome.detail for secret in kind.secrets)


@pytest.mark.parametrize("body", ["", "{", "[]", "[1]", "null", "\x00\x01", "<html>" * 40_000, '{"ok":1}'])
@pytest.mark.parametrize("status", [200, 500])
def test_a_strange_body_is_survived(kind: Kind, server: FakeServer, status: int, body: str) -> None:
    server.plan(Failure(status=status, body=body))
    outcome = attempt(kind, kind.settings(server))
    assert outcome.reason is not OutcomeReason.INTERNAL
    assert outcome.status is not PERMANENT
    assert len(outcome.detail) <= 400


def test_the_plain_form_arrives_too(kind: Kind, server: FakeServer) -> None:
    assert attempt(kind, kind.settings(server), degraded=True).status is SENT


def test_no_secret_is_printed(kind: Kind, server: FakeServer) -> None:
    receiver = ReceiverSettings.model_validate({"name": "ops", kind.key: [kind.settings(server)]})
    for text in (repr(receiver), str(receiver.model_dump(warnings=False)), receiver.model_dump_json(warnings=False)):
        assert not any(secret in text for secret in kind.secrets)


def test_a_fault_of_ours_is_an_outcome_too(kind: Kind, server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> Outcome:
        receiver = ReceiverSettings.model_validate({"name": "ops", kind.key: [kind.settings(server)]})
        async with httpx.AsyncClient(verify=False) as http:
            (integration,) = build_integrations(receiver, http)
            action, *_ = integration.actions(notice())
            broken = type(action)(action.kind, action.destination, action.lane, "not a notice", action.step)
            return await integration.deliver(Delivery(1, broken, 1))

    outcome = asyncio.run(scenario())
    assert (outcome.status, outcome.reason, outcome.degrade) == (PERMANENT, OutcomeReason.INTERNAL, True)
    assert "delivery failed in obskit" in caplog.text
