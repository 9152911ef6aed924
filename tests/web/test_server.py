"""The server on a real socket: where it can listen, and that it ends with its task."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest
from starlette.types import ASGIApp

from obskit.errors import ConfigError
from obskit.outbound import httpx
from obskit.web.app import Doors, Health, build_app
from obskit.web.server import address_of, bind, serve


async def _nothing(*_: object) -> bool:
    return False


async def _reload() -> str:
    return ""


def app() -> ASGIApp:
    return build_app(
        Health(),
        Doors(overview=lambda: "here\n", reload=_reload, change_outbox=_nothing, change_error=_nothing),
        token=None,
    )


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1:"), ("::1", "[::1]:"), ("localhost", "127.0.0.1:")]
)
def test_it_listens_on_a_free_port_when_asked_for_port_0(host: str, shown: str) -> None:
    with bind(host, 0) as listener:
        assert address_of(listener).startswith(shown)
        assert int(address_of(listener).rpartition(":")[2]) > 0


def test_a_port_that_is_taken_is_told_with_what_may_hold_it() -> None:
    with bind("127.0.0.1", 0) as first, pytest.raises(ConfigError) as refused:
        bind("127.0.0.1", first.getsockname()[1])
    (problem,) = refused.value.problems
    assert problem.id == "cannot-listen"
    assert problem.message.endswith(": Address already in use (another obskit watch? see --listen)")


@pytest.mark.parametrize(
    ("host", "reason"),
    [("192.0.2.1", "Cannot assign requested address"), ("no-such-host.invalid", ""), ("999.1.1.1", "")],
)
def test_an_address_that_is_not_ours_is_told_in_words(host: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refused:
        bind(host, 0)
    message = refused.value.problems[0].message
    assert message.startswith(f"cannot listen on {host}:0: {reason}")
    assert "see --listen" not in message


def test_it_serves_until_it_is_cancelled_and_lets_go_of_the_port() -> None:
    async def scenario() -> tuple[str, int]:
        listener = bind("127.0.0.1", 0)
        address = address_of(listener)
        serving = asyncio.create_task(serve(app(), listener))
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://{address}/")).text
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        bind("127.0.0.1", int(address.rpartition(":")[2])).close()
        return text, listener.fileno()

    assert asyncio.run(scenario()) == ("here\n", -1)


@pytest.mark.parametrize(
    "said",
    [
        b"not http at all\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET /" + b"\xff" * 10 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"",
    ],
    ids=["words", "long header", "negative length", "bytes in the path", "a TLS hello", "nothing"],
)
def test_garbage_does_not_stop_it(said: bytes) -> None:
    async def scenario() -> str:
        listener = bind("127.0.0.1", 0)
        address = address_of(listener)
        serving = asyncio.create_task(serve(app(), listener))
        reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        writer.write(said)
        writer.write_eof()
        with suppress(ConnectionError):  # that it hung up is an answer
            await reader.read()
        writer.close()
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://{address}/")).text
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return text

    assert asyncio.run(scenario()) == "here\n"


def test_an_ipv6_socket_is_one() -> None:
    with bind("::1", 0) as listener:
        assert listener.family is socket.AF_INET6
