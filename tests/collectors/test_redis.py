"""The redis collector against a real Redis, and against a REST server that runs every command on one."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.collect import Captured, Source, run_once
from obskit.collect.feed import Feed
from obskit.errors import CollectorError
from obskit.testing.clock import FakeClock, run
from obskit_collectors.redis import KIND, RedisSettings
from obskit_collectors.redis_readings import payload_time_ms
from tests.servers import RedisServer

pytestmark = pytest.mark.server("redis-server")


def collect(settings: dict[str, Any], clock: FakeClock | None = None) -> dict[str, float]:
    captured = run(run_once(Source("redis", RedisSettings.model_validate(settings)), clock or SystemClock()))
    return readings(captured)


def readings(captured: Captured) -> dict[str, float]:
    return {str(sample.labels.without("job", "instance")): sample.value for sample in captured.samples}


def messages(system: str, queue: str, state: str) -> str:
    return f'obskit_queue_messages{{queue="{queue}", state="{state}", system="{system}"}}'


def age(system: str, queue: str, method: str) -> str:
    return f'obskit_queue_oldest_age_seconds{{method="{method}", queue="{queue}", system="{system}"}}'


def test_a_list_filled_by_redis_cli_is_counted(redis_server: RedisServer) -> None:
    redis_server.command("LPUSH", "jobs", "a", "b", "c")
    redis_server.command("LPUSH", "jobs:dead", "x")
    found = collect(
        {"url": redis_server.url, "lists": [{"key": "jobs", "dead": "jobs:dead", "in_flight": "jobs:busy"}]}
    )
    assert found["redis_up"] == 1
    assert found[messages("redis_list", "jobs", "ready")] == 3
    assert found[messages("redis_list", "jobs", "dead")] == 1
    assert found[messages("redis_list", "jobs", "in_flight")] == 0
    assert found['redis_key_size{db="db0", key="jobs"}'] == 3
    assert found["redis_memory_used_bytes"] > 0
    assert found["redis_connected_clients"] >= 1


def test_an_empty_list_has_no_messages_and_no_age(redis_server: RedisServer) -> None:
    found = collect({"url": redis_server.url, "lists": ["jobs"]})
    assert found[messages("redis_list", "jobs", "ready")] == 0
    assert found[age("redis_list", "jobs", "first_seen")] == 0


def test_the_age_of_an_element_without_a_time_counts_from_when_it_was_first_seen(redis_server: RedisServer) -> None:
    redis_server.command("LPUSH", "jobs", "first", "second")
    clock = FakeClock()
    captured = Captured()
    collector = KIND.build(RedisSettings.model_validate({"url": redis_server.url, "lists": ["jobs"]}))

    async def scenario() -> None:
        feed = Feed("redis", captured, clock)
        await collector.once(feed)
        clock.advance(120)
        captured.batches.clear()
        await collector.once(feed)
        assert readings(captured)[age("redis_list", "jobs", "first_seen")] == pytest.approx(120)
        redis_server.command("RPOP", "jobs")
        captured.batches.clear()
        await collector.once(feed)
        assert readings(captured)[age("redis_list", "jobs", "first_seen")] == 0

    run(scenario(), clock, patience_s=60)


def test_the_age_comes_from_the_payload_when_it_has_a_time(redis_server: RedisServer) -> None:
    clock = FakeClock(1_700_000_000_000)
    redis_server.command("LPUSH", "jobs", json.dumps({"_obs": {"ts": 1_699_999_940}}))
    settings = {"url": redis_server.url, "lists": [{"key": "jobs", "time_field": "_obs.ts"}]}
    assert collect(settings, clock)[age("redis_list", "jobs", "payload")] == pytest.approx(60, abs=1)


@pytest.mark.parametrize(
    ("element", "path", "expected"),
    [
        ('{"t": 1700000000}', "t", 1_700_000_000_000),
        ('{"t": 1700000000123}', "t", 1_700_000_000_123),
        ('{"t": "2023-11-14T22:13:20Z"}', "t", 1_700_000_000_000),
        ('{"t": "2023-11-14T22:13:20"}', "t", 1_700_000_000_000),
        (base64.b64encode(b'{"a": {"t": 1700000000}}').decode(), "a.t", 1_700_000_000_000),
        ('{"t": "soon"}', "t", None),
        ('{"t": true}', "t", None),
        ("not json", "t", None),
        ("[1, 2]", "t", None),
        ('{"t": "inf"}', "t", None),
        ('{"t": 1' + "0" * 400 + "}", "t", None),
        ('{"t": ' + "[" * 60_000, "t", None),
    ],
)
def test_a_time_in_a_payload_may_be_written_in_many_ways(element: str, path: str, expected: float | None) -> None:
    assert payload_time_ms(element, path) == expected


def test_a_stream_is_told_by_group(redis_server: RedisServer) -> None:
    for _ in range(3):
        redis_server.command("XADD", "orders", "*", "id", "1")
    redis_server.command("XGROUP", "CREATE", "orders", "mail", "0")
    redis_server.command("XREADGROUP", "GROUP", "mail", "worker-1", "COUNT", "1", "STREAMS", "orders", ">")
    found = collect({"url": redis_server.url, "streams": ["orders"]})
    assert found[messages("redis_stream", "orders/mail", "ready")] == 2
    assert found[messages("redis_stream", "orders/mail", "in_flight")] == 1
    assert found['redis_stream_group_lag{db="db0", group="mail", stream="orders"}'] == 2
    assert found['obskit_queue_consumers{queue="orders/mail", system="redis_stream"}'] == 1
    assert found['redis_stream_length{db="db0", stream="orders"}'] == 3
    assert 0 <= found[age("redis_stream", "orders/mail", "exact")] < 30


def test_what_a_group_was_given_and_has_done_is_counted(redis_server: RedisServer) -> None:
    ids = [redis_server.command("XADD", "orders", "*", "id", "1") for _ in range(4)]
    redis_server.command("XGROUP", "CREATE", "orders", "mail", "0")
    redis_server.command("XREADGROUP", "GROUP", "mail", "worker-1", "COUNT", "3", "STREAMS", "orders", ">")
    redis_server.command("XACK", "orders", "mail", *ids[:2])
    found = collect({"url": redis_server.url, "streams": ["orders"]})
    labels = '{queue="orders/mail", system="redis_stream"}'
    assert found[f"obskit_queue_delivered_total{labels}"] == 3
    assert found[f"obskit_queue_completed_total{labels}"] == 2
    assert found['obskit_queue_enqueued_total{queue="orders", system="redis_stream"}'] == 4


def test_a_lag_that_redis_does_not_know_is_left_out_and_not_zero(redis_server: RedisServer) -> None:
    ids = [redis_server.command("XADD", "orders", "*", "id", "1") for _ in range(3)]
    redis_server.command("XGROUP", "CREATE", "orders", "mail", "0")
    redis_server.command("XDEL", "orders", ids[1])
    found = collect({"url": redis_server.url, "streams": ["orders"]})
    assert messages("redis_stream", "orders/mail", "ready") not in found
    assert found[messages("redis_stream", "orders/mail", "in_flight")] == 0


def test_a_stream_that_does_not_exist_yet_is_empty(redis_server: RedisServer) -> None:
    assert collect({"url": redis_server.url, "streams": ["orders"]})[messages("redis_stream", "orders", "ready")] == 0


def test_a_sorted_set_scored_by_time_is_due_or_delayed(redis_server: RedisServer) -> None:
    clock = FakeClock(1_700_000_000_000)
    redis_server.command("ZADD", "later", "1699999990", "a", "1700000100", "b", "1700000200", "c")
    found = collect({"url": redis_server.url, "sorted_sets": [{"key": "later", "scores": "time"}]}, clock)
    assert found[messages("redis_zset", "later", "ready")] == 1
    assert found[messages("redis_zset", "later", "delayed")] == 2
    assert found[age("redis_zset", "later", "exact")] == pytest.approx(10)


def test_a_sorted_set_has_companions_for_what_is_taken_and_what_is_dead(redis_server: RedisServer) -> None:
    redis_server.command("ZADD", "jobs", "5", "a", "1", "b")
    redis_server.command("ZADD", "jobs:taken", "1", "c")
    redis_server.command("ZADD", "jobs:dead", "1", "d", "2", "e", "3", "f")
    item = {"key": "jobs", "in_flight": "jobs:taken", "dead": "jobs:dead"}
    found = collect({"url": redis_server.url, "sorted_sets": [item]})
    assert [found[messages("redis_zset", "jobs", state)] for state in ("ready", "in_flight", "dead")] == [2, 1, 3]


def test_a_score_of_zero_is_due_since_nobody_knows_when(redis_server: RedisServer) -> None:
    redis_server.command("ZADD", "later", "0", "a", "9999999999", "b")
    found = collect({"url": redis_server.url, "sorted_sets": [{"key": "later", "scores": "time"}]})
    assert found[messages("redis_zset", "later", "ready")] == 1
    assert found[messages("redis_zset", "later", "delayed")] == 1
    assert age("redis_zset", "later", "exact") not in found


def test_a_key_of_another_type_is_told_and_the_others_are_read(redis_server: RedisServer) -> None:
    redis_server.command("SADD", "tags", "x")
    redis_server.command("LPUSH", "jobs", "a")
    captured = Captured()
    collector = KIND.build(RedisSettings.model_validate({"url": redis_server.url, "lists": ["tags", "jobs"]}))
    with pytest.raises(CollectorError, match="list tags: the key holds another type") as raised:
        run(collector.once(Feed("redis", captured, SystemClock())))
    assert raised.value.reason == "bad_data"
    assert readings(captured)[messages("redis_list", "jobs", "ready")] == 1


def test_a_wrong_password_is_told_without_the_password(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, password="right")
    try:
        for url in (f"redis://:wr0ng@127.0.0.1:{server.port}/0", f"redis://127.0.0.1:{server.port}/0"):
            with pytest.raises(CollectorError) as raised:
                collect({"url": url, "lists": ["jobs"]})
            assert raised.value.reason == "auth"
            assert "wr0ng" not in str(raised.value)
        assert collect({"url": server.url, "lists": ["jobs"]})["redis_up"] == 1
    finally:
        server.stop()


def test_a_server_that_is_down_is_unknown_and_not_empty(redis_server: RedisServer) -> None:
    redis_server.stop()
    captured = Captured()
    collector = KIND.build(RedisSettings.model_validate({"url": redis_server.url, "lists": ["jobs"]}))
    with pytest.raises(CollectorError) as raised:
        run(collector.once(Feed("redis", captured, SystemClock())))
    assert raised.value.reason == "network"
    assert readings(captured) == {"redis_up": 0}


def test_it_goes_on_after_the_server_came_back(redis_server: RedisServer) -> None:
    captured = Captured()
    collector = KIND.build(RedisSettings.model_validate({"url": redis_server.url, "lists": ["jobs"]}))

    async def scenario() -> None:
        feed = Feed("redis", captured, SystemClock())
        await collector.once(feed)
        redis_server.stop()
        with pytest.raises(CollectorError):
            await collector.once(feed)
        redis_server.start()
        captured.batches.clear()
        await collector.once(feed)

    run(scenario())
    assert readings(captured)["redis_up"] == 1


def test_the_url_is_never_printed() -> None:
    settings = RedisSettings.model_validate({"url": "redis://:s3cret@host:1/2", "lists": ["jobs"]})
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump_json()} {settings.address.shown}"


@pytest.mark.parametrize("url", ["localhost:6379", "http", "redis://", "redis://h:port/0", "redis://h:1/jobs"])
def test_a_url_that_cannot_be_used_is_refused_with_the_form_it_should_have(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        RedisSettings.model_validate({"url": url})


class _Rest(BaseHTTPRequestHandler):
    """Upstash's REST as its documentation describes it: bearer token, /pipeline, one item may fail alone."""

    token = "t0ken"
    redis: RedisServer
    refuse: tuple[int, dict[str, str]] | None = None

    def do_POST(self) -> None:
        commands = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {self.token}":
            self._answer(401, {"error": "WRONGPASS invalid or missing auth token"})
        elif self.refuse:
            self._answer(*self.refuse)
        else:
            self._answer(200, [self._run(command) for command in commands])

    def _run(self, command: list[str]) -> dict[str, Any]:
        script = "return redis.pcall(unpack(ARGV))" if command[0] != "XINFO" else None
        run = ["redis-cli", "--json", "-p", str(self.redis.port)]
        words = ["EVAL", script, "0", *command] if script else command
        done = subprocess.run([*run, *words], capture_output=True, text=True, check=True).stdout.strip()
        try:
            return {"result": json.loads(done)}
        except ValueError:
            return {"error": done.removeprefix("(error) ")}

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def rest_url(redis_server: RedisServer) -> Iterator[str]:
    _Rest.redis = redis_server
    _Rest.refuse = None
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Rest)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_same_config_reads_over_rest(redis_server: RedisServer, rest_url: str) -> None:
    redis_server.command("LPUSH", "jobs", "a", "b")
    found = collect({"url": rest_url, "token": "t0ken", "lists": ["jobs"]})
    assert found["redis_up"] == 1
    assert found[messages("redis_list", "jobs", "ready")] == 2
    assert "redis_memory_used_bytes" not in found


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (
            400,
            {"error": "ERR max requests limit exceeded. Limit: 500000, Usage: 500000. See https://x"},
            "rate_limited",
        ),
        (429, {"error": "slow down"}, "rate_limited"),
        (503, {"error": "later"}, "server"),
    ],
)
def test_a_refusal_over_rest_has_its_reason(rest_url: str, status: int, answer: dict[str, str], reason: str) -> None:
    _Rest.refuse = (status, answer)
    with pytest.raises(CollectorError) as raised:
        collect({"url": rest_url, "token": "t0ken", "lists": ["jobs"]})
    assert raised.value.reason == reason


def test_a_wrong_token_over_rest_is_told_without_the_token(rest_url: str) -> None:
    with pytest.raises(CollectorError) as raised:
        collect({"url": rest_url, "token": "n0pe", "lists": ["jobs"]})
    assert raised.value.reason == "auth"
    assert "n0pe" not in str(raised.value)


def test_a_budget_of_commands_is_kept_and_its_price_told(redis_server: RedisServer, rest_url: str) -> None:
    _Rest.redis = redis_server
    budget = {"commands_per_month": 100_000, "commands_per_day": 1_000}
    settings = RedisSettings.model_validate({"url": rest_url, "token": "t0ken", "lists": ["a", "b"], **budget})
    assert settings.pause_s(4) == pytest.approx(max(4 * 30 * 86400 / 100_000, 4 * 86400 / 1_000))
    assert settings.price(100_000) == pytest.approx(0.2)
    assert RedisSettings.model_validate({"url": redis_server.url, "lists": ["a"]}).price(100_000) == 0
    checks = run(KIND.doctor(settings, SystemClock()))
    assert checks[-1].what == "4 commands every 346 s: 30,000 a month, $0.06"
