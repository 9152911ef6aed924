from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from obskit.testing.clock import FakeClock
from obskit.testing.cloudflare import ACCOUNT, TOKEN, FakeCloudflare
from obskit.testing.cloudflare_analytics import FakeAnalytics, parse
from tests.testing.calls import post

NOW_MS = 1_790_929_200_000
MINUTE_MS = 60_000
QUERY = """query($tag: string!, $from: Time!, $to: Time!) { viewer { budget accounts(filter: {accountTag: $tag}) {
  w: workersInvocationsAdaptive(limit: %d, filter: {datetime_geq: $from, datetime_lt: $to}) {
    dimensions { datetimeMinute scriptName } sum { requests errors } quantiles { cpuTimeP99 } } } } }"""
NODE = "workersInvocationsAdaptive"


@pytest.fixture
def cloudflare() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(FakeClock(NOW_MS)) as server:
        yield server


@pytest.fixture
def analytics(cloudflare: FakeCloudflare) -> FakeAnalytics:
    return FakeAnalytics(cloudflare)


def ask(server: FakeCloudflare, *, limit: int = 100, begin: str = "2026-10-02T07:00:00Z", tag: str = ACCOUNT) -> Any:
    variables = {"tag": tag, "from": begin, "to": "2026-10-02T09:00:00Z"}
    body = {"query": QUERY % limit, "variables": variables}
    answer = post(server.url + "/graphql", body, {"Authorization": f"Bearer {TOKEN}"})
    return {"status": answer.status, **json.loads(answer.body)}


def rows(said: Any) -> Any:
    return said["data"]["viewer"]["accounts"][0]["w"]


def test_rows_are_grouped_by_the_dimensions_that_were_asked_for(
    cloudflare: FakeCloudflare, analytics: FakeAnalytics
) -> None:
    at_ms = NOW_MS - 10 * MINUTE_MS
    for status in ("success", "scriptThrewException"):
        dimensions = {"scriptName": "shop", "status": status}
        analytics.add(NODE, at_ms, dimensions, {"sum.requests": 5, "quantiles.cpuTimeP99": None})
    (row,) = rows(ask(cloudflare))
    assert row == {
        "dimensions": {"datetimeMinute": "2026-10-02T08:10:00Z", "scriptName": "shop"},
        "sum": {"requests": 10, "errors": None},
        "quantiles": {"cpuTimeP99": None},
    }


def test_a_young_minute_grows(cloudflare: FakeCloudflare, analytics: FakeAnalytics) -> None:
    analytics.add(NODE, NOW_MS - 2 * MINUTE_MS, {"scriptName": "shop"}, {"sum.requests": 90})
    assert rows(ask(cloudflare))[0]["sum"]["requests"] == 30
    analytics.grows_ms = 0
    assert rows(ask(cloudflare))[0]["sum"]["requests"] == 90


def test_rows_end_at_the_limit_without_a_word(cloudflare: FakeCloudflare, analytics: FakeAnalytics) -> None:
    for number in range(4):
        analytics.add(NODE, NOW_MS - 10 * MINUTE_MS, {"scriptName": f"w{number}"}, {"sum.requests": 1})
    assert len(rows(ask(cloudflare, limit=3))) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"denied": {NODE}}, "does not have access to the path"),
        ({"denied": {ACCOUNT}}, "does not have access to the path"),
        ({"unknown": {"cpuTimeP99"}}, 'unknown field "cpuTimeP99"'),
        ({"widest_ms": 1}, "query time range is too large"),
    ],
)
def test_a_refusal_comes_with_http_200(
    cloudflare: FakeCloudflare, analytics: FakeAnalytics, change: dict[str, Any], said: str
) -> None:
    for name, value in change.items():
        setattr(analytics, name, value)
    answer = ask(cloudflare)
    assert (answer["status"], answer["data"]) == (200, None)
    assert said in answer["errors"][0]["message"]


def test_a_token_without_the_permission_is_refused_with_http_200(
    cloudflare: FakeCloudflare, analytics: FakeAnalytics
) -> None:
    cloudflare.permissions = frozenset({"Analytics Read"})
    answer = ask(cloudflare)
    assert answer["status"] == 200
    assert "not authorized" in answer["errors"][0]["message"]
    assert analytics.asked == []


def test_three_hundred_queries_in_five_minutes_are_the_budget(
    cloudflare: FakeCloudflare, analytics: FakeAnalytics
) -> None:
    analytics._asked_ms = [NOW_MS] * 298
    assert ask(cloudflare)["data"]["viewer"]["budget"] == 1
    assert ask(cloudflare)["data"]["viewer"]["budget"] == 0
    depleted = ask(cloudflare)
    assert depleted["status"] == 429
    assert "budget depleted" in depleted["errors"][0]["message"]


def test_a_scope_that_is_not_ours_is_empty(cloudflare: FakeCloudflare, analytics: FakeAnalytics) -> None:
    assert ask(cloudflare, tag="f" * 32)["data"]["viewer"]["accounts"] == []
    assert analytics.rows == []


def test_a_query_is_read_with_its_aliases() -> None:
    viewer = parse("query($a: string!) { viewer { budget one: two(x: {y: $a}) { three } } }").find("viewer")[0]
    assert [(part.alias, part.name) for part in viewer.fields] == [("budget", "budget"), ("one", "two")]
    with pytest.raises(ValueError, match="more"):
        parse("{ a } }")
