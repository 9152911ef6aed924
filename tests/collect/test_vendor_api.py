from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest

from obskit.collect import Ask, Book, Reply, VendorApi
from obskit.collect.vendor_api import REFUSED_WAIT_S, retry_after_s
from obskit.errors import CollectorError
from obskit.model.settings import Secret
from obskit.model.telemetry import REGISTRY
from obskit.testing.clock import FakeClock
from obskit.testing.http import Answer, Failure, FakeServer, Received

TOKEN = "s3cret-which-nobody-may-see"


class Vendor(FakeServer):
    """Answers every request with `body`."""

    body: bytes = b'{"ok": true}'
    headers: dict[str, str] = {}

    def answer(self, request: Received) -> Answer:
        return Answer(200, self.body, headers=self.headers)


def ask(vendor: FakeServer, one: Ask, book: Book | None = None, **settings: Any) -> Reply:
    async def scenario() -> Reply:
        api = VendorApi(vendor.base_url, authorization=Secret(f"Bearer {TOKEN}"), **settings)
        try:
            return await api.ask(one, book)
        finally:
            await api.close()

    return asyncio.run(scenario())


def refused(vendor: FakeServer, one: Ask, **settings: Any) -> CollectorError:
    with pytest.raises(CollectorError) as caught:
        ask(vendor, one, **settings)
    assert TOKEN not in str(caught.value)
    return caught.value


def test_it_sends_what_the_vendor_asks_for_and_gives_its_answer() -> None:
    with Vendor() as vendor:
        reply = ask(
            vendor, Ask("/logs", "POST", {"app": "shop"}, {"limit": 5}, {"X-Page": "2"}), headers={"X-Client": "obskit"}
        )
    (request,) = vendor.requests
    assert (request.method, request.path, request.body) == ("POST", "/logs?app=shop", b'{"limit": 5}')
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert (request.headers["x-page"], request.headers["x-client"]) == ("2", "obskit")
    assert reply.json("it") == {"ok": True}


def test_bytes_are_sent_as_they_are() -> None:
    with Vendor() as vendor:
        ask(vendor, Ask("/", "POST", body=b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"}))
    assert vendor.requests[0].body == b"a=b"
    assert vendor.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("failure", "reason", "said"),
    [
        (Failure(401, body=f'{{"error":"bad token {TOKEN}"}}'), "auth", "bad token <secret>"),
        (Failure(403), "auth", "mend it so"),
        (Failure(404), "missing", "is it still there"),
        (Failure(410), "missing", "is it still there"),
        (Failure(400, body="no\n such\x1b[31m field"), "bad_data", "no such[31m field"),
        (Failure(302, headers={"Location": "http://elsewhere.example/"}), "bad_data", "HTTP 302"),
        (Failure(429, retry_after=7), "rate_limited", "HTTP 429"),
        (Failure(500), "server", "HTTP 500"),
        (Failure(503, body="x" * 5000), "server", "x" * 200),
        (Failure(drop=True), "network", "disconnected"),
        (Failure(200, body="{}", cut=True), "network", ""),
    ],
)
def test_what_goes_wrong_has_a_reason(failure: Failure, reason: str, said: str) -> None:
    with Vendor() as vendor:
        vendor.plan(failure)
        error = refused(vendor, Ask("/apps/shop", params={"key": "hidden"}), fix="mend it so")
    assert error.reason == reason
    assert said in str(error)
    assert f"GET {vendor.base_url}/apps/shop" in str(error)
    assert "hidden" not in str(error)
    assert len(str(error)) < 400


def test_nobody_there_is_an_error_of_the_network() -> None:
    with Vendor() as vendor:
        pass
    assert refused(vendor, Ask("/")).reason == "network"


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    with Vendor() as vendor:
        vendor.plan(Failure(hang_s=5))
        assert refused(vendor, Ask("/"), timeout_s=0.1).reason == "timeout"


def test_a_refused_token_is_not_tried_again_soon() -> None:
    with Vendor() as vendor:
        vendor.plan(Failure(401), Failure(429, retry_after=7), Failure(403, retry_after=60))
        assert [refused(vendor, Ask("/")).retry_after for _ in range(3)] == [REFUSED_WAIT_S, 7, 60]


def test_a_status_that_was_expected_is_an_answer() -> None:
    with Vendor() as vendor:
        vendor.plan(Failure(404, body="{}"))
        assert ask(vendor, Ask("/", expected=frozenset({404}))).status == 404


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"cut": ', b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_json_is_bad_data(body: bytes) -> None:
    with Vendor() as vendor:
        vendor.body = body
        reply = ask(vendor, Ask("/"))
    with pytest.raises(CollectorError, match="GET /x: HTTP 200, not JSON") as caught:
        reply.json("GET /x")
    assert caught.value.reason == "bad_data"


def test_a_bomb_is_left_before_it_has_grown() -> None:
    with Vendor() as vendor:
        vendor.body, vendor.headers = gzip.compress(b"0" * 3_000_000), {"Content-Encoding": "gzip"}
        assert "larger than" in str(refused(vendor, Ask("/"), largest=1 << 20))
        assert len(ask(vendor, Ask("/")).body) == 3_000_000


def test_a_body_that_is_not_packed_as_it_says_is_bad_data() -> None:
    with Vendor() as vendor:
        vendor.headers = {"Content-Encoding": "gzip"}
        assert refused(vendor, Ask("/")).reason == "bad_data"


def test_requests_are_booked_with_their_price_even_when_they_fail() -> None:
    book = Book("priced", "t", FakeClock())
    with Vendor() as vendor:
        vendor.plan(Failure(500))
        with pytest.raises(CollectorError):
            ask(vendor, Ask("/", price=0.25), book)
        ask(vendor, Ask("/", price=0.5), book)
    assert REGISTRY.get_sample_value("obskit_collector_requests_total", {"collector": "priced"}) == 2
    assert REGISTRY.get_sample_value("obskit_collector_cost_dollars_total", {"collector": "priced"}) == 0.75


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 40}, 999_999_999),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, 30),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:00 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, 0),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:00 GMT"}, None),
    ],
)
def test_a_wait_is_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds
