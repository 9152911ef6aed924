from __future__ import annotations

import gzip
import json
import random
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from obskit.clock import NS_PER_S
from obskit.testing.clock import FakeClock
from obskit.testing.fly import ORGANIZATION, TOKEN, FakeFly, shipped, storm
from obskit.testing.http import Failure

LOGS = "/api/v1/apps/shop/logs"
MACHINES = f"/v1/orgs/{ORGANIZATION}/machines"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fly(clock: FakeClock) -> Iterator[FakeFly]:
    with FakeFly(clock) as server:
        server.app("shop")
        yield server


def get(
    fly: FakeFly, path: str, authorization: str = f"FlyV1 {TOKEN}", *, text: bool = False, raw: bool = False
) -> tuple[int, Any]:
    request = urllib.request.Request(fly.url + path, headers={"Authorization": authorization})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            body = answer.read()
            if raw:
                return answer.status, body
            return answer.status, body.decode() if text else json.loads(body)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def messages(answer: Any) -> list[str]:
    return [entry["attributes"]["message"] for entry in answer["data"]]


def test_pages_hold_a_hundred_lines_after_the_cursor_oldest_first(fly: FakeFly, clock: FakeClock) -> None:
    begin_ns = clock.now_ns()
    for number in range(150):
        fly.write("shop", str(number), t_ns=begin_ns + number)
    _, first = get(fly, f"{LOGS}?next_token={begin_ns - 1}")
    assert messages(first) == [str(number) for number in range(100)]
    _, second = get(fly, f"{LOGS}?next_token={first['meta']['next_token']}")
    assert messages(second) == [str(number) for number in range(100, 150)]
    _, none = get(fly, f"{LOGS}?next_token={second['meta']['next_token']}")
    assert (none["data"], none["meta"]) == ([], second["meta"])


def test_without_a_cursor_the_newest_hundred_of_a_day_come(fly: FakeFly, clock: FakeClock) -> None:
    fly.write("shop", "old", t_ns=clock.now_ns() - 2 * 86_400 * NS_PER_S)
    for number in range(120):
        fly.write("shop", str(number))
    assert messages(get(fly, f"{LOGS}?next_token=")[1]) == [str(number) for number in range(20, 120)]


def test_a_late_line_lies_where_its_time_is_and_what_is_too_old_is_gone(fly: FakeFly, clock: FakeClock) -> None:
    now_ns = clock.now_ns()
    fly.write("shop", "gone", t_ns=now_ns - 8 * 86_400 * NS_PER_S)
    fly.write("shop", "now")
    fly.write("shop", "late", t_ns=now_ns - NS_PER_S, id="same")
    fly.write("shop", "late", t_ns=now_ns - NS_PER_S, id="same")
    assert messages(get(fly, f"{LOGS}?next_token=1")[1]) == ["late", "late", "now"]
    assert messages(get(fly, f"{LOGS}?next_token={now_ns - NS_PER_S}")[1]) == ["now"]


def test_its_cursor_is_text_or_on_demand_a_number_beyond_what_javascript_keeps(fly: FakeFly, clock: FakeClock) -> None:
    fly.write("shop", "x")
    assert get(fly, f"{LOGS}?next_token=1")[1]["meta"]["next_token"] == str(clock.now_ns())
    fly.numeric_cursor = True
    assert get(fly, f"{LOGS}?next_token=1")[1]["meta"]["next_token"] == clock.now_ns()


@pytest.mark.parametrize(
    ("path", "authorization", "status"),
    [
        (LOGS, f"Bearer {TOKEN}", 401),
        (LOGS, "FlyV1 other", 401),
        (MACHINES, f"Bearer {TOKEN}", 200),
        (f"/prometheus/{ORGANIZATION}/api/v1/query?query=up", f"Bearer {TOKEN}", 401),
        ("/v1/incidents", "", 200),
        ("/api/v1/apps/other/logs", f"FlyV1 {TOKEN}", 404),
        ("/api/v1/apps/foreign/logs", f"FlyV1 {TOKEN}", 403),
        ("/v1/orgs/others/machines", f"FlyV1 {TOKEN}", 403),
        ("/v1/apps?org_slug=others", f"FlyV1 {TOKEN}", 404),
        ("/v1/apps/other/machines", f"FlyV1 {TOKEN}", 404),
        ("/v1/apps/shop/machines/other/events", f"FlyV1 {TOKEN}", 404),
        ("/api/v1/apps/other/releases", f"FlyV1 {TOKEN}", 404),
        (f"/prometheus/{ORGANIZATION}/api/v1/query?query=(", f"FlyV1 {TOKEN}", 422),
        ("/elsewhere", f"FlyV1 {TOKEN}", 404),
    ],
)
def test_each_api_has_its_scheme_and_its_refusals(fly: FakeFly, path: str, authorization: str, status: int) -> None:
    fly.elsewhere.add("foreign")
    assert get(fly, path, authorization)[0] == status


def test_an_app_is_listed_until_it_is_deleted(fly: FakeFly) -> None:
    fly.machine("shop", "m1")
    assert [app["name"] for app in get(fly, f"/v1/apps?org_slug={ORGANIZATION}")[1]["apps"]] == ["shop"]
    fly.delete("shop")
    assert get(fly, f"/v1/apps?org_slug={ORGANIZATION}")[1]["apps"] == []
    assert (get(fly, LOGS)[0], fly.machines) == (404, {})


def test_the_listing_of_all_machines_has_pages_regions_and_a_beginning(fly: FakeFly, clock: FakeClock) -> None:
    fly.machines_page = 2
    for number in range(3):
        fly.machine("shop", f"m{number}")
    first = get(fly, MACHINES)[1]
    second = get(fly, f"{MACHINES}?cursor={first['next_cursor']}")[1]
    assert [one["id"] for one in first["machines"] + second["machines"]] == ["m0", "m1", "m2"]
    assert (second["next_cursor"], "events" in first["machines"][0]) == ("", False)
    before = fly.rfc3339()
    clock.advance(60)
    fly.machine("shop", "m1", region="ams", state="destroyed")
    after = f"{MACHINES}?updated_after={before}"
    assert get(fly, after)[1]["machines"] == []
    assert [one["id"] for one in get(fly, f"{after}&include_deleted=true")[1]["machines"]] == ["m1"]
    fly.error_regions = ["ams"]
    assert get(fly, f"{after}&include_deleted=true")[1] == {"machines": [], "next_cursor": "", "error_regions": ["ams"]}


def test_events_are_newest_first_a_few_with_the_machine_and_all_on_request(fly: FakeFly) -> None:
    fly.machine("shop", "m1")
    for _ in range(6):
        fly.event("m1", "start")
    fly.exit("m1", exit_code=0, oom_killed=True, restart_count=2)
    fly.exit("m1", monitor=True, exit_code=1)
    (machine,) = get(fly, "/v1/apps/shop/machines")[1]
    assert [event["type"] for event in machine["events"]] == ["exit", "exit", "start", "start", "start"]
    assert machine["events"][0]["request"] == {"MonitorEvent": {"exit_event": {"exit_code": 1}}}
    assert machine["events"][1]["request"] == {"exit_event": {"oom_killed": True}, "restart_count": 2}
    assert len(get(fly, "/v1/apps/shop/machines/m1/events")[1]) == 8


def test_releases_volumes_incidents_and_prometheus_say_what_they_were_told(fly: FakeFly) -> None:
    fly.release("shop", 1)
    fly.release("shop", 2, status="running")
    fly.release("shop", 2)
    fly.volumes = [{"id": "vol_1"}]
    fly.incidents = [{"id": "i1"}]
    fly.vectors["up"] = [({"app": "shop"}, 1.0)]
    fly.federated = "up 1\n"
    found = get(fly, "/api/v1/apps/shop/releases?limit=5")[1]["releases"]
    assert [(one["version"], one["in_progress"]) for one in found] == [(2, False), (1, False)]
    assert get(fly, f"/v1/orgs/{ORGANIZATION}/volumes")[1] == fly.volumes
    assert get(fly, "/v1/incidents")[1] == {"incidents": fly.incidents}
    answer = get(fly, f"/prometheus/{ORGANIZATION}/api/v1/query?query=up&time=5")[1]
    assert answer["data"]["result"] == [{"metric": {"app": "shop"}, "value": [5.0, "1.0"]}]
    assert get(fly, f"/prometheus/{ORGANIZATION}/federate", text=True) == (200, "up 1\n")


def test_a_burst_is_limited_by_the_second(fly: FakeFly, clock: FakeClock) -> None:
    fly.burst = 2
    assert [get(fly, LOGS)[0] for _ in range(3)] == [200, 200, 429]
    clock.advance(1)
    assert get(fly, LOGS)[0] == 200


def test_a_bomb_is_small_until_it_is_unpacked(fly: FakeFly) -> None:
    fly.gzip_bomb = gzip.compress(bytes(1 << 25))
    assert len(gzip.decompress(get(fly, LOGS, raw=True)[1])) == 1 << 25


def test_planned_failures_are_by_api_and_speak_as_it_does(fly: FakeFly) -> None:
    fly.plan(Failure(502), route="logs")
    assert get(fly, MACHINES)[0] == 200
    assert get(fly, LOGS) == (502, {"error": "unknown", "status": "unknown"})


def test_unknown_fields_and_words_come_on_demand(fly: FakeFly) -> None:
    fly.unknown_fields = True
    fly.write("shop", "x")
    assert get(fly, f"{LOGS}?next_token=1")[1]["data"][0]["attributes"]["level"] == "splendid"
    assert fly.machine("shop", "m1")["host_status"] == "asleep"


def test_a_storm_has_late_lines_doubled_ones_and_equal_times(fly: FakeFly, clock: FakeClock) -> None:
    texts = [str(number) for number in range(300)]
    storm(fly, "shop", texts, random.Random(1))
    fly.page_size = 1000
    entries = get(fly, f"{LOGS}?next_token=1")[1]["data"]
    told = [(entry["attributes"]["timestamp"], entry["id"]) for entry in entries]
    assert {text for _, text in told} == set(texts)
    assert len(told) > len(set(told)) == 300
    assert len({time for time, _ in told}) < 100
    assert max(told)[0].startswith(fly.rfc3339()[:19])
    assert get(fly, f"{LOGS}?next_token={clock.now_ns() - NS_PER_S}")[1]["data"] != entries


def test_a_shipped_line_has_a_time_in_nanoseconds() -> None:
    line = shipped("shop", "hello", 1_700_000_000 * NS_PER_S + 118_402_311)
    assert line["timestamp"] == "2023-11-14T22:13:20.118402311Z"
    assert line["fly"]["app"]["name"] == "shop"
