"""FakeNeon: the parts of Neon's API that tell projects, computes and consumption, with pages, plans and their quirks."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from obskit.clock import Clock
from obskit.testing.http import Answer, FakeServer, Received

API_KEY: Final = "fake-neon-api-key"
_UNKNOWN: Final[dict[str, Any]] = {"settings": {"quota": {}}, "no_such_field_yet": [1, None]}


@dataclass(slots=True)
class NeonProject:
    """One project: the state of each compute, and what it used on each day of this month."""

    id: str
    name: str = ""
    storage_bytes: int = 0
    computes: dict[str, str] = field(default_factory=dict)
    """Id of the endpoint → `active`, `idle`, `init`."""
    days: dict[str, dict[str, float]] = field(default_factory=dict)
    """`2026-10-03` → metric → value. A day without use is not there."""


class FakeNeon(FakeServer):
    """`projects` are what the key sees, `page_size` at a time. `tier="free"` refuses the consumption with a 403.

    With `repeats_cursor` the last page gives the cursor that led to it, as the real one does.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        projects: tuple[NeonProject, ...] = (),
        tier: str = "launch",
        page_size: int = 100,
        repeats_cursor: bool = False,
    ) -> None:
        self.projects = list(projects)
        self.tier = tier
        self.page_size = page_size
        self.repeats_cursor = repeats_cursor
        super().__init__(clock)

    @property
    def url(self) -> str:
        """What goes into `neon.url`."""
        return self.base_url + "/api/v2"

    def answer(self, request: Received) -> Answer:
        """The answer to one call: 401 without the key, 404 for what is not there."""
        if request.headers.get("authorization") != f"Bearer {API_KEY}":
            return _answer(401, {"code": "", "message": "authentication failed"})
        path, _, query = request.path.removeprefix("/api/v2").partition("?")
        asked = dict(parse_qsl(query))
        if path == "/projects":
            return self._page([self._listed(project) for project in self.projects], asked)
        if path == "/consumption_history/v2/projects":
            return self._consumption(asked)
        for project in self.projects:
            if path == f"/projects/{project.id}/endpoints":
                return _answer(200, {"endpoints": [_endpoint(*each) for each in project.computes.items()]})
        return _answer(404, {"code": "", "message": "not found"})

    def _listed(self, project: NeonProject) -> dict[str, Any]:
        known = {"id": project.id, "name": project.name, "synthetic_storage_size": project.storage_bytes}
        return {**known, "region_id": "aws-us-east-2", "pg_version": 17, **_UNKNOWN}

    def _consumption(self, asked: dict[str, str]) -> Answer:
        if self.tier == "free":
            return _answer(403, {"code": "", "message": "this endpoint is not available on your plan"})
        if "metrics" not in asked or not asked.get("from", "").endswith("Z") or not asked.get("to", "").endswith("Z"):
            return _answer(400, {"code": "", "message": "metrics, from and to are required"})
        wanted = asked.get("project_ids", "").split(",")
        found = [self._periods(project, asked) for project in self.projects if project.id in wanted]
        return self._page([project for project in found if project["periods"][0]["consumption"]], asked)

    def _periods(self, project: NeonProject, asked: dict[str, str]) -> dict[str, Any]:
        days = [
            {
                "timeframe_start": f"{day}T00:00:00Z",
                "timeframe_end": f"{day}T23:59:59Z",
                "metrics": [{"metric_name": name, "value": value} for name, value in metrics.items()],
            }
            for day, metrics in project.days.items()
            if asked["from"][:10] <= day <= asked["to"][:10]
        ]
        period = {"period_id": "p1", "period_plan": self.tier, "period_start": asked["from"], "consumption": days}
        return {"project_id": project.id, "periods": [period]}

    def _page(self, found: list[dict[str, Any]], asked: dict[str, str]) -> Answer:
        start = int(asked.get("cursor") or 0)
        size = min(int(asked.get("limit", "10")), self.page_size)
        end = start + size
        pagination = {"cursor": str(end)} if end < len(found) else {}
        if not pagination and self.repeats_cursor and start:
            pagination = {"cursor": str(start)}
        return _answer(200, {"projects": found[start:end], "pagination": pagination})


def _endpoint(id: str, state: str) -> dict[str, Any]:
    known = {"id": id, "host": f"{id}.us-east-2.aws.neon.tech", "type": "read_write", "current_state": state}
    return {**known, "autoscaling_limit_min_cu": 0.25, "autoscaling_limit_max_cu": 2, "suspend_timeout_seconds": 0}


def _answer(status: int, body: dict[str, Any]) -> Answer:
    return Answer(status, json.dumps(body).encode())
