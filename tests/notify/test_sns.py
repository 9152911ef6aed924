from __future__ import annotations

import asyncio
from typing import Any

import pytest

from obskit.model.actions import OutcomeReason, OutcomeStatus
from obskit.notify.base import Request, Response
from obskit.notify.sns import SigningSettings, SigningTransport
from obskit.testing.clock import FakeClock
from obskit.testing.http import Failure
from obskit.testing.sns import ACCESS_KEY, REGION, SECRET_KEY, FakeSns
from tests.notify.deliveries import Conversation
from tests.notify.stories import EVIL, FIRST, LIFE

KEYS = {"region": REGION, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
TOPIC = "arn:aws:sns:eu-central-1:123456789012:ops"
RETRY, PERMANENT, SENT = OutcomeStatus.RETRY, OutcomeStatus.PERMANENT, OutcomeStatus.SENT


def talk(server: FakeSns, **settings: Any) -> Conversation:
    place = (
        settings if {"phone_number", "target_arn", "topic_arn"} & settings.keys() else {"topic_arn": TOPIC, **settings}
    )
    return Conversation("sns_configs", {"sigv4": KEYS, "api_url": server.base_url, **place})


def test_a_state_is_a_message_with_a_subject() -> None:
    with FakeSns() as server:
        told = talk(server, attributes={"team": "core"})
        for one in LIFE:
            assert {outcome.status for outcome in told.tell(one)} == {SENT}
        first, *_, last = server.published
    assert (first["TopicArn"], first["Subject"]) == (TOPIC, "FIRING critical: High5xx")
    assert first["Message"].startswith("🔴 FIRING critical: High5xx\n7.4 % of requests to api failed")
    assert first["MessageAttributes.entry.1.Value.StringValue"] == "core"
    assert last["Subject"] == "RESOLVED: High5xx"


def test_an_sms_is_short() -> None:
    with FakeSns() as server:
        talk(server, phone_number="+491701234567").tell(EVIL)
        (sms,) = server.published
    assert len(sms["Message"]) <= 140
    assert "Subject" not in sms


def test_a_topic_in_order_gets_the_same_message_once() -> None:
    with FakeSns() as server:
        told = talk(server, topic_arn=f"{TOPIC}.fifo")
        told.tell(FIRST)
        told.tell(FIRST)
        assert len(server.published) == 1


@pytest.mark.parametrize("degraded", [False, True])
def test_it_takes_whatever_is_said(degraded: bool) -> None:
    with FakeSns() as server:
        told = talk(server, subject="é ü \N{PILE OF POO} " + "s" * 200)
        (action,) = told.actions(EVIL)
        assert told.attempt(action, degraded=degraded).status is SENT


def test_each_attempt_is_signed_anew() -> None:
    """A message may wait for hours; a signature is good for minutes."""
    sent: list[Request] = []

    class Keeps:
        async def send(self, request: Request) -> Response:
            sent.append(request)
            return Response(503)

    clock = FakeClock()
    transport = SigningTransport(Keeps(), SigningSettings.model_validate(KEYS), clock)
    request = Request("POST", "https://sns.eu-central-1.amazonaws.com/", b"x")
    asyncio.run(transport.send(request))
    clock.advance(3_600)
    asyncio.run(transport.send(request))
    assert sent[0].headers["X-Amz-Date"] < sent[1].headers["X-Amz-Date"]


@pytest.mark.parametrize(
    ("status", "code", "expected", "reason"),
    [
        (400, "Throttling", RETRY, OutcomeReason.RATE_LIMITED),
        (400, "RequestExpired", RETRY, OutcomeReason.SERVER),
        (403, "SignatureDoesNotMatch", PERMANENT, OutcomeReason.CREDENTIAL),
        (403, "AuthorizationError", PERMANENT, OutcomeReason.CREDENTIAL),
        (404, "NotFound", PERMANENT, OutcomeReason.DESTINATION),
        (400, "InvalidParameter", PERMANENT, OutcomeReason.PAYLOAD),
        (500, "InternalError", RETRY, OutcomeReason.SERVER),
    ],
)
def test_a_refusal_is_read_by_its_code(status: int, code: str, expected: OutcomeStatus, reason: OutcomeReason) -> None:
    with FakeSns() as server:
        server.plan(Failure(status, error=code))
        (outcome,) = talk(server).tell(FIRST)
    assert (outcome.status, outcome.reason) == (expected, reason)


def test_a_wrong_key_is_told_as_one() -> None:
    with FakeSns() as server:
        keys = {**KEYS, "secret_key": "another-secret"}
        settings = {"sigv4": keys, "api_url": server.base_url, "topic_arn": TOPIC}
        (outcome,) = Conversation("sns_configs", settings).tell(FIRST)
    assert (outcome.status, outcome.reason) == (PERMANENT, OutcomeReason.CREDENTIAL)
