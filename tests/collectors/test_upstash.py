"""Upstash's developer API as its documentation shows it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.collect import Captured, Feed
from obskit.errors import CollectorError
from obskit.testing.clock import run
from obskit_collectors.upstash import KIND, UpstashSettings, figures
from tests.collectors.pages import Pages

STATS = {
    "total_monthly_requests": 431_000,
    "daily_net_commands": 12_000,
    "current_storage": 7_340_032,
    "total_monthly_billing": 0.86,
    "connection_count": [{"x": "2026-11-20 10:00:00.000 +0000 UTC", "y": 320}, {"x": "2026-11-20 10:05:00", "y": 335}],
    "latencymean": [],
    "throughput": "soon",
    "something_new": {"a": 1},
}


def collect(pages: Pages, databases: list[str]) -> tuple[dict[str, float], CollectorError | None]:
    settings = {"email": "me@example.com", "api_key": "k3y-which-is-secret", "databases": databases}
    settings_read = UpstashSettings.model_validate({**settings, "api_url": f"http://{pages.address}"})
    captured, raised = Captured(), None
    try:
        run(KIND.build(settings_read).once(Feed("upstash", captured, SystemClock())))
    except CollectorError as error:
        raised = error
    return {str(s.labels.without("job", "instance")): s.value for s in captured.samples}, raised


def test_the_month_is_told_with_its_cost(pages: Pages) -> None:
    pages.serve(json.dumps(STATS), "/v2/redis/stats/db1", content_type="application/json")
    found, raised = collect(pages, ["db1"])
    assert raised is None
    assert found['upstash_month_commands{database="db1"}'] == 431_000
    assert found['upstash_connections{database="db1"}'] == 335
    assert found['obskit_cost_month_to_date_dollars{item="db1", vendor="upstash"}'] == 0.86
    assert not [name for name in found if "latency" in name or "throughput" in name]
    assert pages.requests[0][1]["Authorization"].startswith("Basic ")


def test_a_database_that_is_gone_does_not_hide_the_others(pages: Pages) -> None:
    pages.serve(json.dumps(STATS), "/v2/redis/stats/db1", content_type="application/json")
    found, raised = collect(pages, ["gone", "db1"])
    assert raised is not None
    assert raised.reason == "missing"
    assert found['upstash_storage_bytes{database="db1"}'] == 7_340_032


def test_a_refused_key_is_told_without_it(pages: Pages) -> None:
    pages.serve('"Unauthorized"', "/v2/redis/stats/db1", content_type="application/json", status=401)
    found, raised = collect(pages, ["db1"])
    assert raised is not None
    assert raised.reason == "auth"
    assert "k3y" not in str(raised)
    assert found == {}


@pytest.mark.parametrize("answer", [[], "x", {"total_monthly_billing": True, "keyspace": [5]}])
def test_an_answer_of_another_form_is_unknown_and_not_zero(answer: Any) -> None:
    assert list(figures("db1", answer)) == []
