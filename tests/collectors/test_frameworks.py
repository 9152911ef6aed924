"""Task queues over Redis: numbers beside the frameworks' own, with real workers that hold real jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from obskit.clock import Clock, SystemClock
from obskit.collect import Captured, Feed, find_kind
from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit.testing.clock import FakeClock, run
from obskit_collectors.redis_readings import together
from tests.collectors.jobs import Jobs
from tests.servers import RedisServer

pytestmark = pytest.mark.server("redis-server")

RECORDED = json.loads((Path(__file__).parent / "data" / "bullmq.json").read_text())
"""What BullMQ 6.7 left in a Redis, and its own counts of it (apps/bullmq_record.mjs)."""


def collect(kind: str, clock: Clock | None = None, **settings: Any) -> dict[str, float]:
    captured = Captured()
    clock = clock or SystemClock()
    collector = find_kind(kind).build(find_kind(kind).settings(**settings))
    fake = clock if isinstance(clock, FakeClock) else None
    run(collector.once(Feed(collector.name, captured, clock)), fake, patience_s=60)
    return {str(sample.labels.without("job", "instance")): sample.value for sample in captured.samples}


def states(found: dict[str, float], system: str, queue: str) -> dict[str, float]:
    wanted = ("ready", "in_flight", "delayed", "dead")
    names = {s: f'obskit_queue_messages{{queue="{queue}", state="{s}", system="{system}"}}' for s in wanted}
    return {state: found[name] for state, name in names.items() if name in found}


def of(metric: str, system: str, queue: str, **more: str) -> str:
    return str(Labels({"__name__": metric, **more, "queue": queue, "system": system}))


AGE = "obskit_queue_oldest_age_seconds"


def test_rq_is_told_as_rq_itself_tells_it(redis_server: RedisServer) -> None:
    jobs = Jobs("rq", redis_server.url)
    jobs.fill()
    with jobs.working():
        redis_server.command("BLPOP", "started", "30")
        found = collect("rq", url=redis_server.url)
        queued, started, scheduled, deferred, failed, fine, bad, worker = jobs.look()
    assert (queued, started, scheduled, deferred, failed) == (3, 1, 1, 1, 1)
    assert states(found, "rq", "mail") == {"ready": 3, "in_flight": 1, "delayed": 2, "dead": 1}
    assert states(found, "rq", "idle") == {"ready": 1, "in_flight": 0, "delayed": 0, "dead": 0}
    assert found['rq_jobs{queue="mail", status="scheduled"}'] == scheduled
    assert found[of("obskit_queue_consumers", "rq", "mail")] == 1
    assert found[of("obskit_queue_consumers", "rq", "idle")] == 0
    assert found[of("obskit_queue_stalled_messages", "rq", "mail")] == 0
    assert 0 <= found[of(AGE, "rq", "mail", method="exact")] < 60
    assert found[f'rq_workers{{name="{worker}", queues="mail", state="busy"}}'] == 1
    assert found[f'rq_workers_success_total{{name="{worker}", queues="mail"}}'] == fine
    assert found[f'rq_workers_failed_total{{name="{worker}", queues="mail"}}'] == bad


def test_an_rq_job_whose_claim_has_run_out_is_stalled(redis_server: RedisServer) -> None:
    redis_server.command("ZADD", "rq:wip:mail", "1699999999", "job:1", "1700000060", "job:2")
    found = collect("rq", FakeClock(1_700_000_000_000), url=redis_server.url, queues=["mail"])
    assert found[of("obskit_queue_stalled_messages", "rq", "mail")] == 1
    assert states(found, "rq", "mail")["in_flight"] == 2


def test_arq_is_told_as_arq_itself_tells_it(redis_server: RedisServer) -> None:
    jobs = Jobs("arq", redis_server.url)
    jobs.fill()
    with jobs.working():
        for _ in range(2):
            redis_server.command("BLPOP", "started", "30")
        found = collect("arq", url=redis_server.url)
        assert jobs.look() == {"in_progress": 2, "queued": 3, "deferred": 1}
    assert states(found, "arq", "arq:queue") == {"ready": 3, "in_flight": 2, "delayed": 1}
    assert 0 <= found[of(AGE, "arq", "arq:queue", method="exact")] < 60


def test_arq_says_only_whether_any_worker_lives(redis_server: RedisServer) -> None:
    assert collect("arq", url=redis_server.url)[of("obskit_queue_consumers", "arq", "arq:queue")] == 0
    redis_server.command("SETEX", "arq:queue:health-check", "60", "Nov-20 11:38:14 j_complete=0 j_ongoing=2")
    assert collect("arq", url=redis_server.url)[of("obskit_queue_consumers", "arq", "arq:queue")] == 1


def test_dramatiq_is_told_as_dramatiq_itself_tells_it(redis_server: RedisServer) -> None:
    jobs = Jobs("dramatiq", redis_server.url)
    jobs.fill()
    with jobs.working():
        for key in ("nacked", "started"):
            redis_server.command("BLPOP", key, "30")
        found = collect("dramatiq", url=redis_server.url)
        in_broker, _, dead = jobs.look()
    told = states(found, "dramatiq", "default")
    assert told["ready"] + told["in_flight"] + told["delayed"] == in_broker == 8
    assert told["in_flight"] >= 1  # one runs; how many the worker fetches ahead is its own affair
    assert told["delayed"] == 1
    assert told["dead"] == dead == 1
    assert 0 <= found[of(AGE, "dramatiq", "default", method="exact")] < 60


def test_bullmq_is_told_as_bullmq_itself_tells_it(redis_server: RedisServer) -> None:
    for command in RECORDED["commands"]:
        redis_server.command(*command)
    found = collect("bullmq", FakeClock(RECORDED["now"]), url=redis_server.url, queues=["mail"])
    for state, count in RECORDED["counts"].items():
        assert found[f'bullmq_job_count{{queue="mail", state="{state}"}}'] == count
    assert states(found, "bullmq", "mail") == {"ready": 3, "in_flight": 1, "delayed": 1, "dead": 1}
    assert found['bullmq_job_completed_total{queue="mail"}'] == 2
    assert found[of("obskit_queue_failed_total", "bullmq", "mail")] == 1
    assert found[of("obskit_queue_stalled_messages", "bullmq", "mail")] == 0
    assert found[of(AGE, "bullmq", "mail", method="exact")] == pytest.approx(0.039)


def test_a_bullmq_job_that_lost_its_lock_is_stalled(redis_server: RedisServer) -> None:
    for command in RECORDED["commands"]:
        redis_server.command(*command)
    redis_server.command("DEL", "bull:mail:4:lock")
    found = collect("bullmq", url=redis_server.url, queues=["mail"])
    assert found[of("obskit_queue_stalled_messages", "bullmq", "mail")] == 1


def test_counters_that_nobody_keeps_are_left_out(redis_server: RedisServer) -> None:
    found = collect("bullmq", url=redis_server.url, queues=["mail"])
    assert of("obskit_queue_completed_total", "bullmq", "mail") not in found
    assert states(found, "bullmq", "mail") == {"ready": 0, "in_flight": 0, "delayed": 0, "dead": 0}


@pytest.mark.parametrize(("kind", "queue"), [("rq", "mail"), ("arq", "mail"), ("dramatiq", "mail"), ("bullmq", "mail")])
def test_an_empty_queue_counts_zero_and_has_no_age(redis_server: RedisServer, kind: str, queue: str) -> None:
    item = {"name": queue, "labels": {"tier": "pro"}}
    found = collect(kind, url=redis_server.url, queues=[item])
    named = f'queue="{queue}", state="ready", system="{kind}", tier="pro"'
    assert found[f"obskit_queue_messages{{{named}}}"] == 0
    assert found[of(AGE, kind, queue, method="exact", tier="pro")] == 0


def test_a_job_without_its_data_is_as_old_as_it_was_seen(redis_server: RedisServer) -> None:
    redis_server.command("RPUSH", "rq:queue:mail", "gone")
    found = collect("rq", url=redis_server.url, queues=["mail"])
    assert found[of(AGE, "rq", "mail", method="first_seen")] == 0


@pytest.mark.parametrize(
    ("kind", "key"),
    [("rq", "rq:queue:mail"), ("dramatiq", "dramatiq:mail"), ("arq", "mail"), ("bullmq", "bull:mail:wait")],
)
def test_a_key_of_another_type_is_told_and_makes_nothing_zero(redis_server: RedisServer, kind: str, key: str) -> None:
    redis_server.command("SET", key, "x")
    with pytest.raises(CollectorError, match="holds another type"):
        collect(kind, url=redis_server.url, queues=["mail"])


def test_talks_of_different_length_share_their_rounds() -> None:
    heard: list[object] = []

    def talk(name: str, rounds: int) -> Any:
        for number in range(rounds):
            replies = yield [(name, str(number))] if number != 1 else []
            heard.append(replies)

    rounds = []
    whole = together([talk("a", 1), talk("b", 3), talk("c", 0)])
    commands = next(whole)
    while True:
        rounds.append(list(commands))
        try:
            commands = whole.send([f"reply to {name}{number}" for name, number in commands])
        except StopIteration:
            break
    assert rounds == [[("a", "0"), ("b", "0")], [("b", "2")]]
    assert heard == [["reply to a0"], ["reply to b0"], [], ["reply to b2"]]
