"""What every receiver must do, whatever its service answers. A new kind is one line of KINDS."""

from __future__ import annotations

import asyncio
import gc
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
from obskit.testing import discord, msteams, ntfy, opsgenie, pushover, sns, telegram
from obskit.testing.discord import FakeDiscord
from obskit.testing.http import Failure, FakeServer
from obskit.testing.msteams import FakeTeams
from obskit.testing.ntfy import FakeNtfy
from obskit.testing.opsgenie import FakeOpsgenie
from obskit.testing.pagerduty import ROUTING_KEY, FakePagerDuty
from obskit.testing.pushover import FakePushover
from obskit.testing.slack import TOKEN, FakeSlack
from obskit.testing.sns import FakeSns
from obskit.testing.telegram import FakeTelegram
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


def _genie(server: Any) -> dict[str, Any]:
    return {"api_key": opsgenie.KEY, "api_url": f"{server.base_url}/jsm/ops/integration/"}


def _telegram(server: Any) -> dict[str, Any]:
    return {"bot_token": telegram.TOKEN, "chat_id": telegram.CHAT, "api_url": server.base_url}


def _pushover(server: Any) -> dict[str, Any]:
    return {"user_key": pushover.USER, "token": pushover.TOKEN, "api_url": server.url}


def _sns(server: Any) -> dict[str, Any]:
    keys = {"region": sns.REGION, "access_key": sns.ACCESS_KEY, "secret_key": sns.SECRET_KEY}
    return {"sigv4": keys, "topic_arn": "arn:aws:sns:eu-central-1:1:ops", "api_url": server.base_url}


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
    "opsgenie": Kind("opsgenie_configs", FakeOpsgenie, _genie, (opsgenie.KEY,)),
    "jsm": Kind("jsm_configs", FakeOpsgenie, _genie, (opsgenie.KEY,)),
    "discord": Kind("discord_configs", FakeDiscord, lambda server: {"webhook_url": server.url}, (discord.TOKEN,)),
    "msteamsv2": Kind("msteamsv2_configs", FakeTeams, lambda server: {"webhook_url": server.url}, (msteams.SIGNATURE,)),
    "telegram": Kind("telegram_configs", FakeTelegram, _telegram, (telegram.TOKEN,)),
    "pushover": Kind("pushover_configs", FakePushover, _pushover, (pushover.USER, pushover.TOKEN)),
    "ntfy": Kind(
        "ntfy_configs",
        FakeNtfy,
        lambda server: {"topic": "ops", "url": server.base_url, "token": ntfy.TOKEN},
        (ntfy.TOKEN,),
    ),
    "sns": Kind("sns_configs", FakeSns, _sns, (sns.ACCESS_KEY, sns.SECRET_KEY)),
    "webhook": Kind("webhook_configs", FakeWebhook, _webhook, (HOOK_TOKEN, "bearer-token-1", "signing-secret-1")),
}
NOT_HTTP = {"console_configs", "email_configs", "apprise_configs"}
"""They have contracts of their own: test_console.py, test_email.py, test_apprise.py."""
BODY_DECIDES = (FakeSlack, FakeTelegram)
"""Success is a body there: a status without it comes from something that stands in the way."""


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def running(kind: Kind) -> Iterator[FakeServer]:
    with kind.server() as server:
        yield server


@pytest.fixture
def server(running: FakeServer) -> FakeServer:
    """One server for all tests of a kind, without the memory of those before."""
    running.repair()
    running.requests.clear()
    return running


def attempt(kind: Kind, settings: dict[str, Any], *, degraded: bool = False) -> Outcome:
    """One attempt at the first action of a first notice."""

    async def scenario() -> Outcome:
        receiver = ReceiverSettings.model_validate({"name": "ops", kind.key: [settings]})
        async with httpx.AsyncClient(verify=False) as http:
            (integration,) = build_integrations(receiver, http)
            action, *_ = integration.actions(notice())
            return await integration.deliver(Delivery(1, action, 1, degraded=degraded))

    return asyncio.run(scenario())


def moved(settings: dict[str, Any], there: str, elsewhere: str) -> dict[str, Any]:
    """The same settings for a service at another address."""
    return {
        name: value.replace(there, elsewhere) if isinstance(value, str) else value for name, value in settings.items()
    }


def echo(kind: Kind) -> str:
    """A body that gives the receiver's secrets back, as careless services do."""
    return "you sent " + " ".join(kind.secrets)


def test_every_kind_that_sends_is_under_this_contract() -> None:
    assert {kind.key for kind in KINDS.values()} == set(REGISTRY) - NOT_HTTP


def test_it_arrives(kind: Kind, server: FakeServer) -> None:
    assert attempt(kind, kind.settings(server)).status is SENT


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, PERMANENT) for status in (300, 301, 302, 303, 304, 307, 308)),
        *((status, PERMANENT) for status in (400, 401, 403, 404, 405, 407, 409, 410, 413, 414, 415, 422)),
        *((status, RETRY) for status in (408, 425, 429, 500, 502, 503, 504, 520)),
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
    assert outcome.retry_after_s == (3 if status in (429, 503) else None) or kind.key == "pagerduty_configs"
    for secret in kind.secrets:
        assert secret not in repr(outcome)
        assert secret not in caplog.text


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_success_is_what_the_service_says_it_is(kind: Kind, server: FakeServer, status: int) -> None:
    server.plan(Failure(status=status, body="" if status == 204 else "fine"))
    outcome = attempt(kind, kind.settings(server))
    assert outcome.status is (RETRY if kind.server in BODY_DECIDES else SENT)


@pytest.mark.parametrize(
    ("retry_after", "headers", "waits"),
    [
        (0, {}, (0,)),
        (7, {}, (7,)),
        (10**9, {}, (3_600,)),
        (None, {}, (None, 30)),  # PagerDuty's documentation names a time
        ("Tue, 14 Nov 2023 22:14:20 GMT", {"X-Date": "1"}, (None, 3_600, 0, 30)),
        ("whenever", {}, (None, 30)),
        ("-5", {}, (None, 30)),
    ],
)
def test_a_busy_service_is_given_the_time_it_asks_for(
    kind: Kind, server: FakeServer, retry_after: Any, headers: dict[str, str], waits: tuple[float | None, ...]
) -> None:
    server.plan(Failure(status=429, body="busy", retry_after=retry_after, headers=headers))
    outcome = attempt(kind, kind.settings(server))
    assert (outcome.status, outcome.reason) == (RETRY, OutcomeReason.RATE_LIMITED)
    assert outcome.retry_after_s in waits


def test_redirects_are_not_followed(kind: Kind, server: FakeServer) -> None:
    with FakeWebhook() as elsewhere:
        server.break_down(Failure(status=307, headers={"Location": elsewhere.url}))
        outcome = attempt(kind, kind.settings(server))
        server.break_down(Failure(status=302, headers={"Location": server.base_url}))
        looped = attempt(kind, kind.settings(server))
        assert elsewhere.requests == []
    assert (outcome.status, looped.status) == (PERMANENT, PERMANENT)
    assert len(server.requests) == 2


@pytest.mark.parametrize("allowed", [False, True])
def test_nothing_is_said_to_where_a_cloud_tells_a_machine_its_secrets(
    kind: Kind, server: FakeServer, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the name is: here loopback stands for such an address."""
    if kind.server is FakeSlack:
        pytest.skip("slack_sdk opens its connections itself")
    monkeypatch.setattr("obskit.notify.http.is_machine_metadata", lambda host: host == "127.0.0.1")
    settings = moved(kind.settings(server), "127.0.0.1", "localhost")
    outcome = attempt(kind, {**settings, "allow_link_local": allowed})
    assert (outcome.status, outcome.reason) == (
        (SENT, OutcomeReason.NONE) if allowed else (RETRY, OutcomeReason.CONFIG)
    )
    assert bool(server.requests) == allowed


# slack_sdk leaves a socket that breaks to the garbage collector, which complains.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("status", [200, 429, 500])
def test_a_connection_that_is_reset_in_the_middle_of_the_answer_is_tried_again(
    kind: Kind, server: FakeServer, status: int
) -> None:
    server.plan(Failure(status=status, body="x" * 1_000, cut=True))
    outcome = attempt(kind, kind.settings(server))
    gc.collect()
    assert outcome.status is RETRY
    assert outcome.reason is not OutcomeReason.INTERNAL


@pytest.mark.parametrize("url", ["http://no-such-host.invalid", "https://127.0.0.1:{port}"], ids=["DNS", "TLS"])
def test_a_name_that_nobody_knows_and_a_handshake_that_fails_are_tried_again(
    kind: Kind, server: FakeServer, url: str
) -> None:
    there = server.base_url
    broken = url.format(port=there.rpartition(":")[2])
    outcome = attempt(kind, moved(kind.settings(server), there, broken))
    assert outcome.status is RETRY
    assert outcome.reason in (OutcomeReason.NETWORK, OutcomeReason.TIMEOUT)
    assert not any(secret in outcome.detail for secret in kind.secrets)


def test_a_service_that_does_not_answer_in_time_is_tried_again(kind: Kind, server: FakeServer) -> None:
    server.plan(Failure(hang_s=30))
    outcome = attempt(kind, {**kind.settings(server), "timeout": "1s" if kind.server is FakeSlack else "100ms"})
    assert (outcome.status, outcome.reason) == (RETRY, OutcomeReason.TIMEOUT)


def test_a_dropped_connection_is_tried_again(kind: Kind, server: FakeServer) -> None:
    server.plan(Failure(drop=True))
    outcome = attempt(kind, kind.settings(server))
    assert (outcome.status, outcome.reason) == (RETRY, OutcomeReason.NETWORK)


def test_a_refused_connection_is_tried_again(kind: Kind, server: FakeServer) -> None:
    settings = moved(kind.settings(server), server.base_url, f"http://127.0.0.1:{free_port()}")
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
