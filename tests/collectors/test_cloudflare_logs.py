"""The telemetry query against the fake: each line once and in order, whatever the service does."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from obskit.collect import Feed, Several
from obskit.errors import CollectorError
from obskit.testing.cloudflare import FakeCloudflare
from obskit.testing.cloudflare_telemetry import ANALYTICS, READ, WRITE, FakeTelemetry, invocation_row, log_row
from obskit.testing.http import Failure
from obskit_collectors.cloudflare_logs import WorkerLogs
from tests.collectors.cloudflare import HOUR_MS, START_MS, Kept, Patient, collector_for, settings_for, while_running


@pytest.fixture
def clock() -> Patient:
    return Patient(START_MS)


@pytest.fixture
def fake(clock: Patient) -> Iterator[FakeCloudflare]:
    with FakeCloudflare(clock) as server:
        yield server


@pytest.fixture
def telemetry(fake: FakeCloudflare) -> FakeTelemetry:
    return FakeTelemetry(fake)


def reader(fake: FakeCloudflare, **logs: Any) -> WorkerLogs:
    whole = collector_for(fake, logs=logs)
    assert isinstance(whole, Several)
    (part,) = whole.parts
    assert isinstance(part, WorkerLogs)
    return part


def turns(fake: FakeCloudflare, clock: Patient, kept: Kept, number: int = 1, **logs: Any) -> None:
    """So many windows by a collector that was just started, 15 s apart."""

    async def scenario() -> None:
        part, feed = reader(fake, **logs), Feed("cloudflare", kept, clock)
        await part._ledger.resume(feed)
        try:
            for _ in range(number):
                await part.turn(feed)
                clock.advance(15)
        finally:
            await part._api.close()

    asyncio.run(scenario())


def rows(count: int, *, begin_ms: int, step_ms: int = 10) -> list[dict[str, Any]]:
    return [log_row(begin_ms + n * step_ms, f"id{n}", f"line {n}") for n in range(count)]


def test_a_line_becomes_a_record_with_its_app_and_what_is_known_of_it(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(
        log_row(START_MS - 5000, "a", {"message": "charge failed", "orderId": 7141}, level="error", region="FRA")
    )
    kept = Kept()
    turns(fake, clock, kept)
    (record,) = kept.records
    assert dict(record.stream) == {"source": "cloudflare", "app": "shop-api"}
    assert record.t_ns == (START_MS - 5000) * 1_000_000
    assert record.line == '{"message":"charge failed","orderId":7141}'
    assert dict(record.metadata) == {
        "kind": "log",
        "level": "error",
        "region": "FRA",
        "event_type": "fetch",
        "request_id": "r-a",
        "version": "5a3e",
    }


def test_an_invocation_has_its_outcome_and_times_and_no_level(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    """The row of a failed one says error, beside the line that was logged: it would count twice."""
    telemetry.add(invocation_row(START_MS - 5000, "a", outcome="exceededCpu", status=503))
    kept = Kept()
    turns(fake, clock, kept)
    (record,) = kept.records
    assert record.line == "GET https://shop.example/x"
    assert "level" not in record.metadata
    assert {name: record.metadata[name] for name in ("kind", "outcome", "status", "method", "cpu_ms", "wall_ms")} == {
        "kind": "invocation",
        "outcome": "exceededCpu",
        "status": "503",
        "method": "GET",
        "cpu_ms": "12",
        "wall_ms": "812",
    }


def test_the_id_of_a_request_is_the_workers_own_whatever_its_json_says(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(log_row(START_MS - 5000, "a", {"requestId": "mine"}, requestId="mine"))
    kept = Kept()
    turns(fake, clock, kept)
    assert kept.records[0].metadata["request_id"] == "r-a"


def test_what_console_log_says_has_the_level_info(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(log_row(START_MS - 5000, "a", "x", level="log"), log_row(START_MS - 4000, "b", "x", level="WARN"))
    kept = Kept()
    turns(fake, clock, kept)
    assert [record.metadata["level"] for record in kept.records] == ["info", "warn"]


def test_pages_are_followed_to_their_end_and_stored_oldest_first(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(*rows(350, begin_ms=START_MS - 60_000, step_ms=150))
    kept = Kept()
    turns(fake, clock, kept, rows=100, backfill="1m")
    assert kept.lines == [f"line {n}" for n in range(350)]
    assert [query.get("offset") for query in telemetry.queries] == [None, "id250", "id150", "id50"]


def test_a_window_that_holds_too_much_is_cut_and_read_in_pieces(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(*rows(3000, begin_ms=START_MS - 3_000_000, step_ms=1000))
    kept = Kept()
    turns(fake, clock, kept, number=40, rows=100)
    assert kept.lines == [f"line {n}" for n in range(3000)]
    assert max(len(batch.records) for batch in kept.batches) <= 400


def test_a_burst_after_an_hour_of_silence_is_found_in_few_requests(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(*rows(300, begin_ms=START_MS - 3_000, step_ms=10))
    kept = Kept()
    turns(fake, clock, kept, number=12, rows=100)
    assert kept.lines == [f"line {n}" for n in range(300)]
    assert len(telemetry.queries) < 60


def test_more_lines_in_a_second_than_fit_are_still_read(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(*rows(900, begin_ms=START_MS - 10_000, step_ms=0))
    kept = Kept()
    turns(fake, clock, kept, number=20, rows=100, backfill="10m")
    assert sorted(kept.lines) == sorted(f"line {n}" for n in range(900))


def test_lines_that_are_late_by_90_seconds_are_found(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(*rows(100, begin_ms=START_MS, step_ms=1000))
    telemetry.add(*(log_row(START_MS + n * 1000, f"late{n}", f"late {n}") for n in range(100)), late_ms=90_000)
    kept = Kept()
    turns(fake, clock, kept, number=20)
    assert sorted(kept.lines) == sorted([f"line {n}" for n in range(100)] + [f"late {n}" for n in range(100)])


def test_a_line_after_a_silence_is_found_however_late(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    kept = Kept()
    telemetry.add(log_row(START_MS + 60_000, "a", "first"))
    telemetry.add(log_row(START_MS + 7_200_000, "b", "second"), late_ms=1_800_000)

    async def scenario() -> None:
        part, feed = reader(fake), Feed("cloudflare", kept, clock)
        for _ in range(20):
            await part.turn(feed)
            clock.advance(600)
        await part._api.close()

    asyncio.run(scenario())
    assert kept.lines == ["first", "second"]
    assert all(query["timeframe"]["to"] - query["timeframe"]["from"] <= 1.2 * HOUR_MS for query in telemetry.queries)


def test_no_window_is_longer_than_six_hours_so_that_nothing_is_thinned_out(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(*rows(60, begin_ms=START_MS - 60 * HOUR_MS, step_ms=HOUR_MS))
    kept = Kept()
    turns(fake, clock, kept, number=12, backfill="60h")
    assert kept.lines == [f"line {n}" for n in range(60)]
    assert max(query["timeframe"]["to"] - query["timeframe"]["from"] for query in telemetry.queries) == 6 * HOUR_MS


def test_a_sampled_window_is_asked_again_in_pieces_and_what_stays_sampled_is_shown(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(log_row(START_MS - 5000, "a", "x"))
    kept = Kept()
    event = log_row(START_MS - 5000, "a", "x")
    thin = {"statistics": {"abr_level": 10}, "events": {"events": [event]}, "run": {"status": "COMPLETED"}}
    body = f'{{"success":true,"result":{json.dumps(thin)}}}'
    fake.plan(*[Failure(200, body=body)] * 4)
    turns(fake, clock, kept, number=8)
    assert kept.lines == ["x"]
    assert kept.batches[0].samples.values == [1.0]
    assert kept.batches[0].samples.labels[0]["__name__"] == "obskit_cf_sampled"
    assert kept.batches[0].samples.times_ms == [START_MS - 5000]


def test_nothing_is_read_from_before_what_is_kept(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    telemetry.add(log_row(START_MS - 1000, "a", "old"))
    turns(fake, clock, kept)
    clock.advance(30 * 86_400)
    telemetry.queries.clear()
    turns(fake, clock, kept)
    assert telemetry.queries[0]["timeframe"]["from"] >= clock.now_ms() - 3 * 86_400_000 - 15_000
    assert "may be lost" in caplog.text


def test_a_query_that_is_still_running_is_asked_again(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.started = 3
    telemetry.add(log_row(START_MS - 1000, "a", "x"))
    kept = Kept()
    turns(fake, clock, kept)
    assert kept.lines == ["x"]
    assert len(telemetry.queries) == 4


def test_one_that_never_ends_is_a_timeout(fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient) -> None:
    telemetry.started = 1000
    with pytest.raises(CollectorError) as caught:
        turns(fake, clock, Kept())
    assert caught.value.reason == "timeout"


def test_rows_that_are_shown_twice_are_stored_once(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.twice = True
    telemetry.add(*rows(50, begin_ms=START_MS - 10_000))
    kept = Kept()
    turns(fake, clock, kept, number=3)
    assert kept.lines == [f"line {n}" for n in range(50)]


def test_only_the_named_workers_are_asked_for_in_a_group_inside_the_parameters(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(*(log_row(START_MS - 1000, f"{name}", name, service=name) for name in ("one", "two", "three")))
    kept = Kept()
    turns(fake, clock, kept, workers=["one", "two"])
    assert sorted(kept.lines) == ["one", "two"]


def test_spans_and_invocations_are_kept_as_the_settings_say(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(log_row(START_MS - 3000, "a", "logged"), invocation_row(START_MS - 2000, "b"))
    telemetry.add(log_row(START_MS - 1000, "c", {}, type="cf-worker-span", spanName="fetch"))
    for wanted, lines in [
        ({}, ["logged", "GET https://shop.example/x"]),
        ({"invocations": False}, ["logged"]),
        ({"invocations": False, "spans": True}, ["logged", "fetch"]),
    ]:
        kept = Kept()
        turns(fake, clock, kept, **wanted)
        assert kept.lines == lines


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure(401, error="10000 Authentication error"), "auth"),
        (Failure(403, error="9109 Invalid access token"), "auth"),
        (Failure(200, error="10000 Authentication error"), "auth"),
        (Failure(200, error="7003 Could not route"), "missing"),
        (Failure(404, error="7003 Could not route"), "missing"),
        (Failure(429, error="971 rate limited", retry_after=300), "rate_limited"),
        (Failure(200, error="971 rate limited"), "rate_limited"),
        (Failure(200, error="10013 unknown"), "server"),
        (Failure(200, error="77 new"), "bad_data"),
        (Failure(502, body="<html>bad gateway</html>"), "server"),
        (Failure(200, body='{"success":true,"result":{"events"'), "bad_data"),
        (Failure(200, body="[]"), "bad_data"),
        (Failure(200, body='{"success":false,"errors":"?"}'), "bad_data"),
        (Failure(200, body="{}", cut=True), "network"),
        (Failure(drop=True), "network"),
    ],
)
def test_what_goes_wrong_has_its_reason_and_the_lines_come_afterwards(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient, failure: Failure, reason: str
) -> None:
    telemetry.add(*rows(30, begin_ms=START_MS - 10_000))
    kept = Kept()
    fake.plan(failure)
    with pytest.raises(CollectorError) as caught:
        turns(fake, clock, kept)
    assert caught.value.reason == reason
    assert fake.token not in str(caught.value)
    if reason == "auth":
        assert "Workers Observability: Edit" in str(caught.value)
        assert caught.value.retry_after == 900
    turns(fake, clock, kept)
    assert kept.lines == [f"line {n}" for n in range(30)]


def test_a_second_page_that_fails_leaves_nothing_half_stored(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(*rows(250, begin_ms=START_MS - 10_000, step_ms=40))
    kept = Kept()

    async def scenario() -> None:
        part, feed = reader(fake, rows=100, backfill="10s"), Feed("cloudflare", kept, clock)
        ask = part._api.envelope
        part._api.envelope = lambda *args: _second_fails(ask, args, fake, telemetry)  # type: ignore[method-assign]
        with pytest.raises(CollectorError):
            await part.turn(feed)
        assert kept.batches == []
        await part.turn(feed)
        await part._api.close()

    asyncio.run(scenario())
    assert kept.lines == [f"line {n}" for n in range(250)]


async def _second_fails(ask: Any, args: Any, fake: FakeCloudflare, telemetry: FakeTelemetry) -> Any:
    if len(telemetry.queries) == 1 and not fake.requests[1:]:
        fake.plan(Failure(500))
    return await ask(*args)


def test_events_of_any_form_never_crash_and_are_counted(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    t = START_MS - 1000
    odd: list[Any] = [
        None,
        7,
        {},
        {"timestamp": "soon"},
        {"timestamp": True},
        {"timestamp": 1e300},
        {"timestamp": t, "$metadata": [], "$workers": 3, "source": 9},
        {"timestamp": t, "$metadata": {"type": "cf-new-thing", "level": "verbose"}, "source": "\ud800"},
        {"timestamp": t + 0.5, "$containers": {"scriptName": "box"}, "source": None},
    ]
    body = {"success": True, "result": {"events": {"events": odd}, "statistics": {"abr_level": "?"}, "new": 1}}
    fake.plan(Failure(200, body=json.dumps(body)))
    kept = Kept()
    turns(fake, clock, kept)
    assert kept.lines == ["log", "\ufffd", "9"]
    assert {record.stream["app"] for record in kept.records} == {"unknown", "box"}
    kept.records[0].line.encode()


@pytest.mark.parametrize("seed", range(3))
def test_a_process_that_dies_anywhere_loses_and_doubles_nothing(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient, seed: int
) -> None:
    """Late lines, doubled lines, equal times, failures; and a new process after every few windows."""
    dice = random.Random(seed)
    telemetry.twice = True
    for n in range(600):
        late_ms = 90_000 if dice.random() < 0.1 else 0
        telemetry.add(log_row(START_MS + n // 3 * 800, f"id{n}", f"line {n}"), late_ms=late_ms)
    kept = Kept()
    for _ in range(25):
        if dice.random() < 0.3:
            fake.plan(Failure(dice.choice([429, 500, 200]), error="10013 unknown", after=dice.random() < 0.5))
        try:
            turns(fake, clock, kept, number=dice.randrange(1, 4), rows=dice.choice([100, 300]))
        except CollectorError:
            clock.advance(15)
    fake.repair()
    turns(fake, clock, kept, number=10)
    assert sorted(kept.lines) == sorted(f"line {n}" for n in range(600))


def test_it_runs_on_through_failures_and_waits_as_long_as_it_is_told(
    fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient
) -> None:
    telemetry.add(*rows(200, begin_ms=START_MS, step_ms=1000))
    fake.plan(Failure(500), Failure(429, retry_after=20, error="971 slow down"))
    kept = Kept()

    async def scenario() -> None:
        feed = Feed("cloudflare", kept, clock)
        await while_running(collector_for(fake, logs={}), feed, kept.until(200))

    asyncio.run(scenario())
    assert kept.lines == [f"line {n}" for n in range(200)]
    assert fake.requests[2].t_ms - fake.requests[1].t_ms >= 20_000


@pytest.mark.parametrize("ahead_ms", [-1_800_000, 1_800_000])
def test_a_clock_of_ours_that_is_wrong_by_half_an_hour_loses_nothing(ahead_ms: int) -> None:
    theirs, ours, kept = Patient(START_MS), Patient(START_MS + ahead_ms), Kept()
    with FakeCloudflare(theirs) as fake:
        telemetry = FakeTelemetry(fake)
        telemetry.add(*rows(100, begin_ms=START_MS, step_ms=20_000))

        async def scenario() -> None:
            part, feed = reader(fake), Feed("cloudflare", kept, ours)
            for _ in range(140):
                await part.turn(feed)
                theirs.advance(30)
                ours.advance(30)
            await part._api.close()

        asyncio.run(scenario())
    assert kept.lines == [f"line {n}" for n in range(100)]


def test_one_look_shows_the_newest_page(fake: FakeCloudflare, telemetry: FakeTelemetry, clock: Patient) -> None:
    telemetry.add(*rows(500, begin_ms=START_MS - 60_000, step_ms=10))
    kept = Kept()
    asyncio.run(collector_for(fake, logs={"rows": 100}).once(Feed("cloudflare", kept, clock)))
    assert kept.lines == [f"line {n}" for n in range(400, 500)]


@pytest.mark.parametrize(
    ("permissions", "what", "fix"),
    [
        ({"*"}, "can be read", ""),
        ({WRITE}, "can be read", ""),
        ({READ, ANALYTICS}, "can be read", ""),
        ({READ}, "no line within the last hour", "Account Analytics: Read"),
        ({"Queues Read"}, "HTTP 403", 'permission "Workers Observability: Edit"'),
    ],
)
def test_the_doctor_names_the_permission_that_is_missing(
    fake: FakeCloudflare, telemetry: FakeTelemetry, permissions: set[str], what: str, fix: str
) -> None:
    from obskit_collectors.cloudflare import doctor

    telemetry.add(log_row(START_MS - 1000, "a", "x"))
    fake.permissions = frozenset(permissions)
    (check,) = asyncio.run(doctor(settings_for(fake, logs={}), Patient(START_MS)))
    assert what in check.what
    assert check.ok == (not fix)
    assert fix in check.fix


@pytest.mark.parametrize(
    ("key", "value"),
    [("rows", 2001), ("rows", 99), ("every", "0s"), ("retention", "0s"), ("backfill", "-1s"), ("x", 1)],
)
def test_settings_that_cannot_be_are_refused(fake: FakeCloudflare, key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        settings_for(fake, logs={key: value})


def test_an_account_id_that_is_none_and_a_collector_without_a_task_are_refused() -> None:
    from obskit_collectors.cloudflare import CloudflareSettings

    with pytest.raises(ValueError, match="32 hex digits"):
        CloudflareSettings(account_id="shop", token="t", logs={})  # type: ignore[arg-type]  # as YAML gives them
    with pytest.raises(ValueError, match="nothing to do: give at least one of logs"):
        CloudflareSettings(account_id="0" * 32, token="t")  # type: ignore[arg-type]  # as YAML gives them
