"""FakeFly: Fly.io's APIs on loopback: logs, machines and their events, releases, volumes, Prometheus, the incidents feed.

    with FakeFly(clock) as fly:
        fly.write("shop", "order 7141 charged")                        # a line; any time, any id, as often as wanted
        fly.machine("shop", "3287e1", checks=[{"name": "http", "status": "critical"}])
        fly.exit("3287e1", exit_code=137, oom_killed=True)

Quirks of the real thing are switches: `page_size`, `numeric_cursor`, `unknown_fields`, `error_regions`, `burst`,
`elsewhere`, `gzip_bomb` (what every answer is then); a line of an older time is a late one, the same id twice a duplicate; `plan` and `break_down` do the rest.
"""

from __future__ import annotations

import json
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from obskit.clock import NS_PER_MS, NS_PER_S, Clock
from obskit.testing.http import Answer, Failure, FakeServer, Received

TOKEN: Final = "fm2_lJPECAAAAAAAfake-readonly-token"
ORGANIZATION: Final = "acme"
_RETENTION_NS: Final = 7 * 86_400 * NS_PER_S
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Query = dict[str, str]


@dataclass(slots=True)
class _Lines:
    """The lines of one app by their times, which may repeat."""

    times_ns: list[int] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)

    def add(self, t_ns: int, entry: dict[str, Any]) -> None:
        at = bisect_right(self.times_ns, t_ns)
        self.times_ns.insert(at, t_ns)
        self.entries.insert(at, entry)


class FakeFly(FakeServer):
    """One organisation. `url` stands for every base URL of the vendor's."""

    def __init__(self, clock: Clock | None = None, *, token: str = TOKEN) -> None:
        self.token = token
        self.page_size = 100
        self.numeric_cursor = False
        self.unknown_fields = False
        self.error_regions: list[str] = []
        self.burst = 0
        self.gzip_bomb = b""
        self.elsewhere: set[str] = set()
        self.machines: dict[str, dict[str, Any]] = {}
        self.machines_page = 1000
        self.events_shown = 5
        self.releases: dict[str, list[dict[str, Any]]] = {}
        self.volumes: list[dict[str, Any]] = []
        self.incidents: list[dict[str, Any]] = []
        self.vectors: dict[str, list[tuple[dict[str, str], float]]] = {}
        self.federated = ""
        self._lines: dict[str, _Lines] = {}
        self._ids = 0
        self._seconds: dict[tuple[str, int], int] = {}
        super().__init__(clock)

    @property
    def url(self) -> str:
        """Every `…_url` of the collector's settings."""
        return self.base_url

    def app(self, name: str) -> None:
        """An app, without lines or machines yet."""
        self._lines.setdefault(name, _Lines())
        self.releases.setdefault(name, [])

    def delete(self, name: str) -> None:
        """The app is gone, and its machines with it."""
        del self._lines[name]
        del self.releases[name]
        self.machines = {id: one for id, one in self.machines.items() if one["app_name"] != name}  # noqa: A001 - its id

    def write(
        self,
        app: str,
        message: str,
        *,
        t_ns: int | None = None,
        level: str = "info",
        provider: str = "app",
        id: str | None = None,
        **meta: Any,
    ) -> None:
        """A line of the app's log; one of an older time than others is late, one of an id that was there a duplicate."""
        self.app(app)
        t_ns = self.now_ms() * NS_PER_MS if t_ns is None else t_ns
        self._ids += 1
        place = {"instance": "3287e1ddb41d85", "region": "fra"}
        attributes: dict[str, Any] = {
            "timestamp": f"{(_EPOCH + timedelta(milliseconds=t_ns // NS_PER_MS)).isoformat()[:19]}"
            f".{t_ns // NS_PER_MS % 1000:03d}Z",
            "message": message,
            "level": level,
            **place,
            "meta": {**place, "event": {"provider": provider}, **meta},
        }
        if self.unknown_fields:
            attributes |= {"flavour": {"of": ["something", 1]}, "level": "splendid", "meta": {"event": "not a mapping"}}
        self._lines[app].add(t_ns, {"id": id or f"01JX{self._ids:08d}", "type": "log", "attributes": attributes})

    def machine(self, app: str, id: str, **more: Any) -> dict[str, Any]:
        """A machine as it is now; keys of `more` replace parts of it (`state`, `region`, `checks`, `config` …)."""
        self.app(app)
        now = self.rfc3339()
        made = {
            "id": id,
            "app_name": app,
            "name": f"quiet-moon-{id}",
            "state": "started",
            "region": "fra",
            "instance_id": "01JX2M",
            "created_at": now,
            "config": {
                "image": f"registry.fly.io/{app}:deployment-01JX",
                "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256},
                "metadata": {"fly_process_group": "app", "fly_release_version": "1", "fly_platform_version": "v2"},
                "restart": {"policy": "on-failure", "max_retries": 10},
            },
            "events": [],
            "checks": [],
            "host_status": "ok",
        }
        before = self.machines.get(id, made)
        self.machines[id] = {**before, **more, "updated_at": now}
        if self.unknown_fields:
            self.machines[id] |= {"mood": "good", "host_status": "asleep"}
        return self.machines[id]

    def event(self, id: str, type: str, *, source: str = "flyd", t_ms: int | None = None, **more: Any) -> None:
        """Something that happened to a machine, newest first in its list."""
        self._ids += 1
        told = {"id": f"01EV{self._ids:08d}", "type": type, "status": more.pop("status", type), "source": source}
        told["timestamp"] = self.now_ms() if t_ms is None else t_ms
        machine = self.machines[id]
        self.machines[id] = machine | {"events": [told | more, *machine["events"]], "updated_at": self.rfc3339()}

    def exit(self, id: str, *, monitor: bool = False, restart_count: int = 0, **exit_event: Any) -> None:
        """The machine's program ended; zero and false parts are left out, as the real one does."""
        told = {"exit_event": {key: value for key, value in exit_event.items() if value}}
        request: dict[str, Any] = {"MonitorEvent": told} if monitor else told
        if restart_count:
            request["restart_count"] = restart_count
        self.event(id, "exit", status="stopped", request=request)

    def release(self, app: str, version: int, *, status: str = "complete", **more: Any) -> None:
        """A release of the app, newest first in its list; one of a version that is there changes."""
        self.app(app)
        made = {
            "id": f"rel_{app}_{version}",
            "version": version,
            "stable": True,
            "in_progress": status in ("running", "pending"),
            "status": status,
            "strategy": "rolling",
            "user": {"id": "u1", "email": "dev@example.com", "name": "Dev"},
            "created_at": self.rfc3339(),
            "image_ref": f"registry.fly.io/{app}:deployment-{version}",
            **more,
        }
        others = [one for one in self.releases[app] if one["version"] != version]
        self.releases[app] = sorted([*others, made], key=lambda one: -int(one["version"]))

    def rfc3339(self) -> str:
        """Now, as this vendor writes times."""
        return (_EPOCH + timedelta(milliseconds=self.now_ms())).isoformat(timespec="seconds").replace("+00:00", "Z")

    def route(self, request: Received) -> str:
        """Failures are planned for `logs`, `machines`, `apps`, `machine`, `releases`, `volumes`, `incidents`, `query`, `federate`."""
        return _route(urlsplit(request.path).path)[0]

    def answer(self, request: Received) -> Answer:
        """What the API of the request's path says."""
        parts = urlsplit(request.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        name, place = _route(parts.path)
        apis: dict[str, Callable[[list[str], Query], Answer]] = {
            "logs": self._logs,
            "apps": self._apps,
            "machines": self._machines_of_all,
            "machine": self._machines_of_app,
            "events": self._events,
            "releases": self._releases,
            "volumes": self._volumes,
            "incidents": self._incidents,
            "query": self._query,
            "federate": lambda _place, _query: Answer(200, self.federated.encode(), "text/plain; version=0.0.4"),
        }
        if name not in apis:
            return _said(404, {"error": "not found"})
        if name != "incidents" and not self._may(request, name):
            return _said(401, {"error": "Authenticate: token validation error"})
        if self.burst and not self._in_time(parts.path):
            return Answer(429, b'{"error":"rate limit exceeded"}', headers={"Retry-After": "1"})
        if self.gzip_bomb:
            return Answer(200, self.gzip_bomb, headers={"Content-Encoding": "gzip"})
        return apis[name](place, query)

    def fail(self, request: Received, failure: Failure) -> Answer:
        """Planned failures speak as the Machines API does."""
        answer = super().fail(request, failure)
        return (
            answer if answer.body else _said(failure.status, {"error": "unknown", "status": "unknown"}, answer.headers)
        )

    def _may(self, request: Received, name: str) -> bool:
        """A macaroon sent as Bearer is refused by logs and Prometheus; the Machines API takes both."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        strict = name in ("logs", "query", "federate") and self.token.startswith(("fm1", "fm2"))
        return token == self.token and scheme in (("FlyV1",) if strict else ("FlyV1", "Bearer"))

    def _in_time(self, path: str) -> bool:
        """At most `burst` requests a second for one path."""
        key = (path, self.now_ms() // 1000)
        self._seconds[key] = self._seconds.get(key, 0) + 1
        return self._seconds[key] <= self.burst

    def _logs(self, place: list[str], query: Query) -> Answer:
        app = place[0]
        if app in self.elsewhere:
            return _said(403, {"error": "forbidden"})
        if app not in self._lines:
            return _said(404, {"error": "app not found"})
        lines, token = self._lines[app], query.get("next_token", "")
        if token:
            oldest_ns = self.now_ms() * NS_PER_MS - _RETENTION_NS
            first = bisect_right(lines.times_ns, max(int(token), oldest_ns))
        else:
            day_ns = self.now_ms() * NS_PER_MS - 86_400 * NS_PER_S
            first = max(bisect_right(lines.times_ns, day_ns), len(lines.times_ns) - self.page_size)
        page = slice(first, first + self.page_size)
        times_ns = lines.times_ns[page]
        following: Any = times_ns[-1] if times_ns else token
        following = int(following or 0) if self.numeric_cursor else str(following)
        return _said(200, {"data": lines.entries[page], "meta": {"next_token": following}})

    def _apps(self, _place: list[str], query: Query) -> Answer:
        if query.get("org_slug") != ORGANIZATION:
            return _said(404, {"error": "organization not found"})
        apps = [{"id": f"app_{name}", "name": name, "status": "deployed"} for name in sorted(self._lines)]
        return _said(200, {"total_apps": len(apps), "apps": apps})

    def _machines_of_all(self, place: list[str], query: Query) -> Answer:
        if place[0] != ORGANIZATION:
            return _said(403, {"error": "forbidden"})
        after, deleted = query.get("updated_after", ""), query.get("include_deleted") == "true"
        found: list[tuple[str, str]] = []
        for id, one in self.machines.items():  # noqa: A001 - its id
            seen = one["updated_at"] > after and one["region"] not in self.error_regions
            if seen and (deleted or one["state"] != "destroyed"):
                insort(found, (one["updated_at"], id))
        begin = int(query.get("cursor") or 0)
        end = begin + self.machines_page
        listed = [
            {key: value for key, value in self.machines[id].items() if key not in ("events", "checks")}
            for _, id in found[begin:end]  # noqa: A001 - its id
        ]
        more = {"next_cursor": str(end)} if end < len(found) else {"next_cursor": ""}
        return _said(200, {"machines": listed, **more, "error_regions": self.error_regions})

    def _machines_of_app(self, place: list[str], _query: Query) -> Answer:
        if place[0] not in self._lines:
            return _said(404, {"error": "app not found"})
        mine = [one for one in self.machines.values() if one["app_name"] == place[0] and one["state"] != "destroyed"]
        return _said(200, [one | {"events": one["events"][: self.events_shown]} for one in mine])

    def _events(self, place: list[str], _query: Query) -> Answer:
        machine = self.machines.get(place[1])
        return _said(404, {"error": "machine not found"}) if machine is None else _said(200, machine["events"])

    def _releases(self, place: list[str], query: Query) -> Answer:
        if place[0] not in self.releases:
            return _said(404, {"error": "app not found"})
        return _said(200, {"releases": self.releases[place[0]][: int(query.get("limit") or 25)]})

    def _volumes(self, place: list[str], _query: Query) -> Answer:
        return _said(200, self.volumes) if place[0] == ORGANIZATION else _said(403, {"error": "forbidden"})

    def _incidents(self, _place: list[str], _query: Query) -> Answer:
        return _said(200, {"incidents": self.incidents})

    def _query(self, _place: list[str], query: Query) -> Answer:
        asked = query.get("query", "")
        if asked not in self.vectors:
            wrong = {"status": "error", "errorType": "422", "error": f"cannot parse {asked!r}"}
            return _said(422, wrong)
        at = float(query.get("time") or self.now_ms() / 1000)
        result = [{"metric": labels, "value": [at, str(value)]} for labels, value in self.vectors[asked]]
        return _said(200, {"status": "success", "data": {"resultType": "vector", "result": result}})


def storm(fly: FakeFly, app: str, texts: Sequence[str], dice: Random, *, late_s: int = 3) -> None:
    """Write lines as bad as they come: some up to `late_s` late, some twice, runs of them with equal times."""
    begin_ns = fly.now_ms() * NS_PER_MS
    for number, text in enumerate(texts):
        late_ns = dice.randrange(late_s + 1) * NS_PER_S if dice.random() < 0.2 else 0
        t_ns = begin_ns - (len(texts) - number) // 40 * NS_PER_MS - late_ns
        for _ in range(2 if dice.random() < 0.2 else 1):
            fly.write(app, text, t_ns=t_ns, id=text)


def shipped(app: str, message: str, t_ns: int, **more: Any) -> dict[str, Any]:
    """A line as the log shipper pushes it: times in nanoseconds, no id."""
    moment = (_EPOCH + timedelta(seconds=t_ns // NS_PER_S)).isoformat().replace("+00:00", "")
    return {
        "event": {"provider": "app"},
        "fly": {"app": {"instance": "3287e1ddb41d85", "name": app}, "region": "fra"},
        "host": "9a1c",
        "log": {"level": "info"},
        "message": message,
        "timestamp": f"{moment}.{t_ns % NS_PER_S:09d}Z",
        **more,
    }


def _route(path: str) -> tuple[str, list[str]]:
    """The name of an API and the variable parts of its path."""
    match path.strip("/").split("/"):
        case ["api", "v1", "apps", app, ("logs" | "releases") as what]:
            return what, [app]
        case ["v1", "apps"]:
            return "apps", []
        case ["v1", "orgs", organization, ("machines" | "volumes") as what]:
            return what, [organization]
        case ["v1", "apps", app, "machines"]:
            return "machine", [app]
        case ["v1", "apps", app, "machines", machine, "events"]:
            return "events", [app, machine]
        case ["prometheus", _, "api", "v1", "query"]:
            return "query", []
        case ["prometheus", _, "federate"]:
            return "federate", []
        case ["v1", "incidents"]:
            return "incidents", []
    return "", []


def _said(status: int, body: Any, headers: Any = None) -> Answer:
    return Answer(status, json.dumps(body).encode(), headers=dict(headers or {}))
