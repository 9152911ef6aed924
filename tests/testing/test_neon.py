from __future__ import annotations

import json
from typing import Any

import httpx

from obskit.testing.neon import API_KEY, FakeNeon, NeonProject


def get(fake: FakeNeon, path: str, key: str = API_KEY, **params: str) -> tuple[int, Any]:
    answer = httpx.get(fake.url + path, params=params, headers={"Authorization": f"Bearer {key}"})
    return answer.status_code, json.loads(answer.content)


def test_a_wrong_key_and_what_is_not_there_are_refused() -> None:
    with FakeNeon() as fake:
        assert get(fake, "/projects", key="wrong")[0] == 401
        assert get(fake, "/projects/no/endpoints")[0] == 404
        assert get(fake, "/consumption_history/v2/projects")[0] == 400


def test_projects_come_in_pages_and_the_last_cursor_may_come_again() -> None:
    with FakeNeon(projects=tuple(NeonProject(f"p{n}") for n in range(3)), page_size=2, repeats_cursor=True) as fake:
        first = get(fake, "/projects")[1]
        second = get(fake, "/projects", cursor=first["pagination"]["cursor"])[1]
        assert [project["id"] for project in (*first["projects"], *second["projects"])] == ["p0", "p1", "p2"]
        assert first["pagination"] == second["pagination"]


def test_days_without_use_and_days_outside_are_left_out() -> None:
    days = {"2026-11-01": {"compute_unit_seconds": 1.0}, "2026-12-01": {"compute_unit_seconds": 2.0}}
    asked = {"from": "2026-11-01T00:00:00Z", "to": "2026-11-30T00:00:00Z", "metrics": "x", "project_ids": "p,idle"}
    with FakeNeon(projects=(NeonProject("p", days=days), NeonProject("idle")), tier="scale") as fake:
        (project,) = get(fake, "/consumption_history/v2/projects", **asked)[1]["projects"]
        (period,) = project["periods"]
        assert period["period_plan"] == "scale"
        assert [day["timeframe_start"] for day in period["consumption"]] == ["2026-11-01T00:00:00Z"]
        fake.tier = "free"
        assert get(fake, "/consumption_history/v2/projects", **asked)[0] == 403


def test_a_compute_says_its_state() -> None:
    with FakeNeon(projects=(NeonProject("p", computes={"ep": "idle"}),)) as fake:
        (endpoint,) = get(fake, "/projects/p/endpoints")[1]["endpoints"]
    assert (endpoint["id"], endpoint["current_state"]) == ("ep", "idle")
