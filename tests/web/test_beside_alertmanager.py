"""The same requests to a real Alertmanager and to ours: the same answers."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from obskit.testing.clock import FakeClock, run
from tests.servers import free_port, wait_for_port
from tests.web.alertmanagers import ALWAYS, INHIBIT, ROUTE, serving

SILENCE = {
    "matchers": [{"name": "a", "value": "b", "isRegex": False}],
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "2936-01-01T00:00:00Z",
    "createdBy": "me",
    "comment": "c",
}
UNKNOWN = "4b5c6d7e-0000-4000-8000-000000000000"


def silence(**change: Any) -> str:
    return json.dumps({**SILENCE, **change})


ALERTS = [
    "",
    "{}",
    "[1]",
    '"x"',
    "null",
    "[]",
    "nope",
    "[{}]",
    '[{"labels":null}]',
    '[{"labels":{}}]',
    '[{"labels":{"a":1}}]',
    '[{"labels":{"a":null}}]',
    '[{"labels":[]}]',
    '[{"labels":{"a":""}}]',
    '[{"labels":{"":"b"}}]',
    '[{"labels":{"a":"b"},"startsAt":"x"}]',
    '[{"labels":{"a":"b"},"startsAt":5}]',
    '[{"labels":{"a":"b"},"startsAt":"2030-01-01T00:00:00Z","endsAt":"2029-01-01T00:00:00Z"}]',
    '[{"labels":{"a":"b"},"annotations":{"x":1}}]',
    '[{"labels":{"a":"b"},"generatorURL":"no url"}]',
    '[{"labels":{"a":"b"},"generatorURL":7}]',
    '[{"labels":{"a":"b"},"extra":7}]',
    '[{"labels":{"ok":"1"}},{"labels":{"":"x"}},{"labels":{}}]',
    '[{"labels":{"a":"b"},"startsAt":"2030-01-01"}]',
    '[{"labels":{"a":"b"},"startsAt":"2026-11-20 10:00:00"}]',
    '[{"annotations":{"a":"b"}}]',
]
SILENCES = [
    "",
    "nope",
    "[]",
    "null",
    "{}",
    silence(matchers=[]),
    silence(matchers=None),
    silence(matchers="x"),
    silence(createdBy=None),
    silence(comment=None),
    silence(startsAt=None),
    silence(endsAt=None),
    silence(startsAt="x"),
    silence(id=7),
    silence(id="nope"),
    silence(id=UNKNOWN),
    silence(endsAt="2020-01-01T00:00:00Z", startsAt="2019-01-01T00:00:00Z"),
    silence(startsAt="2936-01-01T00:00:00Z"),
    silence(startsAt="2937-01-01T00:00:00Z"),
    silence(matchers=[{"name": "a"}]),
    silence(matchers=[{"value": "a", "isRegex": False}]),
    silence(matchers=[{"name": "a", "value": "", "isRegex": False}]),
    silence(matchers=[{"name": "", "value": "x", "isRegex": False}]),
    silence(matchers=[{"name": "a", "value": "x", "isRegex": "no"}]),
    silence(matchers=[{"name": "a", "value": "x", "isRegex": True, "isEqual": 1}]),
]
REQUESTS: list[tuple[str, str, str | None]] = [
    *(("POST", "/alerts", body) for body in ALERTS),
    *(("POST", "/silences", body) for body in SILENCES),
    *(("GET", f"/silence/{its_id}", None) for its_id in ("nope", UNKNOWN)),
    ("DELETE", "/silence/nope", None),
    ("GET", "/receivers", None),
    ("GET", "/alerts?filter=foo", None),
    ("GET", "/alerts?filter=", None),
    ("GET", "/alerts/groups?filter=foo", None),
    ("GET", "/silences?filter=a", None),
    ("GET", "/nothing", None),
    ("PUT", "/alerts", "[]"),
    ("POST", "/alerts/groups", "[]"),
]
POSTED = [
    {"labels": {"alertname": "q", "team": "x", "empty": ""}, "annotations": {"s": "<b>&\u2028"}},
    {"labels": {"alertname": "w", "severity": "critical"}, "generatorURL": "http://p/g"},
    {"labels": {"alertname": "v", "severity": "warning"}, "startsAt": "2026-11-20T10:00:00.123456789Z"},
]
LISTS = [
    "/alerts",
    "/alerts?active=false",
    "/alerts?inhibited=false",
    "/alerts?active=0",
    "/alerts?filter=team%3D",
    "/alerts?filter=team!%3D",
    "/alerts?filter=alertname%3D~%22q|w%22&filter=team%3Dx",
    "/alerts?filter=a%3Db,c%3Dd",
    "/alerts?receiver=b.c",
    "/alerts?receiver=b",
    "/alerts/groups",
    "/alerts/groups?receiver=b.c",
    "/alerts/groups?active=false",
]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real one with the config that ours has."""
    folder, port = tmp_path_factory.mktemp("alertmanager"), free_port()
    config = {
        "route": ROUTE,
        "receivers": [{"name": "a"}, {"name": "b.c"}],
        "inhibit_rules": [INHIBIT],
        "time_intervals": [ALWAYS],
    }
    (folder / "am.yml").write_text(yaml.safe_dump(config))
    command = ["prometheus-alertmanager", f"--config.file={folder}/am.yml", f"--storage.path={folder}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        yield 0  # each test says itself that it needs the server
        return
    try:
        wait_for_port(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


def real(port: int, method: str, path: str, body: str | None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, f"/api/v2{path}", body, {} if body is None else {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def ours(folder: Path, requests: list[tuple[str, str, str | None]]) -> list[tuple[int, str]]:
    clock = FakeClock(1_795_000_000_000)
    found = []

    async def scenario() -> None:
        async with serving(folder, clock) as api:
            for method, path, body in requests:
                answer = await api.ask(method, path, body)
                await clock.sleep(0.01)
                found.append((answer.status_code, answer.text))

    run(scenario(), clock)
    return found


def comparable(status: int, text: str) -> tuple[int, Any]:
    """Without ids and times, the words of a JSON decoder, and whether a newline ends it."""
    data = json.loads(text) if text.strip() else None
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        data["message"] = sorted(data["message"])  # the order of the methods it names is by chance there
    if isinstance(data, dict) and "because" in str(data.get("message")):
        data["message"] = data["message"].partition("because")[0]
    if isinstance(data, dict) and "silenceID" in data:
        data["silenceID"] = ""
    return status, _timeless(data)


def _timeless(data: Any) -> Any:
    if isinstance(data, list):
        return [_timeless(each) for each in data]
    if not isinstance(data, dict):
        return data
    if data.get("mutedBy") and not data["silencedBy"] and not data["inhibitedBy"]:
        data["state"] = "active"  # 0.25 does not know of muted groups here
    times = ("startsAt", "endsAt", "updatedAt")
    newer = ("mutedBy", "routeLabels")
    return {key: "" if key in times else _timeless(value) for key, value in data.items() if key not in newer}


@pytest.mark.server("prometheus-alertmanager")
def test_what_is_wrong_is_answered_alike(port: int, tmp_path: Path) -> None:
    for request, answer in zip(REQUESTS, ours(tmp_path, REQUESTS), strict=True):
        assert comparable(*answer) == comparable(*real(port, *request)), request


@pytest.mark.server("prometheus-alertmanager")
def test_what_fires_is_listed_alike(port: int, tmp_path: Path) -> None:
    posted = ("POST", "/alerts", json.dumps(POSTED))
    over = json.dumps([{"labels": {"a": "b"}, "endsAt": "2020-01-01T00:00:00Z"}])
    asked: list[tuple[str, str, str | None]] = [("GET", path, None) for path in LISTS]
    mine = ours(tmp_path, [posted, ("POST", "/alerts", over), *asked])[2:]
    real(port, *posted)
    for labels in ({"a": "b"}, {"ok": "1"}):  # what the other test may have left
        end = {"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2021-01-01T00:00:00Z"}
        real(port, "POST", "/alerts", json.dumps([{"labels": labels, **end}]))
    for (_, path, _), answer in zip(asked, mine, strict=True):
        theirs = real(port, "GET", path, None)
        assert comparable(*answer) == comparable(*theirs), path
