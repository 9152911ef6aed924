"""A page that makes its own name resolve to loopback gets nothing."""

from __future__ import annotations

import pytest

from obskit.model.settings import Secret
from tests.web.test_app import House, ask


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9797",
        "127.9.9.9",
        "localhost",
        "LOCALHOST:9797",
        "localhost.",
        "app.localhost",
        "[::1]:9797",
        "[::1]",
    ],
)
def test_this_machine_may_ask(host: str) -> None:
    assert ask("GET", "/metrics", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9797",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.7",
        "0.0.0.0:9797",
        "[::2]",
        "",
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/metrics"), ("POST", "/-/reload"), ("GET", "/healthz")])
def test_no_other_name_is_answered(host: str, method: str, path: str) -> None:
    house = House()
    answer = ask(method, path, house=house, headers={"host": host})
    assert answer.status_code == 403
    assert "web.allowed_hosts" in answer.text
    assert house.asked == []


def test_a_second_host_header_is_looked_at_too() -> None:
    twice = [(b"host", b"localhost"), (b"host", b"evil.example")]
    assert ask("GET", "/metrics", headers=twice).status_code == 403


@pytest.mark.parametrize("host", ["obs.internal", "OBS.internal.:9797"])
def test_a_name_that_is_configured_may_ask(host: str) -> None:
    assert ask("GET", "/metrics", headers={"host": host}, hosts=["obs.Internal"]).status_code == 200


def test_with_a_token_any_name_will_do() -> None:
    sent = {"host": "evil.example", "authorization": "Bearer correct-horse"}
    assert ask("GET", "/metrics", headers=sent, token=Secret("correct-horse")).status_code == 200


def test_a_webhook_that_is_signed_comes_by_any_name() -> None:
    assert ask("POST", "/hooks/pagerduty", headers={"host": "obs.example.com"}).status_code != 403
