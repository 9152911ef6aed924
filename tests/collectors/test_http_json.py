"""Gauges from HTTP APIs: against a real server on loopback that answers as a test says."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from obskit.collect import Captured, Feed
from obskit.errors import CollectorError
from obskit.model.telemetry import REGISTRY
from obskit.testing.clock import FakeClock, run
from obskit.testing.http import Answer, Failure, FakeServer, Received
from obskit_collectors.http_json import HttpJsonSettings, build, doctor

PATIENCE_S = 10
SECRET = "s3cret-which-nobody-may-see"


class FakeApi(FakeServer):
    """Answers with `body`."""

    body: Any = None
    status = 200

    def answer(self, request: Received) -> Answer:
        content = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return Answer(self.status, content)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


def settings(api: FakeApi, *gauges: dict[str, Any], **more: Any) -> HttpJsonSettings:
    given = {"url": f"{api.base_url}/stats", "prefix": "shop", "gauges": list(gauges), **more}
    return HttpJsonSettings.model_validate(given)


def collect(given: HttpJsonSettings) -> tuple[dict[str, float], CollectorError | None]:
    captured, clock, problem = Captured(), FakeClock(), None
    try:
        run(build(given).once(Feed("http_json", captured, clock)), clock, patience_s=PATIENCE_S)
    except CollectorError as error:
        problem = error
    return {str(sample.labels.without("job", "instance")): sample.value for sample in captured.samples}, problem


def dropped(reason: str) -> float:
    labels = {"collector": "http_json", "reason": reason}
    return REGISTRY.get_sample_value("obskit_collector_dropped_total", labels) or 0.0


@pytest.mark.parametrize(
    ("body", "gauge", "expected"),
    [
        ({"a": {"b": [{"c": 4}]}}, {"path": ".a.b[0].c"}, {"shop_x": 4}),
        ({"ms": 1500}, {"path": ".ms", "scale": "0.001", "unit": "seconds"}, {"shop_x": 1.5}),
        ({"up": True}, {"path": ".up"}, {"shop_x": 1}),
        ({"usd": "12.50"}, {"path": ".usd"}, {"shop_x": 12.5}),
        ({"load": "5 of 9"}, {"path": ".load", "pattern": r"(\d+) of"}, {"shop_x": 5}),
        (b"temp=21.5 C", {"pattern": r"temp=([\d.]+)"}, {"shop_x": 21.5}),
        (b"42", {"pattern": r"\d+"}, {"shop_x": 42}),
        ({"x": None}, {"path": ".x"}, {}),
        (
            [{"q": "mail", "n": 3, "pro": True}, {"q": "jobs", "n": 0}],
            {"rows": "[*]", "path": ".n", "labels": {"queue": ".q", "pro": ".pro", "zone": "eu"}},
            {'shop_x{pro="true", queue="mail", zone="eu"}': 3, 'shop_x{queue="jobs", zone="eu"}': 0},
        ),
        (
            {"queues": {"mail": 3, "jobs": 4}},
            {"rows": ".queues[*]", "path": ".", "labels": {"queue": "@key"}},
            {'shop_x{queue="mail"}': 3, 'shop_x{queue="jobs"}': 4},
        ),
        ({"queues": {}}, {"rows": ".queues[*]", "path": ".n"}, {}),
    ],
)
def test_a_gauge_is_read_by_path_or_pattern(
    api: FakeApi, body: Any, gauge: dict[str, Any], expected: dict[str, float]
) -> None:
    api.body = body
    assert collect(settings(api, {"name": "x", **gauge})) == (expected, None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("many", "bad_value"),
        ("nan", "bad_value"),
        ("1_000", "bad_value"),
        ([1], "bad_value"),
        ({"n": 1}, "bad_value"),
        (10**400, "bad_value"),
        (float("inf"), "bad_value"),
    ],
)
def test_what_is_no_number_is_dropped_and_counted_never_zero(api: FakeApi, value: Any, reason: str) -> None:
    api.body = {"x": value}
    before = dropped(reason)
    assert collect(settings(api, {"name": "x", "path": ".x"})) == ({}, None)
    assert dropped(reason) - before == 1


def test_rows_that_are_wrong_do_not_hide_the_others(api: FakeApi) -> None:
    rows = [{"q": "a", "n": 1}, {"q": ["b"], "n": 2}, {"q": "a", "n": 3}, {"q": "c"}, {"q": "x" * 300, "n": 4}]
    api.body = rows
    before = {reason: dropped(reason) for reason in ("bad_label", "duplicate")}
    found, problem = collect(settings(api, {"name": "x", "rows": "[*]", "path": ".n", "labels": {"q": ".q"}}))
    assert (found, problem) == ({'shop_x{q="a"}': 1}, None)
    assert {reason: dropped(reason) - count for reason, count in before.items()} == {"bad_label": 2, "duplicate": 1}


@pytest.mark.parametrize(
    ("gauge", "said"),
    [
        ({"path": ".gone"}, "x: nothing at .gone"),
        ({"path": ".text", "pattern": r"\d"}, "x: nothing at .text"),
        ({"rows": ".list[*]", "path": "."}, "x: more than 2 rows"),
    ],
)
def test_a_gauge_that_is_not_there_is_told_and_the_others_are_read(
    api: FakeApi, gauge: dict[str, Any], said: str
) -> None:
    api.body = {"n": 1, "text": "none", "list": [1, 2, 3]}
    found, problem = collect(settings(api, {"name": "x", **gauge}, {"name": "n", "path": ".n"}, row_limit=2))
    assert found == {"shop_n": 1}
    assert problem is not None
    assert (problem.reason, said in str(problem)) == ("bad_data", True)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure(401), "auth"),
        (Failure(404), "missing"),
        (Failure(429, retry_after=7), "rate_limited"),
        (Failure(500), "server"),
        (Failure(204, body=""), "bad_data"),
        (Failure(200, body="<html>"), "bad_data"),
        (Failure(200, body='{"x": 1'), "bad_data"),
        (Failure(200, body="[" * 60_000), "bad_data"),
        (Failure(200, body='{"x": 1}', cut=True), "network"),
        (Failure(drop=True), "network"),
    ],
)
def test_what_goes_wrong_has_a_reason(api: FakeApi, failure: Failure, reason: str) -> None:
    api.plan(failure)
    found, problem = collect(settings(api, {"name": "x", "path": ".x"}))
    assert found == {}
    assert problem is not None
    assert problem.reason == reason


def test_a_bomb_is_not_unpacked_to_its_end(api: FakeApi) -> None:
    bomb = gzip.compress(b'{"x": "' + b"0" * (8 << 20) + b'"}')
    api.plan(Failure(200, body="", headers={"Content-Encoding": "gzip"}))
    api.fail = lambda request, failure: Answer(200, bomb, headers=failure.headers)  # type: ignore[method-assign]
    _, problem = collect(settings(api, {"name": "x", "path": ".x"}))
    assert problem is not None
    assert "larger than 4 MB" in str(problem)


def test_headers_and_params_are_sent_and_never_told(api: FakeApi) -> None:
    api.plan(Failure(403, error=f"no rights for {SECRET}"))
    given = settings(
        api,
        {"name": "x", "path": ".x"},
        method="POST",
        body='{"q": 1}',
        headers={"Authorization": f"Bearer {SECRET}"},
        params={"key": SECRET},
    )
    _, problem = collect(given)
    assert SECRET not in f"{problem} {problem!r} {given!r}"
    (request,) = api.requests
    assert (request.method, request.path, request.body) == ("POST", f"/stats?key={SECRET}", b'{"q": 1}')
    assert request.headers["authorization"] == f"Bearer {SECRET}"


def test_a_status_that_is_expected_is_read(api: FakeApi) -> None:
    api.body, api.status = {"failing": 2}, 503
    assert collect(settings(api, {"name": "x", "path": ".failing"}, expected=[200, 503])) == ({"shop_x": 2}, None)


def test_the_doctor_says_which_gauges_are_there(api: FakeApi) -> None:
    api.body = {"n": 1}
    clock = FakeClock()
    given = settings(api, {"name": "n", "path": ".n"}, {"name": "x", "path": ".x"})
    checks = run(doctor(given, clock), clock, patience_s=PATIENCE_S)
    assert [(check.ok, check.what.partition(": ")[0]) for check in checks][1:] == [(True, "shop_n is there")]
    assert "nothing at .x" in checks[0].what
    assert checks[0].fix == "compare the paths with the answer"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gauges": [{"name": "x"}]}, "give a path, or a pattern"),
        ({"gauges": [{"name": "x", "path": "a"}]}, "begins with a dot"),
        ({"gauges": [{"name": "x", "path": ".a[*]"}]}, "as rows"),
        ({"gauges": [{"name": "x", "rows": ".a", "path": "."}]}, r"needs a \[\*\]"),
        ({"gauges": [{"name": "x", "rows": ".a[*]", "pattern": "x"}]}, "needs a path"),
        ({"gauges": [{"name": "x", "pattern": "("}]}, "missing"),
        ({"gauges": [{"name": "x-y", "path": "."}]}, "pattern"),
        ({"gauges": [{"name": "x", "path": ".", "labels": {"job": ".a"}}]}, "label of its own"),
        ({"gauges": [{"name": "x", "path": ".", "labels": {"__name__": ".a"}}]}, "label of its own"),
        ({"gauges": [{"name": "x", "path": ".", "labels": {"l": ".a[*]"}}]}, "leads to many"),
        ({"gauges": [{"name": "x", "path": ".", "scale": "inf"}]}, "finite"),
        ({"gauges": []}, "at least 1"),
        ({"url": "http://u:p@host/x"}, "under headers"),
        ({"url": "http://host/x?key=1"}, "pattern"),
        ({"url": "ftp://host"}, "pattern"),
        ({"expected": []}, "at least 1"),
        ({"prefix": "a b"}, "pattern"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    good = {"url": "http://host/x", "gauges": [{"name": "x", "path": ".x"}]}
    with pytest.raises(ValidationError, match=message):
        HttpJsonSettings.model_validate({**good, **wrong})
