from __future__ import annotations

import pytest

from obskit.outbound import httpx
from obskit.testing.healthchecks import BODY_LIMIT, FakeHealthchecks, Heard

RUN = "11111111-2222-4333-8444-555555555555"
ANSWERS = [
    ("", 200, "OK"),
    ("/start", 200, "OK"),
    ("/fail", 200, "OK"),
    ("/log", 200, "OK"),
    ("/255", 200, "OK"),
    ("/256", 400, "invalid url format"),
    ("/stop", 400, "invalid url format"),
    (f"?rid={RUN}", 200, "OK"),
    ("?rid=1", 400, "invalid uuid format"),
]


@pytest.mark.parametrize(("path", "status", "text"), ANSWERS)
def test_it_answers_as_the_service_does(path: str, status: int, text: str) -> None:
    with FakeHealthchecks() as service:
        response = httpx.get(f"{service.ping_url}{path}")
        assert (response.status_code, response.text) == (status, text)
        assert len(service.pings) == (status == 200)
        assert httpx.get(f"{service.base_url}/11111111-2222-4333-8444-555555555555").status_code == 404


def test_it_keeps_what_was_said_up_to_its_limit() -> None:
    with FakeHealthchecks() as service:
        httpx.post(f"{service.ping_url}/7?rid={RUN}", content=b"x" * (BODY_LIMIT + 1))
        assert service.pings == [Heard("7", b"x" * BODY_LIMIT, RUN)]
