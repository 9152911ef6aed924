"""The server's paths as a client sees them: through the application, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from obskit.collect.books import UP
from obskit.model.settings import Secret
from obskit.outbound import httpx
from obskit.web.app import OPEN_PATHS, Doors, Health, build_app

TOKEN = Secret("correct-horse")
ALLOWED = {"Authorization": "Bearer correct-horse"}
PATHS = (
    "/",
    "/metrics",
    "/nothing",
    "/-/reload",
    "/-/outbox/7/drop",
    "/healthz/",
    "//healthz",
    "/HEALTHZ",
    "/readyz/x",
)


class House:
    """A daemon's doors: message 7 can be changed, a reload finds what is `wrong`; `asked` is what came through."""

    def __init__(self, wrong: str = "") -> None:
        self.wrong = wrong
        self.asked: list[tuple[object, ...]] = []
        self.doors = Doors(overview=lambda: "obskit watch\n", reload=self._reload, change_outbox=self._change)

    async def _reload(self) -> str:
        self.asked.append(("reload",))
        return self.wrong

    async def _change(self, id: int, what: str) -> bool:
        self.asked.append((id, what))
        return id == 7


def ask(
    method: str,
    path: str,
    *,
    house: House | None = None,
    waiting: set[str] | None = None,
    token: Secret | None = None,
    headers: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
    content: bytes | None = None,
) -> httpx.Response:
    app = build_app(Health(waiting or set()), (house or House()).doors, token=token)

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://obskit") as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(send())


@pytest.mark.parametrize("path", ["/healthz", "/-/healthy"])
def test_it_is_alive_as_soon_as_it_answers(path: str) -> None:
    answer = ask("GET", path, waiting={"starting"})
    assert (answer.status_code, answer.text) == (200, "ok\n")


@pytest.mark.parametrize("path", ["/readyz", "/-/ready"])
def test_it_says_what_keeps_it_from_being_ready(path: str) -> None:
    answer = ask("GET", path, waiting={"starting", "replaying the store"})
    assert (answer.status_code, answer.text) == (503, "not ready: replaying the store, starting\n")
    assert ask("GET", path).status_code == 200


def test_its_own_metrics_are_in_the_text_format() -> None:
    answer = ask("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert f"# TYPE {UP._name} gauge\n" in answer.text


def test_the_front_page_is_the_overview_as_text() -> None:
    answer = ask("GET", "/")
    assert answer.text == "obskit watch\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(("wrong", "status"), [("", 200), ("obskit.yaml:3:1  error  unknown-key  …\n", 500)])
def test_a_reload_answers_with_what_was_wrong(wrong: str, status: int) -> None:
    house = House(wrong)
    answer = ask("POST", "/-/reload", house=house)
    assert (answer.status_code, answer.text) == (status, wrong or "reloaded\n")
    assert house.asked == [("reload",)]


@pytest.mark.parametrize(
    ("path", "status", "asked"),
    [
        ("/-/outbox/7/retry", 200, [(7, "retry")]),
        ("/-/outbox/7/drop", 200, [(7, "drop")]),
        ("/-/outbox/8/drop", 404, [(8, "drop")]),
        ("/-/outbox/7/explode", 404, []),
        ("/-/outbox/seven/drop", 404, []),
        ("/-/outbox/-7/drop", 404, []),
        (f"/-/outbox/{2**80}/drop", 404, []),
    ],
)
def test_a_message_is_tried_again_or_dropped_by_its_number(path: str, status: int, asked: list[object]) -> None:
    house = House()
    assert ask("POST", path, house=house).status_code == status
    assert house.asked == asked


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/-/reload", 405),
        ("GET", "/-/outbox/7/drop", 405),
        ("POST", "/metrics", 405),
        ("DELETE", "/healthz", 405),
        ("HEAD", "/healthz", 200),
        ("HEAD", "/metrics", 200),
        ("BREW", "/", 405),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/%00", 404),
        ("GET", "/" + "a" * 60_000, 404),
    ],
)
def test_what_is_not_offered_is_refused_and_does_nothing(method: str, path: str, status: int) -> None:
    house = House()
    assert ask(method, path, house=house).status_code == status
    assert house.asked == []


@pytest.mark.parametrize("path", ["/-/reload", "/-/outbox/7/drop"])
def test_a_web_page_changes_nothing(path: str) -> None:
    house = House()
    assert ask("POST", path, house=house, headers={"Origin": "https://evil.example"}).status_code == 403
    assert house.asked == []
    assert ask("GET", "/healthz", headers={"Origin": "https://evil.example"}).status_code == 200


def test_a_body_that_nobody_asked_for_is_not_read() -> None:
    assert ask("POST", "/-/reload", content=b"\xff" * 5_000_000).status_code == 200


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
def test_health_needs_no_token(path: str) -> None:
    assert ask("GET", path, token=TOKEN).status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer correct-horse-"},
        {"Authorization": "Bearer Correct-Horse"},
        {"Authorization": "Basic correct-horse"},
        {"X-Authorization": "Bearer correct-horse"},
    ],
    ids=str,
)
def test_every_other_path_needs_it(path: str, given: dict[str, str]) -> None:
    house = House()
    answer = ask("POST", path, house=house, token=TOKEN, headers=given)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "correct" not in answer.text
    assert house.asked == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_with_the_token_everything_works(scheme: str) -> None:
    house = House()
    answer = ask(
        "POST", "/-/outbox/7/drop", house=house, token=TOKEN, headers={"Authorization": f"{scheme} correct-horse"}
    )
    assert answer.status_code == 200
    assert house.asked == [(7, "drop")]


def test_a_token_may_hold_any_text() -> None:
    token = Secret("größe 1")
    answer = ask("GET", "/", token=token, headers={b"Authorization": "Bearer größe 1".encode()})
    assert answer.status_code == 200
