"""Alertmanager's API v2: shapes, filters, and the words in which it refuses (those of the real one, measured)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from obskit.model.settings import Secret
from obskit.testing.clock import FakeClock, run
from obskit.web.alertmanager_json import time_text
from tests.web.alertmanagers import Api, serving

Scenario = Callable[[Api], Awaitable[None]]


def play(folder: Path, scenario: Scenario, token: Secret | None = None) -> None:
    clock = FakeClock()

    async def whole() -> None:
        async with serving(folder, clock, token) as api:
            await scenario(api)

    run(whole(), clock)


Q = {"alertname": "q", "team": "x"}
W = {"alertname": "w", "severity": "critical"}
V = {"alertname": "v", "severity": "warning"}


def test_a_posted_alert_is_given_back_in_the_real_ones_shape(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        now_ms = api.clock.now_ms()
        await api.post({**Q, "empty": ""}, annotations={"s": "<b>&"}, generatorURL="http://p/g")
        answer = await api.ask("GET", "/alerts")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.text.startswith('[{"annotations":{"s":"\\u003cb\\u003e\\u0026"},"endsAt":"')
        assert answer.text.endswith("}]\n")
        (found,) = answer.json()
        now, end = time_text(now_ms), time_text(api.clock.now_ms() + 300_000 - 100)
        assert found == {
            "annotations": {"s": "<b>&"},
            "endsAt": end,
            "fingerprint": "069c8fb5d263f0b2",
            "receivers": [{"name": "b.c"}],
            "startsAt": now,
            "status": {"inhibitedBy": [], "mutedBy": [], "silencedBy": [], "state": "active"},
            "updatedAt": now,
            "generatorURL": "http://p/g",
            "labels": Q,
        }

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "qvw"),
        ("?active=false", "v"),
        ("?active=0", "v"),
        ("?active=true&active=false", "v"),
        ("?active=", "qvw"),
        ("?inhibited=false", "qw"),
        ("?inhibited=no", "qw"),
        ("?silenced=false", "qvw"),
        ("?unprocessed=false", "qvw"),
        ("?filter=alertname%3Dq", "q"),
        ("?filter=alertname%3D~%22q|w%22&filter=team%3Dx", "q"),
        ("?filter=team%3D", "vw"),
        ("?filter=team!%3D", "q"),
        ("?filter=a%3Db,c%3Dd", ""),
        ("?receiver=b.c", "q"),
        ("?receiver=b", ""),
        ("?receiver=.*", "qvw"),
        ("?receiver=", "qvw"),
        ("?wat=1", "qvw"),
    ],
)
def test_alerts_are_filtered(tmp_path: Path, query: str, names: str) -> None:
    async def scenario(api: Api) -> None:
        await api.post(Q, W, V)
        found = await api.get(f"/alerts{query}")
        assert "".join(sorted(each["labels"]["alertname"] for each in found)) == names
        assert [each["fingerprint"] for each in found] == sorted(each["fingerprint"] for each in found)

    play(tmp_path, scenario)


def test_what_keeps_an_alert_quiet_is_told(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.post(Q, W, V)
        silence = await api.ask("POST", "/silences", {**SILENCE, "matchers": [matcher("alertname", "w")]})
        by_name = {each["labels"]["alertname"]: each["status"] for each in await api.get("/alerts")}
        source = next(each for each in await api.get("/alerts?filter=alertname%3Dw"))["fingerprint"]
        assert by_name == {
            "q": {"inhibitedBy": [], "mutedBy": [], "silencedBy": [], "state": "active"},
            "v": {"inhibitedBy": [source], "mutedBy": [], "silencedBy": [], "state": "suppressed"},
            "w": {
                "inhibitedBy": [],
                "mutedBy": [],
                "silencedBy": [silence.json()["silenceID"]],
                "state": "suppressed",
            },
        }
        assert [each["labels"]["alertname"] for each in await api.get("/alerts?silenced=false&inhibited=false")] == [
            "q"
        ]

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("query", "groups"),
    [
        ("", [("a", "v"), ("a", "w"), ("b.c", "q")]),
        ("?receiver=b.c", [("b.c", "q")]),
        ("?muted=false", [("a", "v"), ("a", "w")]),
        ("?active=false", [("a", "v")]),
        ("?filter=alertname%3Dw", [("a", "w")]),
    ],
)
def test_groups_are_listed_with_their_alerts(tmp_path: Path, query: str, groups: list[tuple[str, str]]) -> None:
    async def scenario(api: Api) -> None:
        await api.post(Q, W, V)
        found = await api.get(f"/alerts/groups{query}")
        assert sorted((each["receiver"]["name"], each["labels"]["alertname"]) for each in found) == groups
        for each in found:
            assert [alert["labels"]["alertname"] for alert in each["alerts"]] == [each["labels"]["alertname"]]
            muted = each["alerts"][0]["status"]["mutedBy"]
            assert muted == (["always"] if each["receiver"]["name"] == "b.c" else [])

    play(tmp_path, scenario)


def test_an_alert_that_is_over_is_listed_no_longer(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await api.post(Q, W)
        await api.post(Q, startsAt="2020-01-01T00:00:00Z", endsAt="2020-01-02T00:00:00Z")
        assert [each["labels"] for each in await api.get("/alerts")] == [W]
        await api.clock.sleep(301)
        assert await api.get("/alerts") == []

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        ("", 422, {"code": 602, "message": "alerts in body is required"}),
        ("null", 200, None),
        ("[]", 200, None),
        ("[{}]", 422, {"code": 602, "message": "0.labels in body is required"}),
        ('[{"labels":{"a":"b"}},{"labels":null}]', 422, {"code": 602, "message": "1.labels in body is required"}),
        ('[{"labels":{}}]', 400, "at least one label pair required"),
        ('[{"labels":{"a":null}}]', 400, "at least one label pair required"),
        ('[{"labels":{"a":""}}]', 400, "at least one label pair required"),
        ('[{"labels":{"":"b"}}]', 400, 'invalid label set: invalid name ""'),
        ('[{"labels":{"a":"b"},"annotations":{"":"b"}}]', 400, 'invalid annotations: invalid name ""'),
        (
            '[{"labels":{"a":"b"},"startsAt":"2030-01-01T00:00:00Z","endsAt":"2029-01-01T00:00:00Z"}]',
            400,
            "start time must be before end time",
        ),
        (
            '[{"labels":{"a":"b"},"generatorURL":"no url"}]',
            422,
            {"code": 601, "message": '0.generatorURL in body must be of type uri: "no url"'},
        ),
        ('[{"labels":{"a":"b"},"extra":7}]', 200, None),
        ('[{"labels":{"a":"b"},"startsAt":"2026-11-20 10:00:00"}]', 200, None),
        ('[{"labels":{"a":"b"},"startsAt":""}]', 200, None),
        ('[{"labels":{"größe":"b"}}]', 200, None),
        ('[{"labels":{"ok":"1"}},{"labels":{"":"x"}},{"labels":{}}]', 400, None),
    ],
)
def test_a_post_of_alerts_is_answered_as_by_the_real_one(tmp_path: Path, body: str, status: int, answer: Any) -> None:
    async def scenario(api: Api) -> None:
        found = await api.ask("POST", "/alerts", body.encode())
        assert found.status_code == status
        if answer is not None:
            assert found.json() == answer

    play(tmp_path, scenario)


def test_good_alerts_are_taken_though_others_are_wrong(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        found = await api.ask("POST", "/alerts", [{"labels": {"ok": "1"}}, {"labels": {"": "x"}}, {"labels": {}}])
        assert found.json() == 'invalid label set: invalid name ""; at least one label pair required'
        await api.clock.sleep(0.1)
        assert [each["labels"] for each in await api.get("/alerts")] == [{"ok": "1"}]

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "body",
    [
        "nope",
        "{}",
        "[1]",
        "[null]",
        '"x"',
        "[" * 100_000,
        b"\xff",
        '[{"labels":[]}]',
        '[{"labels":{"a":1}}]',
        '[{"labels":{"a":"\\ud800"}}]',
        '[{"labels":{"\\udc00":"a"}}]',
        '[{"labels":{"a":"b"},"annotations":[1]}]',
        '[{"labels":{"a":"b"},"annotations":{"x":1}}]',
        '[{"labels":{"a":"b"},"generatorURL":7}]',
        '[{"labels":{"a":"b"},"startsAt":5}]',
        '[{"labels":{"a":"b"},"startsAt":"x"}]',
        '[{"labels":{"a":"b"},"startsAt":"2030-01-01"}]',
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(tmp_path: Path, body: str | bytes) -> None:
    async def scenario(api: Api) -> None:
        found = await api.ask("POST", "/alerts", body)
        assert found.status_code == 400
        assert found.json()["code"] == 400
        assert found.json()["message"].startswith('parsing alerts body from "" failed, because ')
        assert await api.get("/alerts") == []

    play(tmp_path, scenario)


def matcher(name: str, value: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "isRegex": False, **more}


SILENCE: dict[str, Any] = {
    "matchers": [matcher("a", "b")],
    "startsAt": "2020-01-01T00:00:00Z",
    "endsAt": "2999-01-01T00:00:00Z",
    "createdBy": "me",
    "comment": "c",
}
UNKNOWN = "4b5c6d7e-0000-4000-8000-000000000000"


def test_a_silence_is_given_back_in_the_real_ones_shape(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        now = time_text(api.clock.now_ms())
        matchers = [matcher("a", "b"), matcher("c", "d|e", isRegex=True, isEqual=False)]
        made = await api.ask("POST", "/silences", {**SILENCE, "matchers": matchers, "annotations": {"x": "y"}})
        assert list(made.json()) == ["silenceID"]
        its_id = made.json()["silenceID"]
        expected = {
            "id": its_id,
            "status": {"state": "active"},
            "updatedAt": now,
            "annotations": {"x": "y"},
            "comment": "c",
            "createdBy": "me",
            "endsAt": "2999-01-01T00:00:00.000Z",
            "matchers": [matcher("a", "b", isEqual=True), matcher("c", "d|e", isRegex=True, isEqual=False)],
            "startsAt": now,
        }
        assert await api.get(f"/silence/{its_id}") == expected
        assert await api.get("/silences") == [expected]

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("change", "status", "answer"),
    [
        ({"matchers": []}, 422, {"code": 612, "message": "matchers in body should have at least 1 items"}),
        ({"matchers": None}, 422, {"code": 602, "message": "matchers in body is required"}),
        ({"createdBy": None}, 422, {"code": 602, "message": "createdBy in body is required"}),
        ({"comment": None}, 422, {"code": 602, "message": "comment in body is required"}),
        ({"startsAt": None}, 422, {"code": 602, "message": "startsAt in body is required"}),
        ({"endsAt": None}, 422, {"code": 602, "message": "endsAt in body is required"}),
        ({"startsAt": None, "endsAt": None}, 422, {"code": 602, "message": "endsAt in body is required"}),
        ({"createdBy": "", "comment": "", "id": ""}, 200, None),
        ({"endsAt": "2020-01-02T00:00:00Z"}, 400, "Failed to create silence: end time can't be in the past"),
        ({"startsAt": "2999-01-01T00:00:00Z"}, 400, "Failed to create silence: start time must be before end time"),
        ({"id": "nope"}, 404, "silence not found"),
        ({"id": UNKNOWN}, 404, "silence not found"),
        ({"matchers": [{"name": "a"}]}, 422, {"code": 602, "message": "matchers.0.isRegex in body is required"}),
        (
            {"matchers": [matcher("a", "b"), {"value": "a", "isRegex": False}]},
            422,
            {"code": 602, "message": "matchers.1.name in body is required"},
        ),
        (
            {"matchers": [matcher("a", "")]},
            400,
            "silence invalid: at least one matcher must not match the empty string",
        ),
        ({"matchers": [matcher("", "x")]}, 400, 'silence invalid: invalid label matcher 0: invalid label name ""'),
        ({"matchers": [matcher("a", "x", isEqual=None)]}, 200, None),
    ],
)
def test_a_post_of_a_silence_is_answered_as_by_the_real_one(
    tmp_path: Path, change: dict[str, Any], status: int, answer: Any
) -> None:
    async def scenario(api: Api) -> None:
        found = await api.ask("POST", "/silences", {**SILENCE, **change})
        assert found.status_code == status, found.text
        if answer is not None:
            assert found.json() == answer

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "body",
    [
        "nope",
        "[]",
        json.dumps({**SILENCE, "matchers": "x"}),
        json.dumps({**SILENCE, "matchers": [None]}),
        json.dumps({**SILENCE, "matchers": [matcher("a", "b", isRegex="no")]}),
        json.dumps({**SILENCE, "id": 7}),
        json.dumps({**SILENCE, "startsAt": "x"}),
        json.dumps({**SILENCE, "comment": ["x"]}),
    ],
)
def test_a_silence_that_cannot_be_read_is_refused_with_a_reason(tmp_path: Path, body: str) -> None:
    async def scenario(api: Api) -> None:
        found = await api.ask("POST", "/silences", body)
        assert (found.status_code, found.json()["code"]) == (400, 400)
        assert found.json()["message"].startswith('parsing silence body from "" failed, because ')

    play(tmp_path, scenario)


def test_a_pattern_of_a_silence_that_is_none_is_refused(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        found = await api.ask("POST", "/silences", {**SILENCE, "matchers": [matcher("a", "(", isRegex=True)]})
        assert found.status_code == 400
        assert found.json().startswith('silence invalid: invalid label matcher 0: invalid regular expression "(": ')

    play(tmp_path, scenario)


def test_silences_are_filtered_by_equal_matchers_and_by_state(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        first = (await api.ask("POST", "/silences", SILENCE)).json()["silenceID"]
        later = {**SILENCE, "startsAt": "2998-01-01T00:00:00Z", "matchers": [matcher("a", "b"), matcher("c", "d")]}
        second = (await api.ask("POST", "/silences", later)).json()["silenceID"]
        found = {
            query: [each["id"] for each in await api.get(f"/silences{query}")]
            for query in (
                "",
                "?filter=a%3Db",
                "?filter=a%3Db&filter=c%3D%22d%22",
                "?filter=a%3D~b",
                "?pending=false",
                "?active=false",
                "?active=false&pending=false",
            )
        }
        assert list(found.values()) == [[first, second], [first, second], [second], [], [first], [second], []]
        assert (await api.ask("GET", "/silences?filter=a")).json() == "bad matcher format: a"

    play(tmp_path, scenario)


def test_a_silence_is_expired_as_often_as_one_likes(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        its_id = (await api.ask("POST", "/silences", SILENCE)).json()["silenceID"]
        for _ in range(2):
            answer = await api.ask("DELETE", f"/silence/{its_id}")
            assert (answer.status_code, answer.text) == (200, "")
        assert (await api.get(f"/silence/{its_id}"))["status"] == {"state": "expired"}

    play(tmp_path, scenario)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_id_that_nobody_has_is_not_found(tmp_path: Path, method: str) -> None:
    async def scenario(api: Api) -> None:
        unknown = await api.ask(method, f"/silence/{UNKNOWN}")
        assert (unknown.status_code, unknown.text) == (404, "")
        none = await api.ask(method, "/silence/nope")
        message = 'silenceID in path must be of type uuid: "nope"'
        assert (none.status_code, none.json()) == (422, {"code": 601, "message": message})

    play(tmp_path, scenario)


def test_status_and_receivers(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        assert await api.get("/receivers") == [{"name": "a"}, {"name": "b.c"}]
        status = await api.get("/status")
        assert status["cluster"] == {"peers": [], "status": "disabled"}
        assert status["config"] == {"original": "route: {}\n"}
        assert set(status["versionInfo"]) == {"branch", "buildDate", "buildUser", "goVersion", "revision", "version"}
        assert status["uptime"] == time_text(api.clock.now_ms())

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        ("GET", "/nothing", 404, "path /api/v2/nothing was not found"),
        ("GET", "/", 404, "path /api/v2/ was not found"),
        ("PUT", "/alerts", 405, "method PUT is not allowed, but [POST,GET] are"),
        ("POST", "/alerts/groups", 405, "method POST is not allowed, but [GET] are"),
        ("GET", "/alerts?filter=foo", 400, "bad matcher format: foo"),
        ("GET", "/alerts?filter=", 400, "bad matcher format: "),
        ("GET", "/alerts/groups?filter=%7Ba%3Db%7D", 400, "{a=b}"),
        ("GET", "/alerts?receiver=(", 400, "failed to parse receiver param: "),
    ],
)
def test_what_is_not_offered_is_refused_in_the_real_ones_form(
    tmp_path: Path, method: str, path: str, code: int, message: str
) -> None:
    async def scenario(api: Api) -> None:
        answer = await api.ask(method, path)
        assert answer.status_code == code
        told = answer.json()
        assert message in (told if isinstance(told, str) else told["message"])
        assert isinstance(told, str) or told["code"] == code

    play(tmp_path, scenario)


@pytest.mark.parametrize(("sent", "status"), [("application/json; charset=utf-8", 200), ("text/plain", 415), ("", 415)])
def test_only_json_is_read(tmp_path: Path, sent: str, status: int) -> None:
    async def scenario(api: Api) -> None:
        assert (await api.ask("POST", "/alerts", "[]", **{"content-type": sent})).status_code == status

    play(tmp_path, scenario)


def test_a_body_without_end_is_not_read(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        assert (await api.ask("POST", "/alerts", b" " * 17_000_000)).status_code == 413

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "path", ["/alerts", "/alerts/groups", "/silences", "/status", "/receivers", f"/silence/{UNKNOWN}"]
)
def test_every_path_asks_for_the_token(tmp_path: Path, path: str) -> None:
    async def scenario(api: Api) -> None:
        for method in ("GET", "POST", "DELETE"):
            assert (await api.ask(method, path)).status_code == 401
        assert (await api.ask("GET", path, authorization="Bearer s3cret")).status_code in (200, 404)

    play(tmp_path, scenario, Secret("s3cret"))


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/alerts"), ("POST", "/silences"), ("DELETE", f"/silence/{UNKNOWN}")]
)
def test_a_web_page_changes_nothing(tmp_path: Path, method: str, path: str) -> None:
    async def scenario(api: Api) -> None:
        assert (await api.ask(method, path, [], origin="https://evil.example")).status_code == 403

    play(tmp_path, scenario)
