from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from obskit.testing.clock import FakeClock
from obskit.testing.cloudflare import ACCOUNT, TOKEN, FakeCloudflare
from obskit.testing.cloudflare_products import FakeGateway, FakeQueues, FakeR2, FakeWorkers, notification


@pytest.fixture
def cloudflare() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(FakeClock()) as server:
        yield server


def get(server: FakeCloudflare, path: str) -> tuple[int, Any]:
    url = f"{server.url}/accounts/{ACCOUNT}{path}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_queues_come_in_pages_with_their_consumers(cloudflare: FakeCloudflare) -> None:
    queues = FakeQueues(cloudflare)
    for number in range(3):
        queues.add(f"q{number}", dead_letters="dead")
    status, said = get(cloudflare, "/queues?page=2&per_page=2")
    assert status == 200
    assert [row["queue_name"] for row in said["result"]] == ["q2"]
    assert said["result"][0]["consumers"][0]["dead_letter_queue"] == "dead"
    assert said["result_info"]["total_count"] == 3


def test_a_queue_that_is_not_there_has_the_code_of_the_service(cloudflare: FakeCloudflare) -> None:
    FakeQueues(cloudflare)
    status, said = get(cloudflare, "/queues/none/metrics")
    assert (status, said["errors"][0]["code"]) == (404, 10104)


def test_logs_are_filtered_by_time_and_sorted(cloudflare: FakeCloudflare) -> None:
    gateway = FakeGateway(cloudflare)
    for second in (3, 1, 2):
        gateway.add("agents", f"2026-10-02T08:00:0{second}Z")
    filters = '[{"key":"created_at","operator":"gt","value":["2026-10-02T08:00:01Z"]}]'.replace('"', "%22")
    path = f"/ai-gateway/gateways/agents/logs?order_by=created_at&order_by_direction=asc&filters={filters}"
    _, said = get(cloudflare, path)
    assert [row["created_at"][-3:] for row in said["result"]] == ["02Z", "03Z"]
    assert said["result"][0]["metadata"] == '{"tenant":"acme"}'


def test_the_newest_deployment_is_the_first(cloudflare: FakeCloudflare) -> None:
    workers = FakeWorkers(cloudflare)
    workers.deploy("shop", "2026-10-01T08:00:00Z", "v1")
    workers.deploy("shop", "2026-10-02T08:00:00Z", "v2")
    _, said = get(cloudflare, "/workers/scripts/shop/deployments")
    assert [row["versions"][0]["version_id"] for row in said["result"]["deployments"]] == ["v2", "v1"]


@pytest.mark.parametrize(
    ("fake", "path"),
    [
        (FakeQueues, "/queues"),
        (FakeR2, "/r2/metrics"),
        (FakeGateway, "/ai-gateway/gateways"),
        (FakeWorkers, "/workers/scripts"),
    ],
)
def test_each_wants_its_permission(cloudflare: FakeCloudflare, fake: Any, path: str) -> None:
    fake(cloudflare)
    assert get(cloudflare, path)[0] == 200
    cloudflare.permissions = frozenset({"Other Read"})
    status, said = get(cloudflare, path)
    assert (status, said["success"], said["errors"][0]["code"]) == (403, False, 10000)


def test_the_test_of_a_destination_holds_nothing_but_text() -> None:
    assert set(notification()) == {"text"}
    assert notification("END")["alert_event"] == "ALERT_STATE_EVENT_END"
