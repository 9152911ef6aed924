"""What is pushed to the Cloudflare collector: proven, read, stored once, then acknowledged."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from obskit.collect import Call, Feed, Said
from obskit.collect.listening import listener_of
from obskit.errors import CollectorError, StoreFull
from obskit.outbound import httpx
from obskit.testing.clock import FakeClock
from obskit.testing.cloudflare import ACCOUNT
from obskit.testing.cloudflare_pushes import (
    LOGPUSH_TEST,
    http_request,
    logpush,
    otlp_logs,
    otlp_spans,
    tail_item,
    trace_event,
)
from obskit.testing.http import Failure
from obskit.testing.webhook import FakeWebhook
from obskit.web.app import Doors, Health, build_app
from obskit_collectors.cloudflare import CloudflareSettings, build, doctor
from obskit_collectors.cloudflare_items import time_ns
from tests.collectors.cloudflare import START_MS, Kept
from tests.docs.pages import ROOT

SECRET = "the-secret-of-the-pushes"
BEARER = {"authorization": f"Bearer {SECRET}"}
WORKER = ROOT / "examples" / "cloudflare-tail-worker"


def settings(**more: Any) -> CloudflareSettings:
    return CloudflareSettings(account_id=ACCOUNT, token="t", receive={"secret": SECRET}, **more)  # type: ignore[arg-type]  # as YAML gives them


def push(
    kept: Kept,
    path: str,
    *bodies: bytes,
    headers: Mapping[str, str] = BEARER,
    method: str = "POST",
    started: bool = True,
    **more: Any,
) -> list[Said]:
    """Send bodies, one after the other, to a collector that was just started."""

    async def scenario() -> list[Said]:
        collector = build(settings(**more))
        found = listener_of(path, [collector])
        assert found is not None
        listener, rest = found
        clock = FakeClock(START_MS)
        running = asyncio.create_task(collector.run(Feed(collector.name, kept, clock)))
        if started:
            await settle(clock)
        said = [await listener.receive(Call(method, rest, httpx.Headers(dict(headers)), {}, body)) for body in bodies]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return said

    return asyncio.run(scenario())


async def settle(clock: FakeClock) -> None:
    """Let every task go on as far as it can; none of them waits for a socket or a thread."""
    for _ in range(20):
        await clock.sleep(0)


def told(kept: Kept) -> list[tuple[str, str, str]]:
    return [(record.stream["app"], record.metadata.get("kind", ""), record.line) for record in kept.records]


def items(*rows: Any, id: str = "1") -> bytes:
    return json.dumps({"id": id, "items": rows}).encode()


def test_an_item_of_a_tail_worker_becomes_its_lines_its_exceptions_and_its_outcome() -> None:
    kept = Kept()
    body = items(tail_item(START_MS, "7141", outcome="exception", exceptions=["card declined"]))
    assert push(kept, "/in/cloudflare/tail", body)[0].status == 200
    assert told(kept) == [
        ("shop-consumer", "invocation", "queue shop-queue"),
        ("shop-consumer", "log", "order 7141"),
        ("shop-consumer", "exception", "Error: card declined"),
    ]
    assert dict(kept.records[0].metadata) == {
        "kind": "invocation",
        "outcome": "exception",
        "event_type": "queue",
        "version": "5a3e",
        "cpu_ms": "12",
        "wall_ms": "812",
    }
    assert kept.records[1].metadata["level"] == "info"
    assert kept.records[2].metadata["level"] == "error"


@pytest.mark.parametrize(
    ("event", "line", "kind"),
    [
        ({"request": {"method": "GET", "url": "https://a/x"}, "response": {"status": 503}}, "GET https://a/x", "fetch"),
        ({"cron": "* * * * *", "scheduledTime": 1}, "scheduled * * * * *", "scheduled"),
        ({"scheduledTime": "2026-10-02T08:00:00Z"}, "alarm", "alarm"),
        ({"mailFrom": "a@b", "rcptTo": "c@d", "rawSize": 1}, "email", "email"),
        ({"rpcMethod": "add"}, "rpc add", "rpc"),
        ({"new": True}, "invocation", None),
        ([], "invocation", None),
    ],
)
def test_every_trigger_has_its_words(event: Any, line: str, kind: str | None) -> None:
    kept = Kept()
    push(kept, "/in/cloudflare/tail", items(tail_item(START_MS, event=event)))
    assert kept.lines == [line]
    assert kept.records[0].metadata.get("event_type") == kind


def test_the_test_of_a_new_job_of_logpush_is_answered_and_stores_nothing() -> None:
    kept = Kept()
    said = push(kept, "/in/cloudflare/logpush", LOGPUSH_TEST, b'{"content":"tests"}\n', b"test", b"")
    assert [one.status for one in said] == [200] * 4
    assert kept.batches == []


def test_a_batch_of_logpush_is_read_whichever_way_it_is_packed() -> None:
    row = trace_event(START_MS, "charge failed", outcome="exception")
    for body in (logpush(row), gzip.decompress(logpush(row))):
        kept = Kept()
        push(kept, "/in/cloudflare/logpush", body)
        assert told(kept) == [
            ("shop-consumer", "invocation", "queue shop-queue"),
            ("shop-consumer", "log", "charge failed"),
            ("shop-consumer", "exception", "Error: card declined"),
        ]


@pytest.mark.parametrize("form", ["unixnano", "unix", "rfc3339", "rfc3339ms", "rfc3339ns"])
def test_requests_of_a_zone_are_read_whatever_form_their_times_have(form: str) -> None:
    kept = Kept()
    push(kept, "/in/cloudflare/logpush", logpush(http_request(START_MS, timestamps=form, status=503)))
    (record,) = kept.records
    assert record.t_ns == START_MS * 1_000_000
    assert (record.stream["app"], record.line) == ("shop.example", "GET /cart 503")
    assert record.metadata["status"] == "503"


@pytest.mark.parametrize("packed", [True, False])
def test_a_batch_comes_through_the_whole_server(packed: bool) -> None:
    kept, clock = Kept(), FakeClock(START_MS)
    collector = build(settings())
    doors = Doors(lambda: "", _never, _changed, _changed, listener=lambda at: listener_of(at, [collector]))
    body = logpush(trace_event(START_MS, "x"))
    headers = {**BEARER, "content-encoding": "gzip"} if packed else BEARER

    async def scenario() -> int:
        running = asyncio.create_task(collector.run(Feed(collector.name, kept, clock)))
        await settle(clock)
        transport = httpx.ASGITransport(build_app(Health(set()), doors, token=None))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answer = await client.post("/in/cloudflare/logpush?tags=src:cf", content=body, headers=headers)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return answer.status_code

    assert asyncio.run(scenario()) == 200
    assert kept.lines == ["queue shop-queue", "x"]


async def _never() -> str:
    return ""


async def _changed(*_: Any) -> bool:
    return False


def test_a_row_of_a_data_set_that_nobody_knows_is_kept_as_it_is() -> None:
    kept = Kept()
    push(kept, "/in/cloudflare/logpush", logpush({"Datetime": "2026-10-02T08:00:00Z", "Query": "x"}, {"no": "time"}))
    assert kept.lines == ['{"Datetime":"2026-10-02T08:00:00Z","Query":"x"}', '{"no":"time"}']
    assert kept.records[1].t_ns == START_MS * 1_000_000


def test_one_row_that_cannot_be_read_refuses_no_other() -> None:
    kept = Kept()
    body = b'{"cut": \n\n[]\n' + json.dumps(trace_event(START_MS, "x")).encode() + b"\n" + b"[" * 100_000
    assert push(kept, "/in/cloudflare/logpush", body)[0].status == 200
    assert kept.lines == ["queue shop-queue", "x"]


def test_lines_of_the_open_telemetry_export_are_records() -> None:
    kept = Kept()
    push(kept, "/in/cloudflare/otlp/v1/logs", otlp_logs('{"orderId":7}', "plain", t_ms=START_MS))
    assert told(kept) == [("shop-api", "log", '{"orderId":7}'), ("shop-api", "log", "plain")]
    assert kept.records[0].metadata["level"] == "error"
    assert kept.records[0].metadata["trace_id"] == "0af7"


def test_of_traces_the_root_spans_are_the_invocations() -> None:
    kept = Kept()
    push(kept, "/in/cloudflare/otlp/v1/traces", otlp_spans(START_MS, outcome="exceededMemory"))
    assert told(kept) == [("shop-api", "invocation", "GET https://shop.example/x")]
    metadata = kept.records[0].metadata
    assert (metadata["outcome"], metadata["status"], metadata["cpu_ms"]) == ("exceededMemory", "503", "12")


def test_values_of_open_telemetry_are_read_at_any_depth_up_to_a_limit() -> None:
    deep: Any = {"stringValue": "x"}
    for _ in range(50):
        deep = {"arrayValue": {"values": [deep]}}
    pairs = {"kvlistValue": {"values": [{"key": "n", "value": {"intValue": "7"}}, None]}}
    rows = [{"body": pairs}, {"body": deep}, {"body": None}, 7, {"severityNumber": 13, "timeUnixNano": "soon"}]
    kept = Kept()
    body = {"resourceLogs": [None, {"scopeLogs": [{"logRecords": rows}]}, {"scopeLogs": 3, "resource": []}]}
    push(kept, "/in/cloudflare/otlp/v1/logs", json.dumps(body).encode())
    assert kept.lines[0] == '{"n":"7"}'
    assert len(kept.lines) == 4
    assert kept.records[3].metadata == {"kind": "log", "level": "warn"}


def test_a_batch_that_comes_twice_is_stored_once_even_by_a_new_process() -> None:
    kept = Kept()
    body = logpush(trace_event(START_MS, "x"))
    assert [said.text for said in push(kept, "/in/cloudflare/logpush", body, body)] == ["{}", "known\n"]
    push(kept, "/in/cloudflare/logpush", body)
    assert kept.lines.count("x") == 1


def test_equal_items_in_batches_with_different_ids_are_both_kept() -> None:
    kept = Kept()
    item = tail_item(START_MS, "x")
    push(kept, "/in/cloudflare/tail", items(item, id="1"), items(item, id="2"))
    assert kept.lines.count("order x") == 2


def test_the_marks_of_batches_stay_few() -> None:
    kept = Kept()
    push(kept, "/in/cloudflare/tail", *(items(tail_item(START_MS), id=str(n)) for n in range(1100)))
    (marks,) = kept.cursors.values()
    assert len(json.loads(marks)) == 1000


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": SECRET},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer ÿ"},
        {"x-obskit-signature": "sha256=00"},
        {"x-obskit-signature": "sha256=00", **BEARER},
    ],
)
def test_who_does_not_know_the_secret_is_refused(headers: Mapping[str, str]) -> None:
    kept = Kept()

    async def scenario() -> Said:
        found = listener_of("/in/cloudflare/tail", [build(settings())])
        assert found is not None
        return await found[0].receive(Call("POST", "", headers, {}, items(tail_item(START_MS))))

    assert asyncio.run(scenario()).status == 401
    assert kept.batches == []


def test_hours_without_a_push_do_not_look_like_a_source_that_fails() -> None:
    kept, clock = Kept(), FakeClock(START_MS)

    async def scenario() -> list[bool | None]:
        collector = build(settings())
        feed = Feed(collector.name, kept, clock)
        feed.book("tail").failure(CollectorError("ended", reason="crash"), 0.0)
        running = asyncio.create_task(collector.run(feed))
        await settle(clock)
        found = listener_of("/in/cloudflare/tail", [collector])
        assert found is not None
        await found[0].receive(Call("POST", "", BEARER, {}, items(tail_item(START_MS))))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return [row.up for row in feed.status()]

    assert asyncio.run(scenario()) == [None]


def test_a_signature_of_the_body_is_proof() -> None:
    kept = Kept()
    body = items(tail_item(START_MS))
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-obskit-signature": f"sha256={signature}"}
    said = push(kept, "/in/cloudflare/tail", body, body + b" ", headers=headers)
    assert [one.status for one in said] == [200, 401]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/in/cloudflare/tail", b"", 200),
        ("/in/cloudflare/tail", b"{", 400),
        ("/in/cloudflare/tail", b"[]", 400),
        ("/in/cloudflare/tail", b'{"items":{}}', 400),
        ("/in/cloudflare/tail", b"[" * 100_000, 400),
        ("/in/cloudflare/tail", b"\xff\xfe", 400),
        ("/in/cloudflare/tail", b'{"items":[null,7,{"outcome":"ok"},{"outcome":"ok","eventTimestamp":"x"}]}', 200),
        ("/in/cloudflare/logpush", b"no json\n", 400),
        ("/in/cloudflare/logpush", logpush({"a": 1})[:20], 400),
        ("/in/cloudflare/logpush", b"\x1f\x8b not gzip", 400),
        ("/in/cloudflare/logpush", gzip.compress(b" " * 17_000_000), 400),
        ("/in/cloudflare/otlp/v1/logs", b'{"resourceSpans":[]}', 400),
        ("/in/cloudflare/otlp/v1/logs", b"[]", 400),
        ("/in/cloudflare/otlp/v1/metrics", b"{}", 404),
        ("/in/cloudflare/otlp", b"{}", 404),
    ],
)
def test_bodies_that_are_wrong_have_their_status_and_store_no_line(path: str, body: bytes, status: int) -> None:
    kept = Kept()
    assert push(kept, path, body)[0].status == status
    assert kept.records == []


def test_protobuf_is_refused_in_words() -> None:
    said = push(
        Kept(), "/in/cloudflare/otlp/v1/logs", b"x", headers={**BEARER, "content-type": "application/x-protobuf"}
    )
    assert (said[0].status, said[0].text) == (415, "send JSON\n")


def test_who_comes_before_it_runs_is_asked_to_come_again() -> None:
    assert push(Kept(), "/in/cloudflare/tail", items(tail_item(START_MS)), started=False)[0].status == 503


def test_while_the_store_is_full_a_batch_is_left_to_its_sender_and_is_stored_once_when_it_comes_again() -> None:
    kept = Kept(full=True)

    async def scenario() -> list[int]:
        collector = build(settings())
        found = listener_of("/in/cloudflare/tail", [collector])
        assert found is not None
        clock = FakeClock(START_MS)
        running = asyncio.create_task(collector.run(Feed(collector.name, kept, clock)))
        await settle(clock)
        call = Call("POST", "", BEARER, {}, items(tail_item(START_MS), id="1"))
        with pytest.raises(StoreFull):
            await found[0].receive(call)
        kept.full = False
        said = [await found[0].receive(call) for _ in range(2)]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return [one.status for one in said]

    assert asyncio.run(scenario()) == [200, 200]
    assert len(kept.lines) == 1


def test_one_with_a_name_of_its_own_listens_below_it() -> None:
    kept = Kept()
    assert push(kept, "/in/cloudflare/eu/tail", items(tail_item(START_MS)), name="eu")[0].status == 200
    (check,) = asyncio.run(doctor(settings(name="eu"), FakeClock()))
    assert check.ok
    assert "/in/cloudflare/eu/logpush" in check.what


def test_a_secret_that_is_short_is_refused() -> None:
    with pytest.raises(ValueError, match="openssl rand"):
        CloudflareSettings(account_id=ACCOUNT, token="t", receive={"secret": "short"})  # type: ignore[arg-type]  # as YAML gives them


@pytest.mark.parametrize(
    "value", [None, True, -1, 0, "", "x", 1e300, float("nan"), [], "2026-99-02T08:00:00Z", "9" * 30]
)
def test_what_is_no_time_is_none(value: Any) -> None:
    assert time_ns(value) is None


def test_the_example_worker_sends_what_is_received() -> None:
    """Its code is run by node, against a server that fails first; without node only its settings are looked at."""
    config = (WORKER / "wrangler.toml").read_text()
    assert 'main = "index.js"' in config
    assert "/in/cloudflare/tail" in config
    node = shutil.which("node")
    if node is None:
        assert "X-Obskit-Signature" in (WORKER / "index.js").read_text()
        return
    with FakeWebhook() as obskit:
        obskit.plan(Failure(500))
        ran = _run_worker(
            node, WORKER / "index.js", obskit.url, [tail_item(START_MS, "x" * 600_000), tail_item(START_MS, "b")]
        )
        assert ran.returncode == 0, ran.stderr
        sent = list(obskit.requests)
    bodies = {request.body: request.headers["x-obskit-signature"] for request in sent}
    assert (len(sent), len(bodies)) == (3, 2) or len(bodies) == 1
    kept = Kept()
    for body, signature in bodies.items():
        assert push(kept, "/in/cloudflare/tail", body, headers={"x-obskit-signature": signature})[0].status == 200
    assert sorted(line[:7] for line in kept.lines) == ["order b", "order x", "queue s", "queue s"]


def _run_worker(node: str, worker: Path, url: str, events: list[Any]) -> subprocess.CompletedProcess[str]:
    env = json.dumps({"OBSKIT_URL": url, "OBSKIT_SECRET": SECRET})
    script = (
        f"const worker = (await import('data:text/javascript,' + encodeURIComponent({json.dumps(worker.read_text())}))).default;"
        "const waiting = [];"
        f"await worker.tail({json.dumps(events)}, {env}, {{ waitUntil: (one) => waiting.push(one) }});"
        "await Promise.all(waiting);"
    )
    command = [node, "--input-type=module", "-"]
    return subprocess.run(command, input=script, capture_output=True, text=True, timeout=60, check=False)
