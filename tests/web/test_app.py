"""The server's paths as a client sees them: through the application, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from obskit.clock import SystemClock
from obskit.collect.books import UP
from obskit.errors import StoreFull
from obskit.grouping.issues import FOREVER
from obskit.ingest.reception import Reception
from obskit.ingest.settings import IngestSettings
from obskit.model.labels import Labels
from obskit.model.samples import Sample
from obskit.model.settings import Secret
from obskit.outbound import httpx
from obskit.store.interface import Batch, Refused
from obskit.testing.remote_write import ONE, TWO, write_request, write_request_2
from obskit.web.app import OPEN_PATHS, Doors, Health, build_app

TOKEN = Secret("correct-horse")
ALLOWED = {"Authorization": "Bearer correct-horse"}
PATHS = (
    "/",
    "/metrics",
    "/nothing",
    "/-/reload",
    "/-/outbox/7/drop",
    "/-/errors/3fa9c1d207/resolve",
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
        self.doors = Doors(
            overview=lambda: "obskit watch\n",
            reload=self._reload,
            change_outbox=self._change,
            change_error=self._change_error,
        )

    async def _reload(self) -> str:
        self.asked.append(("reload",))
        return self.wrong

    async def _change(self, id: int, what: str) -> bool:
        self.asked.append((id, what))
        return id == 7

    async def _change_error(self, id: str, what: str, until_ms: int) -> bool:
        self.asked.append((id, what, until_ms))
        return id == "3fa9c1d207"


def ask(
    method: str,
    path: str,
    *,
    house: House | None = None,
    waiting: set[str] | None = None,
    token: Secret | None = None,
    headers: Mapping[str, str] | Mapping[bytes, bytes] | Sequence[tuple[bytes, bytes]] | None = None,
    content: bytes | None = None,
    hosts: Sequence[str] = (),
) -> httpx.Response:
    app = build_app(Health(waiting or set()), (house or House()).doors, token=token, hosts=hosts)

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(send())


@pytest.mark.parametrize(("path", "word"), [("/healthz", "ok\n"), ("/-/healthy", "OK")])
def test_it_is_alive_as_soon_as_it_answers(path: str, word: str) -> None:
    answer = ask("GET", path, waiting={"starting"})
    assert (answer.status_code, answer.text) == (200, word)


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


class Taking:
    """An intake that takes everything."""

    async def append(self, batch: Batch) -> Refused:
        return Refused()

    async def cursor(self, owner: str) -> str | None:
        return None


def taking() -> House:
    house = House()
    house.doors = replace(house.doors, reception=Reception(Taking(), SystemClock(), IngestSettings()))
    return house


PUSHED = write_request([Sample(Labels({"__name__": "up"}), 1, 1.0)])


@pytest.mark.parametrize(
    ("method", "headers", "token", "status"),
    [
        ("POST", ONE, None, 204),
        ("POST", {**ONE, **ALLOWED}, TOKEN, 204),
        ("POST", ONE, TOKEN, 401),
        ("POST", {**ONE, "Origin": "https://evil.example"}, None, 403),
        ("POST", {**ONE, "Content-Type": "application/json"}, None, 415),
        ("GET", {}, None, 405),
    ],
)
def test_a_push_is_under_the_same_rules_as_the_page(
    method: str, headers: dict[str, str], token: Secret | None, status: int
) -> None:
    answer = ask(method, "/api/v1/write", house=taking(), headers=headers, token=token, content=PUSHED)
    assert answer.status_code == status
    assert bool(answer.text) == (status != 204)


def test_nothing_is_taken_where_pushes_are_switched_off() -> None:
    assert ask("POST", "/api/v1/write", headers=ONE, content=PUSHED).status_code == 404


def test_a_sender_of_2_is_told_how_much_was_written() -> None:
    body = write_request_2([Sample(Labels({"__name__": "up"}), 1, 1.0)])
    answer = ask("POST", "/api/v1/write", house=taking(), headers=TWO, content=body)
    assert answer.headers["x-prometheus-remote-write-samples-written"] == "1"


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("/-/errors/3fa9c1d207/resolve", ("3fa9c1d207", "resolve", FOREVER), 200),
        ("/-/errors/3fa9c1d207/mute?until_ms=1700000000000", ("3fa9c1d207", "mute", 1_700_000_000_000), 200),
        ("/-/errors/3fa9c1d207/mute?until_ms=never", ("3fa9c1d207", "mute", FOREVER), 200),
        ("/-/errors/nobody/reopen", ("nobody", "reopen", FOREVER), 404),
    ],
)
def test_an_error_group_is_changed(path: str, asked: tuple[object, ...], status: int) -> None:
    house = House()
    assert ask("POST", path, house=house).status_code == status
    assert house.asked == [asked]


class Listener:
    """A hook that takes everything, unless the store is full."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.heard: list[bytes] = []

    async def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        if self.error is not None:
            raise self.error
        self.heard.append(body)
        return 202


def listening(hook: Listener) -> House:
    house = House()
    house.doors = replace(house.doors, hook=lambda kind: hook if kind == "pager" else None)
    return house


def test_a_hook_needs_no_token_because_it_is_signed() -> None:
    hook = Listener()
    assert ask("POST", "/hooks/pager", house=listening(hook), token=TOKEN, content=b"x").status_code == 202
    assert hook.heard == [b"x"]


@pytest.mark.parametrize("path", ["/hooks/pager", "/hooks/anything"])
def test_while_it_starts_no_hook_is_refused_for_good(path: str) -> None:
    hook = Listener()
    assert ask("POST", path, house=listening(hook), waiting={"starting"}, content=b"x").status_code == 503
    assert hook.heard == []


def test_a_store_that_takes_nothing_asks_a_hook_to_come_again() -> None:
    house = listening(Listener(StoreFull("no space left")))
    assert ask("POST", "/hooks/pager", house=house, content=b"x").status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/hooks/other", b"x", 404),
        ("GET", "/hooks/pager", None, 405),
        ("POST", "/hooks/pager", b"x" * 1_048_577, 413),
        ("POST", "/hooks/", b"x", 404),
    ],
)
def test_what_is_no_hook_is_refused(method: str, path: str, content: bytes | None, status: int) -> None:
    hook = Listener()
    assert ask(method, path, house=listening(hook), content=content).status_code == status
    assert hook.heard == []
