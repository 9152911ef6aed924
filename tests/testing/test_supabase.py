from __future__ import annotations

import httpx
import pytest

from obskit.testing.supabase import KEY, PATH, FakeSupabase


@pytest.mark.parametrize(
    ("path", "login", "paused", "status"),
    [
        (PATH, ("service_role", KEY), False, 200),
        (PATH, ("service_role", "wrong"), False, 401),
        (PATH, ("postgres", KEY), False, 401),
        (PATH, ("service_role", KEY), True, 540),
        ("/metrics", ("service_role", KEY), False, 404),
    ],
)
def test_the_page_is_for_the_service_role_of_a_project_that_is_not_paused(
    path: str, login: tuple[str, str], paused: bool, status: int
) -> None:
    with FakeSupabase() as fake:
        fake.paused = paused
        answer = httpx.get(fake.base_url + path, auth=login)
    assert answer.status_code == status
    assert (b"pg_stat_database_num_backends" in answer.content) == (status == 200)
