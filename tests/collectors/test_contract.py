"""What holds for every collector in the table. A new one adds its line to WORKING, and to UNREACHABLE if it has a target."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from obskit.collect import BUILT_IN, Captured, Feed, Source, Supervisor, find_kind, run_once
from obskit.errors import CollectorError
from obskit.model.settings import Settings
from obskit.model.telemetry import REGISTRY
from obskit.testing.clock import FakeClock, run

SECRET = "s3cret-which-nobody-may-see"
NOWHERE = "127.0.0.1:1"
"""Nothing listens on port 1: connections are refused at once."""

FLY = {
    "apps": ["shop"],
    "token": SECRET,
    "machines": False,
    "releases": "off",
    "volumes": False,
    "incidents": False,
    "api_url": f"http://{NOWHERE}",
}
"""Logs of one app alone: a collector with one target."""
HTTP_JSON: Any = {"url": f"http://{NOWHERE}/x", "gauges": [{"name": "x", "path": ".x"}]}
QUERY: Any = {"name": "x", "sql": "select 1 as x"}
SQS: Any = {
    "region": "eu-central-1",
    "queues": ["jobs"],
    "access_key": "AKIA",
    "secret_key": "x",
    "endpoint": f"http://{NOWHERE}",
    "age": False,
}
WORKING: dict[str, dict[str, Any]] = {
    "arq": {"url": f"redis://{NOWHERE}/0"},
    "bullmq": {"url": f"redis://{NOWHERE}/0", "queues": ["mail"]},
    "celery": {"url": f"redis://{NOWHERE}/0"},
    "cloudflare": {"account_id": "0" * 32, "token": "t", "url": f"http://{NOWHERE}/client/v4", "logs": {}},
    "dramatiq": {"url": f"redis://{NOWHERE}/0"},
    "file": {"paths": ["{folder}/*.log"], "start": "beginning"},
    "heartbeats": {"ping_key": "k" * 20, "checks": [{"name": "backup", "period": "1d"}]},
    "fly": FLY,
    "host": {},
    "obskit": {},
    "probes": {"http": [f"http://{NOWHERE}/"]},
    "postgres": {"url": f"postgresql://obskit@{NOWHERE}/shop"},
    "prometheus": {"job_name": "contract"},
    "rabbitmq": {"url": f"http://{NOWHERE}", "password": SECRET},
    "redis": {"url": f"redis://{NOWHERE}/0", "lists": ["queue"]},
    "http_json": HTTP_JSON,
    "sql": {"url": f"postgresql://u:x@{NOWHERE}/db", "queries": [QUERY]},
    "sqs": SQS,
    "rq": {"url": f"redis://{NOWHERE}/0"},
    "upstash": {"email": "me", "api_key": SECRET, "databases": ["a"], "api_url": f"http://{NOWHERE}"},
}
UNREACHABLE: dict[str, dict[str, Any]] = {
    "probes": {"http": [{"url": f"http://{NOWHERE}/?token={SECRET}", "headers": {"Authorization": SECRET}}]},
    "arq": {"url": f"redis://:{SECRET}@{NOWHERE}/0"},
    "bullmq": {"url": f"redis://:{SECRET}@{NOWHERE}/0", "queues": ["mail"]},
    "celery": {"url": f"redis://:{SECRET}@{NOWHERE}/0", "events": False},
    "cloudflare": {"account_id": "0" * 32, "token": SECRET, "url": f"http://{NOWHERE}/client/v4", "logs": {}},
    "dramatiq": {"url": f"redis://:{SECRET}@{NOWHERE}/0"},
    "fly": FLY,
    "postgres": {"url": f"postgresql://obskit:{SECRET}@{NOWHERE}/shop"},
    "prometheus": {
        "job_name": "contract",
        "static_configs": [{"targets": [NOWHERE]}],
        "authorization": {"credentials": SECRET},
        "params": {"token": [SECRET]},
    },
    "rabbitmq": {"url": f"http://{NOWHERE}", "password": SECRET, "nodes": False},
    "redis": {"url": f"redis://:{SECRET}@{NOWHERE}/0", "lists": ["queue"]},
    "http_json": {**HTTP_JSON, "headers": {"Authorization": SECRET}, "params": {"key": SECRET}},
    "sql": {"url": f"postgresql://u:{SECRET}@{NOWHERE}/db", "queries": [QUERY]},
    "sqs": {**SQS, "secret_key": SECRET, "session_token": SECRET},
    "rq": {"url": f"redis://:{SECRET}@{NOWHERE}/0"},
    "upstash": {"email": "me", "api_key": SECRET, "databases": ["a"], "every": "15s", "api_url": f"http://{NOWHERE}"},
}
ALWAYS_THERE = {"file", "heartbeats", "host", "obskit"}
"""They read this machine, or are pushed to: there is no target to be unreachable."""


def source(kind: str, settings: dict[str, Any], folder: Path | None = None) -> Source:
    given = {
        key: [item.format(folder=folder) for item in value] if key == "paths" else value
        for key, value in settings.items()
    }
    return Source(kind, find_kind(kind).settings(**given))


def test_every_collector_of_the_table_has_its_line_here() -> None:
    assert set(WORKING) == set(BUILT_IN)
    assert set(UNREACHABLE) | ALWAYS_THERE == set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_it_gives_settings_that_refuse_unknown_keys(name: str, tmp_path: Path) -> None:
    settings = source(name, WORKING[name], tmp_path).settings
    assert isinstance(settings, Settings)
    assert settings == source(name, WORKING[name], tmp_path).settings
    with pytest.raises(ValueError, match="no_such_key"):
        source(name, {**WORKING[name], "no_such_key": "x"}, tmp_path)


@pytest.mark.parametrize("name", BUILT_IN)
def test_its_collector_is_named_after_its_kind(name: str, tmp_path: Path) -> None:
    collector = find_kind(name).build(source(name, WORKING[name], tmp_path).settings)
    assert collector.name.partition("/")[0] == name


@pytest.mark.parametrize("name", sorted(ALWAYS_THERE))
def test_what_is_always_there_gives_something_once(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("one\ntwo\n")
    clock = FakeClock()
    captured = run(run_once(source(name, WORKING[name], tmp_path), clock), clock)
    assert captured.samples or captured.records


@pytest.mark.parametrize("name", BUILT_IN)
def test_it_stops_at_once_when_it_is_cancelled(name: str, tmp_path: Path) -> None:
    clock = FakeClock()
    collector = find_kind(name).build(source(name, WORKING[name], tmp_path).settings)

    async def scenario() -> set[asyncio.Task[Any]]:
        task = asyncio.create_task(collector.run(Feed(collector.name, Captured(), clock)))
        await clock.sleep(3)
        started = clock.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert clock.monotonic() - started < 1
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]  # there is a current task

    assert run(scenario(), clock) == set()


@pytest.mark.parametrize("name", UNREACHABLE)
def test_an_unreachable_target_is_an_error_with_a_reason_and_without_the_secret(name: str) -> None:
    clock = FakeClock()
    unreachable = source(name, UNREACHABLE[name])
    with pytest.raises(CollectorError) as caught:
        run(run_once(unreachable, clock), clock)
    assert caught.value.reason in CollectorError.REASONS
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize("name", UNREACHABLE)
def test_an_unreachable_target_is_down_in_the_books_and_in_the_log(name: str, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()

    async def scenario() -> None:
        supervisor = Supervisor(Captured(), clock)
        await supervisor.reload([source(name, UNREACHABLE[name])])
        await clock.sleep(100)
        (row,) = supervisor.status()
        labels = {"collector": row.collector, "target": row.target}
        counted = REGISTRY.get_sample_value("obskit_collector_calls_total", {**labels, "result": "network"})
        assert row.up is False
        assert counted is not None
        assert counted >= row.errors >= 2
        assert REGISTRY.get_sample_value("obskit_collector_up", labels) == 0
        assert SECRET not in repr(row)
        await supervisor.stop()

    with caplog.at_level(logging.DEBUG):
        run(scenario(), clock)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert SECRET not in caplog.text


@pytest.mark.parametrize("name", UNREACHABLE)
def test_the_doctor_of_an_unreachable_target_says_what_to_do(name: str) -> None:
    clock = FakeClock()
    checks = run(find_kind(name).doctor(source(name, UNREACHABLE[name]).settings, clock), clock)
    bad = [check for check in checks if not check.ok]
    assert bad
    assert all(check.fix for check in bad)
    assert SECRET not in repr(checks)


@pytest.mark.parametrize("name", UNREACHABLE)
def test_its_settings_do_not_print_the_secret(name: str) -> None:
    settings = {
        key: value for key, value in UNREACHABLE[name].items() if (name, key) != ("prometheus", "params")
    }  # no secret there
    assert SECRET not in repr(source(name, settings))
