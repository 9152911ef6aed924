"""Analytics against the fake: late minutes, refused nodes and zones, the budget, and what is too much for one answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from obskit.collect import Check, PartialReadError, find_kind
from obskit.errors import CollectorError
from obskit.model.samples import MetricType
from obskit.testing.cloudflare import FakeCloudflare
from obskit.testing.cloudflare_analytics import ANALYTICS, FakeAnalytics
from obskit.testing.cloudflare_products import FakeQueues
from obskit.testing.http import Failure
from obskit_collectors.cloudflare_analytics import Product
from obskit_collectors.cloudflare_nodes import ACCOUNT_NODES, LIMIT, PRODUCTS
from tests.collectors import cloudflare_parts
from tests.collectors.cloudflare import START_MS, Kept, Patient, settings_for
from tests.collectors.cloudflare_parts import newest

MINUTE_MS = 60_000
ZONE = "1" * 32
OTHER_ZONE = "2" * 32
WORKERS = "workersInvocationsAdaptive"
SHOP = {"scriptName": "shop", "status": "success"}
NOW_MS = START_MS // MINUTE_MS * MINUTE_MS


@pytest.fixture
def clock() -> Patient:
    return Patient(NOW_MS)


@pytest.fixture
def fake(clock: Patient) -> Iterator[FakeCloudflare]:
    with FakeCloudflare(clock) as server:
        yield server


@pytest.fixture(autouse=True)
def queues(fake: FakeCloudflare) -> FakeQueues:
    return FakeQueues(fake)


@pytest.fixture
def analytics(fake: FakeCloudflare) -> FakeAnalytics:
    return FakeAnalytics(fake)


def read(fake: FakeCloudflare, clock: Patient, kept: Kept, times: int = 1, **settings: Any) -> list[CollectorError]:
    """As in cloudflare_parts, of the section `analytics`."""
    return cloudflare_parts.read(kept, fake, clock, times, analytics={"products": ["workers"], **settings})


def ago(minutes: int) -> int:
    return NOW_MS - minutes * MINUTE_MS


def test_a_settled_minute_becomes_a_counter_at_the_end_of_that_minute(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    analytics.add(WORKERS, ago(6), SHOP, {"sum.requests": 412, "sum.errors": 2, "quantiles.cpuTimeP99": 14_800})
    analytics.add(WORKERS, ago(4), SHOP, {"sum.requests": 999})
    kept = Kept()
    assert read(fake, clock, kept) == []
    found = {
        (sample.labels["__name__"], sample.t_ms): sample.value
        for sample in kept.batches[0].samples
        if sample.labels.get("script_name")
    }
    assert found["cloudflare_worker_requests_total", ago(6)] == 0
    assert found["cloudflare_worker_requests_total", ago(5)] == 412
    assert found["cloudflare_worker_errors_total", ago(5)] == 2
    types = {name: meta.type for name, meta in kept.batches[0].metadata.items()}
    assert types["cloudflare_worker_requests_total"] is MetricType.COUNTER
    assert types["cloudflare_worker_cpu_time_seconds"] is MetricType.GAUGE
    assert found["cloudflare_worker_cpu_time_seconds", ago(5)] == pytest.approx(0.0148)
    assert newest(kept, "cloudflare_cost_dollars_total", product="workers", item="requests") == pytest.approx(
        412 * 3e-7
    )


def test_minutes_that_grow_are_asked_for_again_and_counted_once(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    analytics.grows_ms = 9 * MINUTE_MS
    for number in range(8):
        analytics.add(WORKERS, NOW_MS + number * MINUTE_MS, SHOP, {"sum.requests": 100})
    kept = Kept()
    values = []
    for _ in range(22):
        assert read(fake, clock, kept, products=["workers"]) == []  # a new collector each time: a restart
        values.append(newest(kept, "cloudflare_worker_requests_total", script_name="shop"))
        clock.advance(60)
    seen = [value for value in values if not math.isnan(value)]
    assert seen == sorted(seen)
    assert 0 < seen[0] < 100
    assert seen[-1] == 800


def test_after_a_pause_it_catches_up_and_skips_what_the_store_no_longer_takes(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    kept = Kept()
    read(fake, clock, kept)
    clock.advance(3 * 3600)
    later = NOW_MS + 3 * 3_600_000
    analytics.add(WORKERS, later - 170 * MINUTE_MS, SHOP, {"sum.requests": 5})
    analytics.add(WORKERS, later - 60 * MINUTE_MS, SHOP, {"sum.requests": 7})
    assert read(fake, clock, kept, times=4) == []
    assert newest(kept, "cloudflare_worker_requests_total") == 7
    oldest_ms = min(sample.t_ms for batch in kept.batches for sample in batch.samples)
    assert oldest_ms > later - 120 * MINUTE_MS


def test_one_query_asks_for_all_products_of_an_account(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    assert read(fake, clock, Kept(), products=[]) == []
    assert len(analytics.asked) == 1


def test_a_node_that_is_refused_is_left_out_for_a_day_and_blinds_no_other(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    analytics.denied.add("hyperdriveQueriesAdaptiveGroups")
    analytics.add(WORKERS, ago(6), SHOP, {"sum.requests": 412})
    kept = Kept()
    assert read(fake, clock, kept, times=3, products=["workers", "hyperdrive"]) == []
    assert newest(kept, "cloudflare_worker_requests_total") == 412
    refused = [one for one in fake.requests if b"hyperdrive" in one.body]
    assert len(refused) == 2, "once with the others, once alone"


def test_a_field_that_the_schema_no_longer_has_costs_its_node_alone(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    analytics.unknown.add("latencyMsP99")
    analytics.add(WORKERS, ago(6), SHOP, {"sum.requests": 412})
    kept = Kept()
    assert read(fake, clock, kept, products=["kv", "workers"]) == []
    assert newest(kept, "cloudflare_worker_requests_total") == 412


def test_a_zone_without_access_blinds_neither_the_account_nor_the_other_zone(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    analytics.zones |= {ZONE, OTHER_ZONE}
    analytics.denied.add(ZONE)
    row = {"edgeResponseStatus": 503, "cacheStatus": "miss"}
    analytics.add("httpRequestsAdaptiveGroups", ago(6), row, {"count": 9, "sum.visits": 2}, scope=OTHER_ZONE)
    kept = Kept()
    zones = {"free.example": ZONE, "pro.example": OTHER_ZONE}
    (error,) = read(fake, clock, kept, zones=zones)
    assert error.reason == "auth"
    assert "Analytics: Read" in str(error)
    assert error.retry_after == 3600
    assert newest(kept, "cloudflare_zone_requests_total", zone="pro.example", status="503") == 9


def test_rows_up_to_the_limit_split_the_span_until_they_fit(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    for number in range(LIMIT):
        analytics.add(WORKERS, ago(6 + number % 2), {**SHOP, "scriptName": f"w{number}"}, {"sum.requests": 1})
    kept = Kept()
    assert read(fake, clock, kept) == []
    assert newest(kept, "cloudflare_cost_dollars_total", item="requests") == pytest.approx(LIMIT * 3e-7)
    assert len(analytics.asked) > 1


def test_a_single_minute_with_too_many_rows_is_told(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    for number in range(LIMIT + 5):
        analytics.add(WORKERS, ago(6), {**SHOP, "scriptName": f"w{number}"}, {"sum.requests": 1})
    kept = Kept()
    (error,) = read(fake, clock, kept)
    assert isinstance(error, PartialReadError)
    assert "numbers are too low" in str(error)
    assert newest(kept, "cloudflare_worker_requests_total") == 1


def test_a_range_that_is_too_large_for_the_plan_is_asked_in_parts(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    analytics.widest_ms = 8 * MINUTE_MS
    analytics.add(WORKERS, ago(6), SHOP, {"sum.requests": 412})
    kept = Kept()
    assert read(fake, clock, kept) == []
    assert newest(kept, "cloudflare_worker_requests_total") == 412


def test_it_stays_away_when_others_used_up_the_budget(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    analytics.left = 11
    (error,) = read(fake, clock, Kept(), times=2)
    assert (error.reason, error.retry_after) == ("rate_limited", 240)
    assert len(fake.requests) == 1


def test_a_depleted_budget_is_waited_out(fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient) -> None:
    analytics.left = 0
    (error,) = read(fake, clock, Kept())
    assert (error.reason, error.retry_after) == ("rate_limited", 300)


def test_where_clocks_differ_minutes_are_asked_for_by_the_service_s_clock(clock: Patient) -> None:
    theirs = Patient(NOW_MS + 40 * MINUTE_MS)
    with FakeCloudflare(theirs) as fake:
        analytics = FakeAnalytics(fake)
        assert read(fake, clock, Kept(), times=2) == []
        assert analytics.asked[0][2] == ago(5), "the first answer tells their time"
        assert analytics.asked[1][2] > ago(5) + MINUTE_MS


def test_times_without_a_zone_are_utc(fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient) -> None:
    analytics.bare_times = True
    analytics.add(WORKERS, ago(6), SHOP, {"sum.requests": 412})
    kept = Kept()
    read(fake, clock, kept)
    assert newest(kept, "cloudflare_worker_requests_total") == 412


def test_nulls_are_unknown_and_not_zero(fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient) -> None:
    analytics.add(WORKERS, ago(6), SHOP, {"sum.requests": None, "sum.errors": 1})
    kept = Kept()
    assert read(fake, clock, kept) == []
    assert math.isnan(newest(kept, "cloudflare_worker_requests_total"))
    assert newest(kept, "cloudflare_worker_errors_total") == 1


def test_no_rows_are_no_series(fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient) -> None:
    kept = Kept()
    assert read(fake, clock, kept) == []
    assert len(kept.batches[0].samples) == 0
    assert analytics.asked


def test_queues_have_their_names_and_share_the_words_of_other_queues(
    fake: FakeCloudflare, analytics: FakeAnalytics, queues: FakeQueues, clock: Patient
) -> None:
    queue = queues.add("emails")
    for action, outcome in (("WriteMessage", "success"), ("DeleteMessage", "success"), ("DeleteMessage", "dlq")):
        row = {"queueId": queue, "actionType": action, "outcome": outcome}
        analytics.add("queueMessageOperationsAdaptiveGroups", ago(6), row, {"count": 10})
    kept = Kept()
    assert read(fake, clock, kept, products=["queues"]) == []
    assert newest(kept, "obskit_queue_completed_total", system="cloudflare", queue="emails") == 20
    assert newest(kept, "obskit_queue_enqueued_total", system="cloudflare", queue="emails") == 10
    assert newest(kept, "cloudflare_queue_operations_total", queue="emails", outcome="dlq") == 10


def test_a_token_that_may_not_list_queues_sees_ids(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    fake.permissions = frozenset({ANALYTICS})
    row = {"queueId": "abc", "actionType": "WriteMessage", "outcome": "success"}
    analytics.add("queueMessageOperationsAdaptiveGroups", ago(6), row, {"count": 10})
    kept = Kept()
    assert read(fake, clock, kept, products=["queues"]) == []
    assert newest(kept, "obskit_queue_enqueued_total", queue="abc") == 10


BODIES = [
    b"[]",
    b"{}",
    b'{"data": null}',
    b'{"data": {"viewer": null}}',
    b'{"data": {"viewer": {"accounts": null}}}',
    b'{"data": {"viewer": {"accounts": []}}}',
    b'{"data": null, "errors": [7, {"message": null}]}',
    b'{"data": null, "errors": "no"}',
    b"<html>",
    b"",
]


@pytest.mark.parametrize("body", BODIES)
def test_an_answer_that_is_none_is_an_error_with_a_reason(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient, body: bytes
) -> None:
    fake.break_down(Failure(200, body=body.decode()))
    (error,) = read(fake, clock, Kept())
    assert error.reason in ("bad_data", "auth")
    assert analytics.asked == []


ODD_ROWS = [
    "null",
    "7",
    '[null, 7, {}, {"dimensions": null}, {"dimensions": {"datetimeMinute": "yesterday"}}]',
    '[{"dimensions": {"datetimeMinute": "2026-10-02T08:10:00Z", "more": 1}, "sum": 7, "new": {"x": 1}}]',
    '[{"dimensions": {"datetimeMinute": "2026-10-02T08:10:00Z"}, "sum": {"requests": "many", "errors": true}}]',
]


@pytest.mark.parametrize("rows", ODD_ROWS)
def test_rows_that_are_not_as_expected_are_left_out(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient, rows: str
) -> None:
    alias = ACCOUNT_NODES[0].alias
    fake.break_down(Failure(200, body=f'{{"data": {{"viewer": {{"accounts": [{{"{alias}": {rows}}}]}}}}}}'))
    kept = Kept()
    assert read(fake, clock, kept) == []
    assert len(kept.batches[0].samples) == 0
    assert analytics.asked == []


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure(401, error="10000 Authentication error"), "auth"),
        (Failure(403, error="10000 Authentication error"), "auth"),
        (Failure(429), "rate_limited"),
        (Failure(500), "server"),
        (Failure(503, retry_after=30), "server"),
        (Failure(drop=True), "network"),
        (Failure(200, body='{"data": {"viewer"', cut=True), "network"),
    ],
)
def test_a_bad_hour_of_the_service_has_a_reason(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient, failure: Failure, reason: str
) -> None:
    analytics.add(WORKERS, ago(6), SHOP, {"sum.requests": 412})
    fake.plan(failure)
    kept = Kept()
    (error,) = read(fake, clock, kept)
    assert error.reason == reason
    assert fake.token not in str(error)
    assert read(fake, clock, kept) == []
    assert newest(kept, "cloudflare_worker_requests_total") == 412


def test_every_product_can_be_chosen() -> None:
    assert get_args(Product) == PRODUCTS


def test_names_of_nodes_in_a_query_are_unique() -> None:
    assert len({node.alias for node in ACCOUNT_NODES}) == len(ACCOUNT_NODES)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"zones": {"example.com": "short"}}, "32 hex digits"),
        ({"products": ["pages"]}, "products"),
        ({"every": "1s"}, "every"),
        ({"zones": {f"z{n}": f"{n:032x}" for n in range(50)}}, "set every to 77s or more"),
    ],
)
def test_settings_that_cannot_work_are_refused(fake: FakeCloudflare, settings: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        settings_for(fake, analytics=settings)


def diagnosed(fake: FakeCloudflare, clock: Patient, **settings: Any) -> list[Check]:
    kind = find_kind("cloudflare")
    return list(asyncio.run(kind.doctor(settings_for(fake, analytics=settings), clock)))


def test_the_doctor_says_which_permission_is_missing_for_each_node(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    fake.permissions = frozenset({"Queues Read"})
    analytics.zones.add(ZONE)
    checks = diagnosed(fake, clock, products=["workers"], zones={"example.com": ZONE})
    assert [check.ok for check in checks] == [False, False, False]
    assert 'account permission "Account Analytics: Read"' in checks[0].fix
    assert 'zone permission "Analytics: Read"' in checks[1].fix


def test_the_doctor_says_that_silence_may_be_a_missing_permission(
    fake: FakeCloudflare, analytics: FakeAnalytics, clock: Patient
) -> None:
    *nodes, silence = diagnosed(fake, clock, products=["workers", "d1"])
    assert [check.ok for check in nodes] == [True, True]
    assert not silence.ok
    assert "Account Analytics: Read" in silence.fix
    analytics.add(WORKERS, ago(6), SHOP, {"sum.requests": 412})
    workers, storage = diagnosed(fake, clock, products=["workers", "d1"])
    assert "1 rows" in workers.what
    assert "no rows" in storage.what
