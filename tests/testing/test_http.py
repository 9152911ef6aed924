from __future__ import annotations

import threading
import urllib.error
from http.client import RemoteDisconnected

import pytest

from obskit.testing.clock import START_MS, FakeClock
from obskit.testing.http import Failure
from obskit.testing.webhook import FakeWebhook
from tests.testing.calls import post


def test_planned_failures_come_in_their_order_and_then_all_is_well() -> None:
    with FakeWebhook() as hook:
        hook.plan(Failure(503, error="busy"), Failure(429, retry_after=7))
        answers = [post(hook.url, {"n": n}) for n in range(3)]
    assert [answer.status for answer in answers] == [503, 429, 200]
    assert answers[0].body == b"busy"
    assert answers[1].headers["Retry-After"] == "7"
    assert hook.bodies == [{"n": 2}]


def test_a_breakdown_lasts_until_it_is_repaired() -> None:
    with FakeWebhook() as hook:
        hook.break_down(Failure(500))
        assert [post(hook.url, {}).status for _ in range(2)] == [500, 500]
        hook.repair()
        assert post(hook.url, {}).status == 200


def test_a_dropped_connection_has_no_answer() -> None:
    with FakeWebhook() as hook:
        hook.plan(Failure(drop=True))
        with pytest.raises((RemoteDisconnected, urllib.error.URLError)):
            post(hook.url, {"n": 1})
    assert hook.bodies == []


def test_a_failure_after_the_fact_loses_only_the_answer() -> None:
    with FakeWebhook() as hook:
        hook.plan(Failure(502, after=True))
        assert post(hook.url, {"n": 1}).status == 502
    assert hook.bodies == [{"n": 1}]


def test_every_request_is_logged_with_its_time() -> None:
    with FakeWebhook(FakeClock()) as hook:
        post(hook.url, {"n": 1}, {"X-Mark": "m"})
    (request,) = hook.requests
    assert (request.t_ms, request.method, request.headers["x-mark"]) == (START_MS, "POST", "m")
    assert request.body == b'{"n": 1}'


def test_waiting_ends_with_the_request_that_was_waited_for() -> None:
    with FakeWebhook() as hook:
        threading.Thread(target=post, args=(hook.url, {"n": 1})).start()
        assert hook.wait_for(lambda: bool(hook.bodies))
        assert not hook.wait_for(lambda: len(hook.bodies) == 2, timeout_s=0.01)


def test_closing_lets_go_of_whoever_hangs() -> None:
    hook = FakeWebhook()
    hook.plan(Failure(503, hang_s=60))
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(post(hook.url, {}).status))
    caller.start()
    hook.wait_for(lambda: bool(hook.requests))
    hook.close()
    caller.join(5)
    assert answers == [503]


@pytest.mark.parametrize("body", [b"nope", b"[]"])
def test_a_webhook_takes_only_objects(body: bytes) -> None:
    with FakeWebhook() as hook:
        assert post(hook.url, body).status == 400
    assert hook.bodies == []


def test_a_webhook_lists_the_states_of_a_group() -> None:
    with FakeWebhook() as hook:
        for key, status in (("g", "firing"), ("h", "firing"), ("g", "resolved")):
            post(hook.url, {"groupKey": key, "status": status})
    assert hook.states("g") == ["firing", "resolved"]
