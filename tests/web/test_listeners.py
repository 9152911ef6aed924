"""What services push to collectors, through the whole application."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from typing import Any

import pytest

from obskit.collect import Several
from obskit.collect.listening import Call, Listener, Said, listener_of
from obskit.errors import StoreFull
from obskit.model.settings import Secret
from obskit.outbound import httpx
from obskit.web.app import Doors, Health, build_app
from obskit.web.listeners import LARGEST


class Ears:
    """A collector that listens below /in/ears, and keeps what it hears."""

    paths: Sequence[str] = ("/in/ears",)

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[Call] = []
        self.error = error

    async def receive(self, call: Call) -> Said:
        if self.error:
            raise self.error
        self.calls.append(call)
        return Said(201, "heard\n", {"X-Heard": "1"})


async def _never() -> str:
    return ""


async def _changed(*_: Any) -> bool:
    return False


def send(ears: Ears, method: str, path: str, *, waiting: bool = False, **how: Any) -> httpx.Response:
    doors = Doors(lambda: "", _never, _changed, _changed, listener=lambda at: listener_of(at, [object(), ears]))
    health = Health({"starting"} if waiting else set())
    app = build_app(health, doors, token=Secret("the-token-of-the-page"))

    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **how)

    return asyncio.run(scenario())


def test_what_is_pushed_reaches_the_collector_without_obskits_token() -> None:
    ears = Ears()
    response = send(ears, "POST", "/in/ears/logs/today?app=shop", content=b"line", headers={"X-Token": "t"})
    (call,) = ears.calls
    assert (call.method, call.rest, call.query, call.body) == ("POST", "/logs/today", {"app": "shop"}, b"line")
    assert call.headers["x-token"] == "t"
    assert (response.status_code, response.text, response.headers["x-heard"]) == (201, "heard\n", "1")


def test_a_part_of_a_collector_may_listen() -> None:
    ears = Ears()
    whole = Several("vendor", [Several("inner", [ears])])  # type: ignore[list-item]  # ears do not collect
    assert listener_of("/in/ears/left", [whole]) == (ears, "/left")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_other_methods_come_through(method: str) -> None:
    ears = Ears()
    assert send(ears, method, "/in/ears").status_code == 201
    assert ears.calls[0].method == method


@pytest.mark.parametrize("path", ["/in/earshot", "/in/", "/ping/nobody"])
def test_nobody_listens_elsewhere(path: str) -> None:
    assert send(Ears(), "POST", path).status_code == 404


def test_who_comes_too_early_is_asked_to_come_again() -> None:
    response = send(Ears(), "POST", "/in/ears", waiting=True)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


def test_a_full_disk_is_no_loss_either() -> None:
    response = send(Ears(StoreFull("no space left")), "POST", "/in/ears", content=b"line")
    assert (response.status_code, response.headers["retry-after"]) == (503, "10")


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_is_unpacked_member_by_member(members: int) -> None:
    ears = Ears()
    packed = gzip.compress(b"a line\n") * members
    send(ears, "POST", "/in/ears", content=packed, headers={"Content-Encoding": "gzip"})
    assert ears.calls[0].body == b"a line\n" * members


@pytest.mark.parametrize(
    "body", [gzip.compress(b"a line", mtime=0)[:-4], b"no gzip at all", gzip.compress(b"a", mtime=0) + b"rest"]
)
def test_broken_gzip_is_refused(body: bytes) -> None:
    ears = Ears()
    assert send(ears, "POST", "/in/ears", content=body, headers={"Content-Encoding": "gzip"}).status_code == 400
    assert not ears.calls


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"x" * (LARGEST + 1), {}), (gzip.compress(b"x" * (LARGEST + 1), mtime=0), {"Content-Encoding": "gzip"})],
)
def test_what_is_too_large_is_refused(body: bytes, headers: dict[str, str]) -> None:
    ears = Ears()
    assert send(ears, "POST", "/in/ears", content=body, headers=headers).status_code == 413
    assert not ears.calls


def test_the_longest_path_wins() -> None:
    class Inner(Ears):
        paths = ("/in/ears/eu",)

    outer, inner = Ears(), Inner()
    assert isinstance(outer, Listener)
    assert listener_of("/in/ears/eu/x", [outer, inner]) == (inner, "/x")
    assert listener_of("/in/ears/europe", [outer, inner]) == (outer, "/europe")
