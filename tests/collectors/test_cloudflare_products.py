"""Queues, storage, AI Gateway and deployments against their fakes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest

from obskit.collect import PartialReadError, find_kind
from obskit.errors import CollectorError
from obskit.model.telemetry import REGISTRY
from obskit.testing.cloudflare import FakeCloudflare
from obskit.testing.cloudflare_analytics import FakeAnalytics
from obskit.testing.cloudflare_products import FakeGateway, FakeQueues, FakeR2, FakeWorkers
from obskit.testing.http import Failure
from tests.collectors.cloudflare import START_MS, Kept, Patient, settings_for
from tests.collectors.cloudflare_parts import newest, read

MINUTE_MS = 60_000
NOW = "2026-10-02T08:16:40Z"
"""START_MS."""


@pytest.fixture
def clock() -> Patient:
    return Patient(START_MS)


@pytest.fixture
def fake(clock: Patient) -> Iterator[FakeCloudflare]:
    with FakeCloudflare(clock) as server:
        yield server


# Queues


@pytest.mark.parametrize(
    ("backlog", "oldest_ms", "age_s"),
    [(184, START_MS - 390_000, 390.0), (184, 0, math.nan), (0, 0, 0.0), (184, START_MS + 5_000, 0.0)],
)
def test_the_age_of_the_oldest_message_is_known_or_it_is_not(
    fake: FakeCloudflare, clock: Patient, backlog: int, oldest_ms: int, age_s: float
) -> None:
    FakeQueues(fake).add("jobs", backlog=backlog, oldest_ms=oldest_ms)
    kept = Kept()
    assert read(kept, fake, clock, queues={}) == []
    own = {"system": "cloudflare", "queue": "jobs"}
    assert newest(kept, "obskit_queue_messages", **own, state="ready") == backlog
    assert newest(kept, "obskit_queue_oldest_age_seconds", **own) == pytest.approx(age_s, nan_ok=True)
    assert newest(kept, "cloudflare_queue_oldest_message_age_seconds", queue="jobs") == pytest.approx(
        age_s, nan_ok=True
    )


def test_a_queue_that_another_one_names_holds_dead_letters(fake: FakeCloudflare, clock: Patient) -> None:
    queues = FakeQueues(fake)
    queues.add("jobs", dead_letters="jobs-dead")
    queues.add("jobs-dead", backlog=3, oldest_ms=START_MS - 90_000_000)
    kept = Kept()
    assert read(kept, fake, clock, queues={}) == []
    assert newest(kept, "obskit_queue_messages", queue="jobs-dead", state="dead") == 3
    assert math.isnan(newest(kept, "obskit_queue_messages", queue="jobs-dead", state="ready"))
    assert math.isnan(newest(kept, "obskit_queue_oldest_age_seconds", queue="jobs-dead"))


def test_a_paused_queue_is_told(fake: FakeCloudflare, clock: Patient) -> None:
    FakeQueues(fake).add("jobs", paused=True)
    kept = Kept()
    read(kept, fake, clock, queues={})
    assert newest(kept, "cloudflare_queue_delivery_paused", queue="jobs") == 1


def test_all_pages_of_queues_are_read(fake: FakeCloudflare, clock: Patient) -> None:
    queues = FakeQueues(fake)
    for number in range(101):
        queues.add(f"q{number}", backlog=number)
    kept = Kept()
    assert read(kept, fake, clock, queues={}) == []
    assert newest(kept, "cloudflare_queue_backlog_count", queue="q100") == 100
    assert REGISTRY.get_sample_value("obskit_collector_requests_total", {"collector": "cloudflare"})


def test_a_queue_that_fails_does_not_hide_the_others(fake: FakeCloudflare, clock: Patient) -> None:
    queues = FakeQueues(fake)
    bad = queues.add("bad", backlog=1)
    queues.add("good", backlog=2)
    del queues.metrics[bad]
    kept = Kept()
    (error,) = read(kept, fake, clock, queues={})
    assert error.reason == "missing"
    assert newest(kept, "cloudflare_queue_backlog_count", queue="good") == 2
    assert math.isnan(newest(kept, "cloudflare_queue_backlog_count", queue="bad"))


def test_labels_and_a_choice_of_queues(fake: FakeCloudflare, clock: Patient) -> None:
    queues = FakeQueues(fake)
    queues.add("jobs", backlog=1)
    queues.add("other", backlog=2)
    kept = Kept()
    (error,) = read(kept, fake, clock, queues={"only": ["jobs", "gone"], "labels": {"jobs": {"tier": "pro"}}})
    assert "none is named gone" in str(error)
    assert newest(kept, "obskit_queue_messages", queue="jobs", tier="pro") == 1
    assert math.isnan(newest(kept, "cloudflare_queue_backlog_count", queue="other"))


@pytest.mark.parametrize(
    "metrics", [None, [], 7, {}, {"backlog_count": None}, {"backlog_count": "7", "oldest_message_timestamp_ms": True}]
)
def test_what_a_queue_does_not_say_is_unknown(fake: FakeCloudflare, clock: Patient, metrics: Any) -> None:
    queues = FakeQueues(fake)
    queues.metrics[queues.add("jobs", backlog=1)] = metrics
    kept = Kept()
    assert read(kept, fake, clock, queues={}) == []
    assert math.isnan(newest(kept, "obskit_queue_messages", queue="jobs"))
    assert math.isnan(newest(kept, "obskit_queue_oldest_age_seconds", queue="jobs"))


# Storage


def test_r2_s_bytes_and_what_they_cost_above_the_free_part(fake: FakeCloudflare, clock: Patient) -> None:
    FakeAnalytics(fake)
    r2 = FakeR2(fake)
    r2.metrics["standard"]["published"] = {"objects": 4, "payloadSize": 110e9, "metadataSize": 0}
    r2.metrics["infrequentAccess"]["published"] = {"objects": 1, "payloadSize": 50e9}
    kept = Kept()
    assert read(kept, fake, clock, storage={}) == []
    assert newest(kept, "cloudflare_r2_storage_bytes", storage_class="standard", state="published") == 110e9
    assert newest(kept, "cloudflare_r2_storage_dollars_per_month") == pytest.approx(100 * 0.015 + 50 * 0.01)


@pytest.mark.parametrize("metrics", [None, [], {}, {"standard": None}, {"standard": {"published": {"objects": None}}}])
def test_what_r2_does_not_say_is_unknown(fake: FakeCloudflare, clock: Patient, metrics: Any) -> None:
    FakeAnalytics(fake)
    FakeR2(fake).metrics = metrics
    kept = Kept()
    assert read(kept, fake, clock, storage={}) == []
    assert math.isnan(newest(kept, "cloudflare_r2_storage_dollars_per_month"))


def test_the_newest_hour_of_each_bucket_and_database_counts(fake: FakeCloudflare, clock: Patient) -> None:
    FakeR2(fake)
    analytics = FakeAnalytics(fake)
    for hours, size in ((3, 700), (1, 500), (9, 900)):
        row = {"bucketName": "eu_models", "storageClass": "Standard"}
        analytics.add("r2StorageAdaptiveGroups", START_MS - hours * 3_600_000, row, {"max.payloadSize": size})
    analytics.add("d1StorageAdaptiveGroups", START_MS - 3_600_000, {"databaseId": "db1"}, {"max.databaseSizeBytes": 9})
    kept = Kept()
    assert read(kept, fake, clock, storage={"names": {"db1": "shop"}}) == []
    assert newest(kept, "cloudflare_r2_bucket_bytes", bucket="eu_models") == 500
    assert newest(kept, "cloudflare_d1_database_size_bytes", database="shop") == 9


def test_storage_of_one_api_is_read_when_the_token_lacks_the_other(fake: FakeCloudflare, clock: Patient) -> None:
    FakeAnalytics(fake)
    FakeR2(fake).metrics["standard"]["published"]["payloadSize"] = 5
    fake.permissions = frozenset({"Workers R2 Storage Read"})
    kept = Kept()
    (error,) = read(kept, fake, clock, storage={})
    assert "Account Analytics: Read" in str(error)
    assert newest(kept, "cloudflare_r2_storage_bytes", storage_class="standard", state="published") == 5


# AI Gateway


def test_calls_become_counters_and_records(fake: FakeCloudflare, clock: Patient) -> None:
    gateway = FakeGateway(fake)
    gateway.add("agents", "2026-10-02T08:16:10Z", cost=0.5)
    gateway.add("agents", "2026-10-02T08:16:11Z", success=False, status_code=429, tokens_out=None, cost=None)
    gateway.add("agents", "2026-10-02T08:16:12Z", success=False, status_code=500, cost=0.25)
    kept = Kept()
    assert read(kept, fake, clock, ai_gateway={}) == []
    own = {"gateway": "agents", "model": "gpt-4o-mini"}
    outcomes = {
        name: newest(kept, "obskit_ai_requests_total", **own, outcome=name) for name in ("ok", "error", "rate_limited")
    }
    assert outcomes == {"ok": 1, "error": 1, "rate_limited": 1}
    assert newest(kept, "obskit_ai_cost_dollars_total", **own) == 0.75
    assert newest(kept, "obskit_ai_tokens_total", **own, direction="out") == 50
    assert newest(kept, "obskit_ai_duration_seconds_bucket", **own, le="1.0") == 3
    assert newest(kept, "obskit_ai_duration_seconds_bucket", **own, le="0.5") == 0
    record = kept.records[1]
    assert record.line == "openai/gpt-4o-mini 429 rate_limited in 0.812 s"
    assert record.metadata["level"] == "error"
    assert record.metadata["meta_tenant"] == "acme"


def test_a_new_series_begins_at_zero_so_that_its_first_cost_counts(fake: FakeCloudflare, clock: Patient) -> None:
    FakeGateway(fake).add("agents", "2026-10-02T08:16:10Z", cost=0.5)
    kept = Kept()
    read(kept, fake, clock, ai_gateway={})
    values = [
        (sample.t_ms - START_MS, sample.value)
        for sample in kept.batches[0].samples
        if sample.labels["__name__"] == "obskit_ai_cost_dollars_total"
    ]
    assert values == [(-MINUTE_MS, 0.0), (0, 0.5)]


def test_late_and_doubled_logs_are_counted_once_over_restarts(fake: FakeCloudflare, clock: Patient) -> None:
    gateway = FakeGateway(fake)
    kept = Kept()
    expected = 0
    for turn in range(12):
        second = 20 + turn
        for number in range(60):  # more than a page of equal times, and one that is written a minute late
            gateway.add("agents", f"2026-10-02T08:{17 + turn}:{second:02}Z", tokens_in=number)
            expected += 1
        if turn:
            gateway.add("agents", f"2026-10-02T08:{16 + turn}:59Z")
            expected += 1
        gateway.logs["agents"].append(dict(gateway.logs["agents"][-1]))
        clock.advance(60)
        assert read(kept, fake, clock, ai_gateway={}) == []
    assert len(kept.records) == expected
    assert len({record.metadata["id"] for record in kept.records}) == expected
    assert newest(kept, "obskit_ai_requests_total") == expected


def test_logs_that_cannot_be_read_are_told_and_the_others_are_taken(fake: FakeCloudflare, clock: Patient) -> None:
    gateway = FakeGateway(fake)
    gateway.add("agents", "2026-10-02T08:16:10Z", metadata="{half", provider=None, model=None, tokens_in="many")
    gateway.add("agents", "yesterday")
    gateway.add("agents", "2026-10-02T08:16:11Z", id=None)
    gateway.logs["agents"].append({"created_at": "2026-10-02T08:16:12Z", "id": "new", "surprise": [1]})
    kept = Kept()
    (error,) = read(kept, fake, clock, ai_gateway={})
    assert isinstance(error, PartialReadError)
    assert "2 logs without id or time" in str(error)
    assert [record.metadata["model"] for record in kept.records] == ["unknown", "unknown"]
    assert newest(kept, "obskit_ai_requests_total", outcome="unknown") == 1


def test_a_call_during_a_pause_before_the_first_one_was_seen_is_not_lost(fake: FakeCloudflare, clock: Patient) -> None:
    gateway = FakeGateway(fake)
    gateway.logs["agents"] = []
    kept = Kept()
    read(kept, fake, clock, ai_gateway={})
    gateway.add("agents", "2026-10-02T08:20:00Z")
    clock.advance(3600)
    assert read(kept, fake, clock, ai_gateway={}) == []
    assert len(kept.records) == 1


def test_names_of_models_are_bounded(fake: FakeCloudflare, clock: Patient) -> None:
    gateway = FakeGateway(fake)
    for number in range(130):
        gateway.add("agents", "2026-10-02T08:16:10Z", model=f"m{number}")
    kept = Kept()
    assert read(kept, fake, clock, ai_gateway={"records": False}) == []
    assert newest(kept, "obskit_ai_requests_total", model="other") == 30
    assert kept.records == []


def test_a_gateway_that_is_gone_does_not_hide_the_others(fake: FakeCloudflare, clock: Patient) -> None:
    FakeGateway(fake).add("agents", "2026-10-02T08:16:10Z")
    kept = Kept()
    (error,) = read(kept, fake, clock, ai_gateway={"gateways": ["gone", "agents"]})
    assert error.reason == "missing"
    assert len(kept.records) == 1


# Deployments


def test_a_deployment_is_told_once_and_a_version_that_returns_is_a_rollback(
    fake: FakeCloudflare, clock: Patient
) -> None:
    workers = FakeWorkers(fake)
    kept = Kept()
    for created_on, version in (("2026-09-01T00:00:00Z", "v0"), ("2026-10-02T07:00:00Z", "v1")):
        workers.deploy("shop", created_on, version)
    assert read(kept, fake, clock, deploys={}) == []
    workers.deploy("shop", "2026-10-02T08:10:00Z", "v2", versions=[{"version_id": "v2", "percentage": 25}])
    workers.deploy("shop", "2026-10-02T08:15:00Z", "v1", annotations=None)
    for _ in range(2):
        assert read(kept, fake, clock, deploys={}) == []
    told = [(one.metadata["kind"], one.metadata["version"], one.metadata.get("what", "")) for one in kept.records]
    assert told == [
        ("release", "v1", "fix tax"),
        ("release", "v2", "fix tax (25 % of requests)"),
        ("rollback", "v1", ""),
    ]
    assert kept.records[0].metadata["by"] == "dev@example.com"
    assert kept.records[0].stream["app"] == "shop"


def test_builds_that_ended_are_events(fake: FakeCloudflare, clock: Patient) -> None:
    workers = FakeWorkers(fake)
    workers.deploy("shop", "2026-10-02T08:10:00Z", "v1")
    trigger = {"branch": "main", "commitHash": "0a1b2c", "commitMessage": "fix tax", "author": "dev"}
    common = {"createdAt": "2026-10-02T08:00:00Z", "buildTriggerMetadata": trigger}
    workers.builds["tag-shop"] = [
        {"build_uuid": "b2", "build_outcome": "failure", "created_on": "2026-10-02T08:01:00Z"},
        {"buildUuid": "b1", "buildOutcome": "success", **common},
        {"buildUuid": "b3", "buildOutcome": None, **common},
        {"buildUuid": "b4", "buildOutcome": "a new word", **common},
        "odd",
    ]
    kept = Kept()
    for _ in range(2):
        assert read(kept, fake, clock, deploys={"builds": True}) == []
    names = [(one.metadata["name"], one.metadata.get("branch")) for one in kept.records if "id" in one.metadata]
    assert names == [("build.failed", None), ("build.succeeded", "main")] or names[::-1] == names


def test_a_worker_that_was_deleted_meanwhile_is_no_error(fake: FakeCloudflare, clock: Patient) -> None:
    workers = FakeWorkers(fake)
    workers.deploy("shop", "2026-10-02T08:10:00Z", "v1")
    workers.deploy("gone", "2026-10-02T08:10:00Z", "v1")
    fake.plan(
        Failure(404, error="10007 This Worker does not exist"),
        route=f"/client/v4/accounts/{fake.account}/workers/scripts/gone/deployments",
    )
    kept = Kept()
    assert read(kept, fake, clock, deploys={}) == []
    assert [record.stream["app"] for record in kept.records] == ["shop"]


@pytest.mark.parametrize("rows", [None, 7, [7, {"id": "d1"}, {"id": "d2", "created_on": "no", "versions": 7}]])
def test_deployments_that_are_not_as_expected_are_left_out(fake: FakeCloudflare, clock: Patient, rows: Any) -> None:
    FakeWorkers(fake).deployments["shop"] = rows
    kept = Kept()
    assert read(kept, fake, clock, deploys={}) == []
    assert kept.records == []


# All of them

PARTS = {
    "queues": ("Queues: Read", {}),
    "storage": ("Workers R2 Storage: Read", {}),
    "ai_gateway": ("AI Gateway: Read", {}),
    "deploys": ("Workers Scripts: Read", {}),
}


@pytest.mark.parametrize("section", PARTS)
@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure(401, error="10000 Authentication error"), "auth"),
        (Failure(429, error="971 rate limited", retry_after=300), "rate_limited"),
        (Failure(500), "server"),
        (Failure(200, error="10000 Authentication error"), "auth"),
        (Failure(200, body="{"), "bad_data"),
        (Failure(200, body='{"success": true, "result": [', cut=True), "network"),
        (Failure(drop=True), "network"),
    ],
)
def test_a_bad_hour_of_the_service_has_a_reason(
    fake: FakeCloudflare, clock: Patient, section: str, failure: Failure, reason: str
) -> None:
    for part in (FakeQueues, FakeR2, FakeGateway, FakeWorkers, FakeAnalytics):
        part(fake)
    fake.break_down(failure)
    wrong = read(Kept(), fake, clock, **{section: {}})
    assert {error.reason for error in wrong} == {reason}
    assert fake.token not in str(wrong)


@pytest.mark.parametrize("section", PARTS)
def test_the_doctor_names_the_permission_that_is_missing(fake: FakeCloudflare, clock: Patient, section: str) -> None:
    for part in (FakeQueues, FakeR2, FakeGateway, FakeWorkers, FakeAnalytics):
        part(fake)
    kind = find_kind("cloudflare")
    permission, settings = PARTS[section]
    good = asyncio.run(kind.doctor(settings_for(fake, **{section: settings}), clock))
    assert all(check.ok for check in good)
    fake.permissions = frozenset({"Other Read"})
    bad = asyncio.run(kind.doctor(settings_for(fake, **{section: settings}), clock))
    assert any(f'"{permission}"' in check.fix for check in bad if not check.ok)


def test_the_doctor_names_the_permission_for_builds(fake: FakeCloudflare, clock: Patient) -> None:
    FakeWorkers(fake).deploy("shop", "2026-10-02T08:10:00Z", "v1")
    fake.permissions = frozenset({"Workers Scripts Read"})
    settings = settings_for(fake, deploys={"builds": True})
    (check,) = asyncio.run(find_kind("cloudflare").doctor(settings, clock))
    assert '"Workers CI: Read"' in check.fix


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("queues", {"every": "1s"}),
        ("storage", {"every": "1s"}),
        ("ai_gateway", {"every": "1s"}),
        ("deploys", {"every": "1s"}),
        ("notifications", {}),
    ],
)
def test_settings_that_cannot_work_are_refused(fake: FakeCloudflare, section: str, settings: Any) -> None:
    with pytest.raises(ValueError, match=section):
        settings_for(fake, **{section: settings})


@pytest.mark.parametrize("section", ["ai_gateway", "deploys"])
@pytest.mark.parametrize("cursor", ["7", "{", '{"overlaps": 7}', '{"shop": 7}'])
def test_a_cursor_that_is_not_ours_is_refused(fake: FakeCloudflare, clock: Patient, section: str, cursor: str) -> None:
    kept = Kept(cursors={f"cloudflare {fake.account} {section}": cursor})
    with pytest.raises(CollectorError, match="cursor"):
        read(kept, fake, clock, **{section: {}})
