"""The celery collector: a real worker on a real Redis beside `celery inspect`, and kombu's layout key by key."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from obskit.clock import Clock, SystemClock
from obskit.collect import Captured, Feed, Supervisor, find_kind
from obskit.collect.contract import Source
from obskit.errors import CollectorError
from obskit.testing.clock import FakeClock, run
from obskit_collectors.celery import CelerySettings
from obskit_collectors.celery_events import Events
from tests.collectors.jobs import Jobs
from tests.servers import RedisServer

NOW_MS = 1_700_000_000_000
SEP = "\x06\x16"
needs_redis = pytest.mark.server("redis-server")


def named(captured: Captured) -> dict[str, float]:
    return {str(sample.labels.without("job", "instance")): sample.value for sample in captured.samples}


def collect(clock: Clock | None = None, captured: Captured | None = None, **settings: Any) -> dict[str, float]:
    captured = captured if captured is not None else Captured()
    collector = find_kind("celery").build(CelerySettings(**{"events": False, **settings}))
    clock = clock or SystemClock()
    fake = clock if isinstance(clock, FakeClock) else None
    run(collector.once(Feed(collector.name, captured, clock)), fake, patience_s=60)
    return named(captured)


def depth(state: str, queue: str = "celery") -> str:
    return f'obskit_queue_messages{{queue="{queue}", state="{state}", system="celery"}}'


def bind(server: RedisServer, queue: str, exchange: str = "", prefix: str = "") -> None:
    server.command("SADD", f"{prefix}_kombu.binding.{exchange or queue}", f"{queue}{SEP}{SEP}{queue}")


def held(queue: str, exchange: str = "", **headers: Any) -> str:
    return json.dumps([{"headers": headers, "body": "x"}, exchange, queue])


@needs_redis
def test_a_worker_and_its_tasks_are_told_as_celery_inspect_tells_them(redis_server: RedisServer) -> None:
    jobs = Jobs("celery", redis_server.url)
    captured = Captured()
    settings = CelerySettings(url=redis_server.url, queues=["celery", "reports"], every="100ms")  # type: ignore[arg-type]
    sent, failed = 'celery_task_sent_total{hostname="gen@', 'celery_task_failed_total{exception="ValueError", '

    async def scenario() -> None:
        supervisor = Supervisor(captured, SystemClock())
        await supervisor.reload([Source("celery", settings)])
        await until(lambda: redis_server.command("PUBSUB", "NUMPAT") == "1")
        await asyncio.to_thread(jobs.fill)
        with jobs.working():
            await asyncio.to_thread(redis_server.command, "BLPOP", "started", "60")
            await until(lambda: named(captured).get('celery_worker_tasks_active{hostname="one@shop"}') == 1)
            await until(lambda: any(name.startswith(failed) for name in named(captured)))
            captured.batches.clear()
            await until(lambda: depth("in_flight", "reports") in named(captured))
            assert await asyncio.to_thread(jobs.look) == {"one@shop": ["shop.hold"]}
            await until(lambda: 'celery_worker_up{hostname="one@shop"}' in named(captured))
        await supervisor.stop()

    run(scenario())
    found = named(captured)
    assert found[depth("ready")] == 3
    assert found[depth("in_flight")] == 1
    assert found[depth("delayed")] == 0
    assert found[depth("ready", "reports")] == 1
    assert found['celery_queue_length{queue_name="celery"}'] == 3
    assert found['celery_worker_up{hostname="one@shop"}'] == 1
    assert sum(value for name, value in found.items() if name.startswith(sent)) == 7
    assert sum(value for name, value in found.items() if name.startswith(failed)) == 1
    assert found['obskit_queue_completed_total{queue="celery", system="celery"}'] == 1
    assert found['obskit_queue_failed_total{queue="celery", system="celery"}'] == 1
    assert "secret" not in repr(captured)


async def until(condition: Any) -> None:
    """Real processes are at work: look again until it holds. The test's own time-out ends what never does."""
    while not condition():
        await SystemClock().sleep(0.02)


@needs_redis
def test_priorities_are_lists_of_one_queue(redis_server: RedisServer) -> None:
    bind(redis_server, "celery")
    for key in ("celery", f"celery{SEP}3", f"celery{SEP}9", f"celery{SEP}9"):
        redis_server.command("LPUSH", key, "{}")
    found = collect(url=redis_server.url)
    assert found[depth("ready")] == 4
    assert found['celery_queue_length{queue_name="celery"}'] == 4


@needs_redis
def test_prefix_separator_and_database_are_followed(redis_server: RedisServer) -> None:
    redis_server.command("-n", "2", "SADD", "shop:_kombu.binding.mail", "mail:::mail")
    redis_server.command("-n", "2", "LPUSH", "shop:mail:5", "{}")
    redis_server.command("-n", "2", "HSET", "shop:held", "tag", held("mail"))
    layout = {"global_keyprefix": "shop:", "sep": ":", "priority_steps": [0, 5], "unacked_key": "held"}
    found = collect(url=redis_server.url[:-1] + "2", queues=["mail"], **layout)
    assert (found[depth("ready", "mail")], found[depth("in_flight", "mail")]) == (1, 1)


@needs_redis
def test_what_workers_hold_is_told_by_queue_and_what_waits_for_its_time_is_delayed(redis_server: RedisServer) -> None:
    bind(redis_server, "celery")
    redis_server.command("SADD", "_kombu.binding.work", f"key.mail{SEP}{SEP}mail")
    values = [
        held("celery"),
        held("celery", eta="2023-11-14T23:00:00+00:00"),
        held("key.mail", "work"),
        held("key.mail", "work", eta="2023-11-14T22:00:00+00:00"),
        held("somewhere"),
        "not json",
    ]
    for number, value in enumerate(values):
        redis_server.command("HSET", "unacked", str(number), value)
    found = collect(FakeClock(NOW_MS), url=redis_server.url, queues=["celery", "mail"])
    assert (found[depth("in_flight")], found[depth("delayed")]) == (1, 1)
    assert (found[depth("in_flight", "mail")], found[depth("delayed", "mail")]) == (2, 0)
    assert found[depth("in_flight", "*")] == 2


@needs_redis
def test_too_many_held_tasks_are_counted_together(redis_server: RedisServer) -> None:
    bind(redis_server, "celery")
    for number in range(201):
        redis_server.command("HSET", "unacked", str(number), held("celery"))
    found = collect(url=redis_server.url)
    assert found[depth("in_flight", "*")] == 201
    assert depth("in_flight") not in found


@needs_redis
def test_a_claim_older_than_the_visibility_timeout_is_stalled(redis_server: RedisServer) -> None:
    bind(redis_server, "celery")
    for age_s in (10, 3_650, 3_750):
        redis_server.command("ZADD", "unacked_index", str(NOW_MS / 1000 - age_s), f"tag-{age_s}")
    found = collect(FakeClock(NOW_MS), url=redis_server.url)
    assert found['obskit_queue_stalled_messages{queue="*", system="celery"}'] == 1


@needs_redis
def test_the_age_comes_from_the_header_that_sentry_writes(redis_server: RedisServer) -> None:
    bind(redis_server, "celery")
    for key, age_s in (("celery", 40), (f"celery{SEP}9", 90)):
        headers = {"sentry-task-enqueued-time": NOW_MS / 1000 - age_s}
        redis_server.command("LPUSH", key, json.dumps({"headers": headers}))
    found = collect(FakeClock(NOW_MS), url=redis_server.url)
    assert found['obskit_queue_oldest_age_seconds{method="payload", queue="celery", system="celery"}'] == 90


@needs_redis
def test_a_queue_that_nobody_declared_is_told_with_those_that_are_known_and_is_not_empty(
    redis_server: RedisServer,
) -> None:
    bind(redis_server, "mail", exchange="shop")
    captured = Captured()
    with pytest.raises(CollectorError, match=r"queue celery: no worker has declared it .*; known: mail") as raised:
        collect(captured=captured, url=redis_server.url, queues=["celery", "mail"])
    assert raised.value.reason == "bad_data"
    found = named(captured)
    assert found['celery_queue_bound{queue_name="mail"}'] == 1
    assert found[depth("ready", "mail")] == 0
    assert depth("ready") not in found


@needs_redis
def test_a_binding_that_is_lost_is_told(redis_server: RedisServer) -> None:
    bind(redis_server, "celery")
    captured = Captured()
    collector = find_kind("celery").build(CelerySettings(url=redis_server.url, events=False))  # type: ignore[arg-type]

    async def scenario() -> None:
        feed = Feed("celery", captured, SystemClock())
        await collector.once(feed)
        redis_server.command("FLUSHDB")
        await collector.once(feed)

    run(scenario())
    bound = [sample.value for sample in captured.samples if sample.labels["__name__"] == "celery_queue_bound"]
    assert bound == [1, 0]


@needs_redis
def test_a_user_who_may_not_search_sees_queues_all_the_same(redis_server: RedisServer) -> None:
    redis_server.command("ACL", "SETUSER", "reader", "on", ">pass", "~*", "+@read", "-scan")
    redis_server.command("LPUSH", "celery", "{}")
    found = collect(url=redis_server.url.replace("://", "://reader:pass@"))
    assert found[depth("ready")] == 1
    assert not [name for name in found if name.startswith("celery_queue_bound")]


def event(kind: str, at: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"type": kind, "hostname": "one@shop", "uuid": "u1", "timestamp": at, **more}


def message(*events: dict[str, Any]) -> str:
    body = events[0] if len(events) == 1 else list(events)
    return json.dumps({"body": base64.b64encode(json.dumps(body).encode()).decode(), "headers": {}})


def told(events: Events, now_ms: int = NOW_MS, connected_ms: int = NOW_MS) -> dict[str, float]:
    return {
        name + "".join(f" {value}" for value in labels.values()): value
        for name, labels, value in events.readings(now_ms, connected_ms)
    }


def test_a_task_is_followed_from_sending_to_its_end() -> None:
    events = Events()
    events.take(message(event("task-sent", 100, hostname="gen77@web", name="shop.pay", queue="mail")), NOW_MS)
    events.take(message(event("task-received", 103, name="shop.pay"), event("task-started", 104)), NOW_MS)
    events.take(message(event("task-succeeded", 106, runtime=1.7, result="secret")), NOW_MS)
    found = told(events)
    assert found["celery_task_sent_total shop.pay gen@web mail"] == 1
    assert found["celery_task_started_total shop.pay one@shop mail"] == 1
    assert found["celery_task_succeeded_total shop.pay one@shop mail"] == 1
    assert found["celery_task_queue_wait_time_sum shop.pay one@shop mail"] == 4
    assert found["celery_task_queue_wait_time_bucket shop.pay one@shop mail 2.5"] == 0
    assert found["celery_task_queue_wait_time_bucket shop.pay one@shop mail 5.0"] == 1
    assert found["celery_task_runtime_bucket shop.pay one@shop mail +Inf"] == 1
    assert found["obskit_queue_completed_total celery mail"] == 1
    assert not [name for name in found if "secret" in name]


def test_an_exception_is_told_by_its_class() -> None:
    events = Events()
    events.take(message(event("task-received", name="shop.pay"), event("task-failed", exception="KeyError('4111')")), 0)
    assert told(events)["celery_task_failed_total shop.pay one@shop  KeyError"] == 1


def test_a_task_without_a_queue_in_its_events_belongs_to_the_only_one() -> None:
    events = Events(only_queue="celery")
    events.take(message(event("task-received", name="shop.pay"), event("task-succeeded")), 0)
    assert told(events)["obskit_queue_completed_total celery celery"] == 1


def test_a_worker_is_down_when_it_falls_silent_and_forgotten_after_an_hour() -> None:
    events = Events()
    events.take(message(event("worker-heartbeat", active=3)), NOW_MS)
    assert told(events, NOW_MS + 60_000) == {"celery_worker_up one@shop": 1, "celery_worker_tasks_active one@shop": 3}
    assert told(events, NOW_MS + 61_000) == {"celery_worker_up one@shop": 0}
    assert told(events, NOW_MS + 3_601_000) == {}


def test_a_worker_is_not_down_because_we_did_not_listen() -> None:
    events = Events()
    events.take(message(event("worker-heartbeat")), NOW_MS)
    assert told(events, NOW_MS + 600_000, connected_ms=NOW_MS + 590_000) == {"celery_worker_up one@shop": 1}


def test_a_worker_that_says_goodbye_is_not_down() -> None:
    events = Events()
    events.take(message(event("worker-online")), NOW_MS)
    events.take(message(event("worker-offline")), NOW_MS)
    assert told(events, NOW_MS + 100_000) == {}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        '{"body": 5}',
        '{"body": "bm90IGpzb24="}',
        message(5),  # type: ignore[arg-type]
        "[" * 100_000,
        '{"body": "' + base64.b64encode(b"[" * 100_000).decode() + '"}',
    ],
)
def test_what_is_no_event_is_counted_and_forgotten(said: str) -> None:
    events = Events()
    events.take(said, NOW_MS)
    assert told(events) == {}
    assert events.dropped == 1


def test_events_of_kinds_that_nobody_knows_are_left_alone() -> None:
    events = Events()
    events.take(message(event("task-teleported"), event("moon-landed"), event("task-started", "soon")), NOW_MS)  # type: ignore[arg-type]
    assert set(told(events)) == {"celery_task_started_total  one@shop "}


def test_names_without_end_fill_no_memory() -> None:
    events = Events()
    for number in range(12_000):
        uuid, name = f"u{number}", f"task for user {number}"
        events.take(
            message(event("task-sent", uuid=uuid, name=name, queue="q"), event("worker-online", hostname=name)), 0
        )
    assert len(told(events)) <= 2_600
    assert events.dropped > 20_000
    assert len(events._tasks) <= 10_000


@needs_redis
def test_a_server_that_comes_back_is_listened_to_again(redis_server: RedisServer) -> None:
    captured = Captured()
    settings = CelerySettings(url=redis_server.url, every="100ms")  # type: ignore[arg-type]
    bind(redis_server, "celery")

    def up() -> bool:
        redis_server.command("PUBLISH", "/0.celeryev/worker.heartbeat", message(event("worker-heartbeat")))
        return 'celery_worker_up{hostname="one@shop"}' in named(captured)

    async def scenario() -> None:
        supervisor = Supervisor(captured, SystemClock())
        await supervisor.reload([Source("celery", settings)])
        await until(up)
        redis_server.stop()
        await until(lambda: any(not row.up for row in supervisor.status() if row.target.endswith("events")))
        redis_server.start()
        captured.batches.clear()
        await until(up)
        await supervisor.stop()

    run(scenario())


@needs_redis
def test_the_first_increment_of_a_counter_counts(redis_server: RedisServer) -> None:
    captured = Captured()
    settings = CelerySettings(url=redis_server.url, every="50ms")  # type: ignore[arg-type]

    def counted() -> list[Any]:
        return [sample for sample in captured.samples if sample.labels["__name__"] == "celery_task_sent_total"]

    async def scenario() -> None:
        supervisor = Supervisor(captured, SystemClock())
        await supervisor.reload([Source("celery", settings)])
        await until(lambda: redis_server.command("PUBSUB", "NUMPAT") == "1")
        redis_server.command("PUBLISH", "/0.celeryev/task.sent", message(event("task-sent", name="a", queue="q")))
        await until(lambda: len(counted()) > 1)
        await supervisor.stop()

    run(scenario())
    first, second = counted()[:2]
    assert 0 < first.start_ms <= first.t_ms
    assert second.start_ms == 0


@pytest.mark.parametrize(
    "settings", [{}, {"url": "redis://h/0", "rabbitmq": {"url": "http://h:15672", "password": "x"}}]
)
def test_a_broker_is_needed_and_only_one(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one of them"):
        CelerySettings(**settings)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Failures are logged on purpose here."""
    with caplog.at_level("ERROR"):
        yield
