"""Releases, volumes, incidents and the managed Prometheus of Fly.io; which settings fit together; what the doctor says."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from obskit.collect import Check, Feed, TargetStatus
from obskit.model.samples import is_stale
from obskit.model.settings import Secret
from obskit.model.telemetry import REGISTRY
from obskit.testing.clock import FakeClock, run
from obskit.testing.fly import TOKEN, FakeFly
from obskit.testing.http import Failure
from obskit_collectors.fly import KIND
from obskit_collectors.fly_access import authorization
from obskit_collectors.fly_settings import FlySettings
from tests.collectors.fly_setting import last_values, named, run_for, settings
from tests.collectors.kept import Kept
from tests.collectors.patient import patient_clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    return patient_clock(monkeypatch)


@pytest.fixture
def fly(clock: FakeClock) -> Iterator[FakeFly]:
    with FakeFly(clock) as server:
        server.app("shop")
        yield server


def watching(
    fly: FakeFly, clock: FakeClock, work: Callable[[], Awaitable[None]] | None = None, **config: Any
) -> tuple[Kept, Sequence[TargetStatus]]:
    """Everything configured is read for 130 s, then `work` happens, then again for 130 s."""
    kept = Kept()

    async def scenario() -> Sequence[TargetStatus]:
        task = asyncio.create_task(run_for(260, settings(fly, **config), kept, clock))
        await clock.sleep(130)
        if work is not None:
            await work()
        return await task

    return kept, run(scenario(), clock)


def deploys(kept: Kept) -> list[tuple[str, str]]:
    return [(event.metadata["kind"], event.metadata["version"]) for event in named(kept, "deploy")]


def test_a_release_is_a_deploy_once_it_is_over(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.release("shop", 41, status="running")

    async def scenario() -> None:
        task = asyncio.create_task(run_for(260, settings(fly, releases="api"), kept, clock))
        await clock.sleep(130)
        assert last_values(kept, "fly_release_in_progress", "app") == {("shop",): 1.0}
        assert named(kept, "deploy") == []
        fly.release("shop", 41)
        await task

    run(scenario(), clock)
    (deploy,) = named(kept, "deploy")
    assert str(deploy.stream) == '{app="shop", event="deploy", source="event"}'
    assert deploy.metadata == {
        "name": "deploy",
        "kind": "release",
        "vendor": "fly",
        "what": "registry.fly.io/shop:deployment-41",
        "by": "Dev",
        "version": "41",
    }
    assert last_values(kept, "fly_release_in_progress", "app") == {("shop",): 0.0}
    assert last_values(kept, "fly_release_version", "app") == {("shop",): 41.0}


def test_each_release_is_told_once_over_restarts_and_old_ones_are_no_news(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.release("shop", 1)
    clock.advance(2 * 86_400)
    fly.release("shop", 2)
    for version in (3, 4):
        run(run_for(70, settings(fly, releases="api"), kept, clock), clock)
        fly.release("shop", version, reverted_to="2" if version == 4 else None)
    run(run_for(70, settings(fly, releases="api"), kept, clock), clock)
    assert deploys(kept) == [("release", "2"), ("release", "3"), ("rollback", "4")]


def test_a_release_that_failed_went_nowhere(fly: FakeFly, clock: FakeClock) -> None:
    async def happens() -> None:
        fly.release("shop", 7, status="failed")

    kept, _ = watching(fly, clock, happens, releases="api")
    assert deploys(kept) == []
    (event,) = named(kept, "release.failed")
    assert event.line == "release shop 7: failed"
    assert last_values(kept, "fly_release_failed", "app") == {("shop",): 1.0}


def test_a_release_that_was_overtaken_never_went_live(fly: FakeFly, clock: FakeClock) -> None:
    fly.release("shop", 7, status="running")
    fly.release("shop", 8)
    kept, _ = watching(fly, clock, releases="api")
    assert deploys(kept) == [("release", "8")]


def test_what_a_release_does_not_say_is_left_out(fly: FakeFly, clock: FakeClock) -> None:
    fly.releases["shop"] = [{"version": "9", "status": "glorious"}, {"version": None}, {"id": "x"}]
    kept, _ = watching(fly, clock, releases="api")
    assert deploys(kept) == [("release", "9")]


def test_an_app_whose_releases_are_gone_takes_nothing_from_the_others(fly: FakeFly, clock: FakeClock) -> None:
    fly.release("shop", 1)
    kept, (row,) = watching(fly, clock, releases="api", apps=["gone", "shop"])
    assert deploys(kept) == [("release", "1")]
    assert (row.target, row.up) == ("releases", False)
    assert "HTTP 404" in row.error


@pytest.mark.parametrize("failure", [Failure(429, retry_after=5), Failure(500), Failure(200, body='{"releases":[{')])
def test_releases_that_cannot_be_read_are_told_later(fly: FakeFly, clock: FakeClock, failure: Failure) -> None:
    fly.release("shop", 1)
    fly.plan(failure, route="releases")
    kept, (row,) = watching(fly, clock, releases="api", apps=["shop"])
    assert deploys(kept) == [("release", "1")]
    assert (row.up, row.errors) == (True, 1)


def test_a_volume_has_a_size_and_a_use_where_it_is_said(fly: FakeFly, clock: FakeClock) -> None:
    fly.volumes = [
        {"id": "vol_1", "name": "data", "region": "fra", "size_gb": 10, "attached_machine_id": "m1", "bytes_used": 5, "bytes_total": 20},
        {"id": "vol_2", "size_gb": 1, "app": {"name": "shop"}},
        {"id": "vol_3", "bytes_used": 5, "bytes_total": 0},
        {"name": "no id"},
        "no volume",
    ]  # fmt: skip
    kept, _ = watching(fly, clock, volumes=True)
    assert last_values(kept, "fly_volume_used_pct", "id") == {("vol_1",): 25.0}
    assert last_values(kept, "fly_volume_size_bytes", "id", "app") == {("vol_1", ""): 20.0, ("vol_2", "shop"): 1e9}


def test_volumes_of_named_apps_only(fly: FakeFly, clock: FakeClock) -> None:
    fly.volumes = [{"id": "v1", "size_gb": 1, "app_name": "shop"}, {"id": "v2", "size_gb": 1, "app_name": "other"}]
    kept, _ = watching(fly, clock, volumes=True, apps=["shop"])
    assert set(last_values(kept, "fly_volume_size_bytes", "id")) == {("v1",)}


def incident(**more: Any) -> dict[str, Any]:
    told = {"id": "i1", "name": "Elevated errors in fra", "status": "investigating", "resolved_at": None}
    return {**told, "components": [{"id": "c1", "name": "Machines API"}, {"name": "Proxy"}], **more}


def test_an_incident_is_one_while_it_is_open_then_zero_once_then_gone(fly: FakeFly, clock: FakeClock) -> None:
    fly.incidents = [incident(), incident(id="i0", resolved_at="2026-01-01T00:00:00Z")]

    async def happens() -> None:
        fly.incidents = [incident(resolved_at=fly.rfc3339())]

    kept, _ = watching(fly, clock, happens, incidents=True)
    values = [
        sample.value
        for sample in kept.samples
        if sample.labels["__name__"] == "obskit_vendor_incident" and sample.labels["component"] == "Proxy"
    ]
    assert values[0] == 1.0
    assert (values[-2], is_stale(values[-1])) == (0.0, True)
    assert set(values[:-2]) == {1.0}
    assert set(last_values(kept, "obskit_vendor_incident", "vendor", "component")) == {
        ("fly", "Machines API"),
        ("fly", "Proxy"),
    }
    told = named(kept, "vendor.incident")
    assert [event.metadata["state"] for event in told] == ["open", "resolved"]
    assert told[0].line == "Fly.io incident open: Elevated errors in fra (Machines API, Proxy)"


def test_an_incident_is_told_once_over_restarts_and_needs_no_token(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.incidents = [incident(components="?")]
    for _ in range(3):
        run(run_for(5, settings(fly, incidents=True, token=None), kept, clock), clock)
    assert len(named(kept, "vendor.incident")) == 1
    assert last_values(kept, "obskit_vendor_incident", "component") == {("platform",): 1.0}


def test_an_incident_is_told_again_every_few_minutes_while_it_is_open(fly: FakeFly, clock: FakeClock) -> None:
    kept = Kept()
    fly.incidents = [incident()]
    run(run_for(11 * 60, settings(fly, incidents=True), kept, clock), clock)
    assert [event.metadata["state"] for event in named(kept, "vendor.incident")] == ["open"] * 3


def test_an_incident_that_vanished_from_the_feed_is_over(fly: FakeFly, clock: FakeClock) -> None:
    fly.incidents = [incident()]

    async def happens() -> None:
        fly.incidents = []

    kept, _ = watching(fly, clock, happens, incidents=True)
    assert [event.metadata["state"] for event in named(kept, "vendor.incident")] == ["open", "resolved"]


def test_answers_of_queries_are_samples_at_the_servers_time(fly: FakeFly, clock: FakeClock) -> None:
    query = "sum by (app) (up)"
    fly.vectors[query] = [({"app": "shop"}, 3.0), ({"app": "worker"}, float("inf"))]
    fly.vectors["up"] = [({"__name__": "up", "app": "shop"}, 1.0)]
    queries = [{"query": query, "record": "apps_up", "labels": {"org": "acme"}}, {"query": "up"}]
    kept, (row,) = watching(fly, clock, queries=queries)
    assert last_values(kept, "apps_up", "app", "org") == {("shop", "acme"): 3.0, ("worker", "acme"): float("inf")}
    assert last_values(kept, "up", "app") == {("shop",): 1.0}
    assert row.up is True
    assert clock.now_ms() - max(kept.batches[-1].samples.times_ms) >= 60_000


def test_a_query_that_fails_takes_nothing_from_the_others(fly: FakeFly, clock: FakeClock) -> None:
    fly.vectors["up"] = [({"__name__": "up"}, 1.0)]
    kept, (row,) = watching(fly, clock, queries=[{"query": "sum("}, {"query": "up"}])
    assert last_values(kept, "up") == {(): 1.0}
    assert (row.up, "HTTP 422" in row.error) == (False, True)


@pytest.mark.parametrize(
    ("data", "samples"),
    [
        ({"resultType": "vector", "result": [{"metric": {"__name__": "a"}, "value": [1, "x"]}, {"value": 1}, 5]}, 0),
        ({"resultType": "vector", "result": [{"metric": {"__name__": "bad name"}, "value": [1, "1"]}]}, 0),
        ({"resultType": "vector", "result": [{"metric": {"__name__": "a"}, "value": ["nan", "1"]}]}, 0),
        ({"resultType": "vector", "result": [{"metric": {"__name__": "a"}, "value": [1, "1"]}]}, 1),
        ({"resultType": "matrix", "result": []}, 0),
        (None, 0),
    ],
)
def test_rows_that_are_no_samples_are_left_out(fly: FakeFly, clock: FakeClock, data: Any, samples: int) -> None:
    fly.break_down(Failure(200, body=json.dumps({"status": "success", "data": data})), route="query")
    kept = Kept()
    run(run_for(5, settings(fly, queries=[{"query": "a"}]), kept, clock), clock)
    assert len(kept.samples) == samples


def test_federated_series_keep_their_times_and_are_copied_once(fly: FakeFly, clock: FakeClock) -> None:
    t_ms = clock.now_ms() - 5_000
    fly.federated = f'# TYPE up gauge\nup{{app="shop"}} 1 {t_ms}\n'

    async def happens() -> None:
        fly.federated = f'up{{app="shop"}} 0 {t_ms + 15_000}\n'

    selectors = ['up{app="shop"}', "fly_volume_used_pct"]
    kept, _ = watching(fly, clock, happens, federate=selectors)
    assert [(sample.t_ms, sample.value) for sample in kept.samples] == [(t_ms, 1.0), (t_ms + 15_000, 0.0)]
    asked = next(request.path for request in fly.requests)
    assert asked.endswith("/federate?match%5B%5D=up%7Bapp%3D%22shop%22%7D&match%5B%5D=fly_volume_used_pct")


def test_a_page_that_is_none_is_told_with_its_line(fly: FakeFly, clock: FakeClock) -> None:
    fly.federated = "<html>\n"
    _, (row,) = watching(fly, clock, federate=["up"])
    assert "federate: line 1" in row.error


@pytest.mark.parametrize(
    ("pasted", "sent"),
    [
        ("fm2_abc", "FlyV1 fm2_abc"),
        ("FlyV1 fm2_abc,fm2_def", "FlyV1 fm2_abc,fm2_def"),
        ("Bearer fm1r_abc", "FlyV1 fm1r_abc"),
        ("fo1_old, fm1a_x", "FlyV1 fm1a_x"),
        ("fo1_old", "Bearer fo1_old"),
        ("flyv1 fo1_old", "Bearer fo1_old"),
    ],
)
def test_a_token_is_sent_as_the_api_wants_it_however_it_was_pasted(pasted: str, sent: str) -> None:
    assert authorization(Secret(pasted)).reveal() == sent


EVERYTHING: dict[str, Any] = {
    "logs": "poll",
    "machines": True,
    "releases": "api",
    "volumes": True,
    "queries": [{"query": "up"}],
}


def down(rows: Sequence[TargetStatus]) -> set[str]:
    return {row.target for row in rows if row.up is False}


def test_a_wrong_token_is_one_alert_for_all_apis_and_each_is_asked_once(
    fly: FakeFly, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _, rows = watching(fly, clock, **EVERYTHING, token="fm2_wrong", apps=["shop"])
    assert down(rows) == {"token"}
    assert len(fly.requests) == 5
    assert len(caplog.records) == 1


def test_an_api_that_refuses_a_token_which_others_take_is_told_by_its_name(fly: FakeFly, clock: FakeClock) -> None:
    fly.vectors["up"] = []
    fly.write("shop", "hello")
    fly.break_down(Failure(401), route="machines")
    kept = Kept()
    rows = run(run_for(1000, settings(fly, **EVERYTHING, apps=["shop"]), kept, clock), clock)
    assert down(rows) == {"machines"}
    assert "hello" in [record.line for record in kept.records]


def test_a_token_that_ends_while_it_runs_becomes_one_alert_and_a_new_one_none(fly: FakeFly, clock: FakeClock) -> None:
    fly.vectors["up"] = []
    kept, rows = Kept(), []

    async def scenario() -> None:
        collector = KIND.build(settings(fly, **EVERYTHING, apps=["shop"]))
        feed = Feed("fly", kept, clock)
        task = asyncio.create_task(collector.run(feed))
        for token in ("fm2_other", TOKEN):
            await clock.sleep(200)
            fly.token = token
            await clock.sleep(1000)
            rows.append(down(feed.status()))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario(), clock)
    assert rows == [{"token"}, set()]


def test_requests_are_counted(fly: FakeFly, clock: FakeClock) -> None:
    labels = {"collector": "fly"}
    before = REGISTRY.get_sample_value("obskit_collector_requests_total", labels) or 0
    watching(fly, clock, volumes=True)
    assert REGISTRY.get_sample_value("obskit_collector_requests_total", labels) == before + len(fly.requests)


ALL = {"organization": "acme", "token": "fm2_x"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "give a `token`"),
        ({"token": "fm2_x"}, "give the `organization`"),
        ({"organization": "acme"}, "fly tokens create readonly"),
        ({**ALL, "logs": "push"}, "needs a `secret`"),
        ({**ALL, "secret": "x"}, "would be doubled"),
        ({**ALL, "machines": False, "releases": "machines"}, "needs machines: true"),
        ({"logs": "off", "machines": False, "releases": "off", "volumes": False, "incidents": False}, "switched off"),
        ({**ALL, "late": "0s"}, "greater than 0"),
        ({**ALL, "queries": [{"query": ""}]}, "at least 1 character"),
        ({"token": "fm2_x", "apps": ["a"], "machines": False, "volumes": False, "federate": ["up"]}, "federate"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        FlySettings.model_validate(config)


def test_an_apps_own_token_is_enough_for_its_logs_and_releases() -> None:
    FlySettings.model_validate({"token": "fm2_x", "apps": ["a"], "machines": False, "volumes": False})


def checks(fly: FakeFly, **config: Any) -> list[Check]:
    clock = FakeClock()
    everything = {"logs": "poll", "machines": True, "releases": "api", "volumes": True, "incidents": True}
    return list(run(KIND.doctor(settings(fly, **{**everything, **config}), clock), clock))


def test_the_doctor_looks_at_each_api(fly: FakeFly) -> None:
    fly.vectors["up"] = []
    found = checks(fly, federate=["up"])
    assert [check.what for check in found] == [
        "list of apps: 1",
        "logs of shop",
        "releases",
        "machines",
        "volumes",
        "managed Prometheus",
        "incidents",
    ]
    assert all(check.ok for check in found)


def test_the_doctor_names_the_command_that_makes_the_token(fly: FakeFly) -> None:
    found = {check.what.partition(":")[0]: check for check in checks(fly, token="fm2_wrong", apps=["shop"])}
    assert [name for name, check in found.items() if check.ok] == ["incidents"]
    assert found["logs of shop"].fix == "fly tokens create readonly acme, and put what it prints into `token`"
    assert "releases: machines" in found["releases"].fix
    assert "fm2_wrong" not in repr(found)


def test_the_doctor_tells_names_that_are_wrong_from_tokens(fly: FakeFly) -> None:
    found = checks(fly, organization="others", apps=["gone"])
    assert all("fly apps list" in check.fix for check in found if not check.ok)
    assert len([check for check in found if not check.ok]) == 4
    (apps,) = [check for check in checks(fly, organization="others") if check.what.startswith("list of apps")]
    assert not apps.ok


def test_the_doctor_says_where_the_shipper_pushes_to(fly: FakeFly) -> None:
    config = {"machines": False, "releases": "off", "volumes": False, "incidents": False}
    (check,) = checks(fly, logs="push", secret="s3cret-of-the-shipper", token=None, name="eu", **config)
    assert check.ok
    assert "/in/fly/eu" in check.what
    assert "s3cret" not in repr(check)
