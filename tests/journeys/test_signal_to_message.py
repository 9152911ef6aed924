"""The main job on real input: a queue fills, a service fails, a log tells of errors; people hear of it, and of its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, start_http_server

from tests.journeys.daemon import Watch, eventually, pause
from tests.journeys.receivers import Receivers
from tests.servers import RedisServer

RULES = {
    "groups": [
        {
            "name": "signals",
            "interval": "1s",
            "rules": [
                {
                    "alert": "QueueDeep",
                    "expr": 'obskit_queue_messages{queue="jobs",state="ready"} > 50',
                    "labels": {"severity": "warning"},
                    "annotations": {"summary": "{{ $labels.queue }} holds {{ $value }} jobs (limit 50)"},
                },
                {
                    "alert": "ApiErrors",
                    "expr": 'sum by (job) (increase(http_requests_total{status="500"}[6s])) > 5',
                    "labels": {"severity": "critical"},
                    "annotations": {"summary": "{{ $labels.job }} fails"},
                },
            ],
        },
        {
            "name": "logs",
            "type": "loki",
            "interval": "1s",
            "rules": [
                {
                    "alert": "ErrorsInLogs",
                    "expr": 'sum by (app) (count_over_time({app="web"} | json | level = "error" [6s])) > 2',
                    "labels": {"severity": "warning"},
                    "annotations": {"summary": "{{ $labels.app }} logged {{ $value }} errors"},
                }
            ],
        },
    ]
}

ALERTS = ("ErrorsInLogs", "ApiErrors", "QueueDeep")


class Service:
    """A service with prometheus_client's own server, and a JSON log."""

    def __init__(self, folder: Path) -> None:
        registry = CollectorRegistry()
        self.requests = Counter("http_requests_total", "Requests.", ["status"], registry=registry)
        self.requests.labels("200").inc()
        self.requests.labels("500").inc(0)
        self._server, self._thread = start_http_server(0, "127.0.0.1", registry=registry)
        self.target = f"127.0.0.1:{self._server.server_port}"
        self.log = folder / "web.log"
        self.write("info", "started")

    def write(self, level: str, message: str) -> None:
        """A line into its log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"level": level, "message": message}) + "\n")

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.close()


def three_signals(folder: Path, service: Service, redis: RedisServer, receivers: Receivers) -> dict[str, object]:
    (folder / "rules.yaml").write_text(json.dumps(RULES))
    return {
        "scrape_configs": [
            {"job_name": "web", "scrape_interval": "500ms", "static_configs": [{"targets": [service.target]}]}
        ],
        "collectors": [
            {"redis": {"url": redis.url, "lists": ["jobs"], "every": "500ms"}},
            {"file": {"paths": [str(service.log)], "labels": {"app": "web"}}},
        ],
        "rule_packs": [],
        "rule_files": ["rules.yaml"],
        **receivers.config(),
    }


@pytest.mark.server("redis-server")
def test_a_queue_a_service_and_a_log_become_messages_that_end_when_it_is_over(
    watch: Watch, service: Service, redis_server: RedisServer, receivers: Receivers
) -> None:
    watch.write(three_signals(watch.folder, service, redis_server, receivers))
    watch.start()
    pause(1.2)  # increase() needs a sample from before the errors

    redis_server.command("RPUSH", "jobs", *map(str, range(60)))
    service.requests.labels("500").inc(20)
    for number in range(5):
        service.write("error", f"boom {number}")
    assert eventually(lambda: all(receivers.all_say(alert, "firing") for alert in ALERTS)), told(receivers)
    posted = {body["groupLabels"]["alertname"]: body for body in receivers.hook.bodies}
    assert posted["QueueDeep"]["alerts"][0]["annotations"] == {"summary": "jobs holds 60 jobs (limit 50)"}

    redis_server.command("DEL", "jobs")
    assert eventually(lambda: all(receivers.all_say(alert, "resolved") for alert in ALERTS), 25), told(receivers)
    assert [incident.state for incident in receivers.pagerduty.incidents] == ["resolved"] * 3
    for alert in ALERTS:
        assert [body["status"] for body in receivers.posted(alert)] == ["firing", "resolved"]
        check_slack(receivers, alert)
    watch.stop()
    assert watch.messages("error") == []
    with watch.store() as store:
        assert store.read("SELECT DISTINCT state FROM outbox") == [("sent",)]


def told(receivers: Receivers) -> dict[str, dict[str, str]]:
    return {alert: receivers.states(alert) for alert in ALERTS}


def check_slack(receivers: Receivers, alert: str) -> None:
    """One message for the whole story, edited, and the end of it in its thread."""
    (root,) = receivers.roots(alert)
    assert root.edits == 1
    assert eventually(lambda: [one for one in receivers.slack.replies(root) if one.text.startswith("Resolved after")])
    # Before it only what is known around the alert: the course of its value, its last lines.
    assert len(receivers.slack.replies(root)) <= 2
