"""What `obskit ack` asks of the daemon, through the application."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from obskit.outbound import httpx
from obskit.routing.acks import Acks
from obskit.store.database import Database
from obskit.testing.clock import FakeClock
from obskit.web.acks import ack_routes


def post(folder: Path, path: str, **said: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        database = Database.open(folder)
        transport = httpx.ASGITransport(Starlette(routes=ack_routes(Acks(database, FakeClock()))))
        async with httpx.AsyncClient(transport=transport, base_url="http://obskit") as http:
            answer = await http.post(path, **said)
        await database.close()
        return answer

    return asyncio.run(ask())


@pytest.mark.parametrize("path", ["/-/ack", "/-/unack"])
def test_groups_that_are_not_open_are_not_acked(tmp_path: Path, path: str) -> None:
    answer = post(tmp_path, path, json={"matchers": ["a=b"], "by": "ann"})
    assert (answer.status_code, answer.json()) == (200, {"groups": []})


@pytest.mark.parametrize("path", ["/-/ack", "/-/unack"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"nope", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"group": 7}', 400),
        (b'{"matchers": ["a=b"], "by": {}}', 400),
        (b'{"matchers": 1}', 400),
        (b'{"matchers": ["="]}', 400),
        (b" " * 70_000, 413),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, path: str, body: bytes, status: int) -> None:
    assert post(tmp_path, path, content=body).status_code == status
