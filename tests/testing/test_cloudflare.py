"""The fake of Cloudflare's API itself: what it answers to whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from obskit.testing.clock import START_MS, FakeClock
from obskit.testing.cloudflare import ACCOUNT, TOKEN, DeniedError, FakeCloudflare, Listed, Route
from obskit.testing.cloudflare_telemetry import ANALYTICS, QUERY, READ, WRITE, FakeTelemetry, invocation_row, log_row
from obskit.testing.http import Answer, Failure
from tests.testing.calls import post

HOUR_MS = 3_600_000


@pytest.fixture
def fake() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(FakeClock()) as server:
        yield server


@pytest.fixture
def telemetry(fake: FakeCloudflare) -> FakeTelemetry:
    return FakeTelemetry(fake)


def call(fake: FakeCloudflare, path: str, body: Any = None, token: str = TOKEN) -> tuple[int, dict[str, Any]]:
    url = f"{fake.url}/accounts/{ACCOUNT}{path}"
    answer = post(url, b"" if body is None else body, {"Authorization": f"Bearer {token}"})
    return answer.status, json.loads(answer.body)


def query(fake: FakeCloudflare, *, hours: float = 1, **more: Any) -> dict[str, Any]:
    frame = {"from": int(START_MS - hours * HOUR_MS), "to": START_MS}
    status, envelope = call(fake, QUERY, {"queryId": "q", "view": "events", "timeframe": frame, **more})
    assert status == 200, envelope
    result: dict[str, Any] = envelope["result"]
    return result


def ids(result: dict[str, Any]) -> list[str]:
    return [event["$metadata"]["id"] for event in result["events"]["events"]]


def test_everything_comes_in_an_envelope(fake: FakeCloudflare) -> None:
    fake.serve(
        Route("POST", "/things", frozenset({"Things Read"}), lambda asked: {"query": dict(asked.query)}),
        Route("POST", "/list", frozenset({"Things Read"}), lambda _: Listed([1, 2], {"total_count": 2})),
        Route("POST", "/raw", frozenset({"Things Read"}), lambda _: Answer(200, b'{"data":null}')),
    )
    assert call(fake, "/things?a=b") == (
        200,
        {"success": True, "errors": [], "messages": [], "result": {"query": {"a": "b"}}},
    )
    assert call(fake, "/list")[1]["result_info"] == {"total_count": 2}
    assert call(fake, "/raw")[1] == {"data": None}


def _gone(_: Any) -> Any:
    raise DeniedError(404, 10104, "queue not found")


@pytest.mark.parametrize(
    ("sent", "permissions", "said"),
    [
        (("/none",), {"*"}, (404, 7003)),
        (("/gone",), {"*"}, (404, 10104)),
        (("/gone", None, "wrong"), {"*"}, (401, 10000)),
        (("/gone",), {"Other Read"}, (403, 10000)),
        (("/gone", b"{"), {"*"}, (400, 10026)),
    ],
)
def test_what_is_refused_has_its_status_and_code(
    fake: FakeCloudflare, sent: tuple[Any, ...], permissions: set[str], said: tuple[int, int]
) -> None:
    fake.serve(Route("POST", "/gone", frozenset({"Things Read"}), _gone))
    fake.permissions = frozenset(permissions)
    status, envelope = call(fake, *sent)
    assert (status, envelope["errors"][0]["code"]) == said
    assert envelope["success"] is False


def test_planned_failures_come_in_the_envelope_too_even_with_status_200(fake: FakeCloudflare) -> None:
    fake.plan(Failure(200, error="971 slow down"), Failure(429, retry_after=7), Failure(503, body="<html>"))
    assert call(fake, "/x")[1]["errors"] == [{"code": 971, "message": "slow down"}]
    assert call(fake, "/x")[0] == 429
    assert post(fake.url, b"").body == b"<html>"


def test_rows_come_newest_first_behind_a_cursor(fake: FakeCloudflare, telemetry: FakeTelemetry) -> None:
    telemetry.add(*(log_row(START_MS - n, f"id{n}", "x") for n in range(5)))
    assert ids(query(fake, limit=2)) == ["id0", "id1"]
    assert ids(query(fake, limit=2, offset="id1", offsetDirection="next")) == ["id2", "id3"]
    assert ids(query(fake, limit=2, offset="id3")) == ["id4"]


def test_a_late_row_shows_up_later(fake: FakeCloudflare, telemetry: FakeTelemetry) -> None:
    telemetry.add(log_row(START_MS - 60_000, "old", "x"), late_ms=59_000)
    telemetry.add(log_row(START_MS - 60_000, "late", "x"), late_ms=90_000)
    assert ids(query(fake)) == ["old"]


def test_more_than_six_hours_are_thinned_out_without_an_error(fake: FakeCloudflare, telemetry: FakeTelemetry) -> None:
    telemetry.add(*(log_row(START_MS - n, f"id{n}", "x") for n in range(10)))
    whole, thin = query(fake, hours=6), query(fake, hours=7)
    assert (len(ids(whole)), whole["statistics"]["abr_level"]) == (10, 1)
    assert (len(ids(thin)), thin["statistics"]["abr_level"]) == (5, 2)


@pytest.mark.parametrize("more", [{"limit": 2001}, {"limit": 0}, {"queryId": ""}, {"timeframe": None}])
def test_what_a_query_may_not_ask_is_refused(fake: FakeCloudflare, telemetry: FakeTelemetry, more: Any) -> None:
    frame = {"from": START_MS - HOUR_MS, "to": START_MS}
    assert call(fake, QUERY, {"queryId": "q", "timeframe": frame, **more})[0] == 400
    week = {"from": START_MS - 200 * HOUR_MS, "to": START_MS}
    assert call(fake, QUERY, {"queryId": "q", "timeframe": week})[0] == 400


def test_filters_count_inside_the_parameters_only_and_in_finds_nothing(
    fake: FakeCloudflare, telemetry: FakeTelemetry
) -> None:
    telemetry.add(log_row(START_MS - 1, "a", "x", service="one"), invocation_row(START_MS - 2, "b", service="two"))
    one = {"key": "$metadata.service", "operation": "eq", "type": "string", "value": "one"}
    assert ids(query(fake, filters=[one])) == ["a", "b"]
    assert ids(query(fake, parameters={"filters": [one]})) == ["a"]
    group = {"kind": "group", "filterCombination": "or", "filters": [one, {**one, "value": "two"}]}
    assert ids(query(fake, parameters={"filters": [group]})) == ["a", "b"]
    assert ids(query(fake, parameters={"filters": [{**one, "operation": "in", "value": "one,two"}]})) == []
    frame = {"from": START_MS - HOUR_MS, "to": START_MS}
    wrong = {"filters": [{**one, "type": "text"}]}
    assert call(fake, QUERY, {"queryId": "q", "timeframe": frame, "parameters": wrong})[0] == 400


def test_a_token_without_analytics_is_shown_no_row_and_no_error(fake: FakeCloudflare, telemetry: FakeTelemetry) -> None:
    telemetry.add(log_row(START_MS - 1, "a", "x"))
    shown = []
    for permissions in ({READ}, {READ, ANALYTICS}, {WRITE}):
        fake.permissions = frozenset(permissions)
        shown.append(ids(query(fake)))
    assert shown == [[], ["a"], ["a"]]


def test_a_query_may_be_running_at_first(fake: FakeCloudflare, telemetry: FakeTelemetry) -> None:
    telemetry.started = 2
    states = [query(fake)["run"]["status"] for _ in range(3)]
    assert states == ["STARTED", "STARTED", "COMPLETED"]
