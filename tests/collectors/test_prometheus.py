from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import respx
from httpx import ConnectError, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, make_wsgi_app

from obskit.clock import SystemClock
from obskit.collect import Captured, Feed, Source, Supervisor, run_once
from obskit.errors import CollectorError, StoreFull
from obskit.model.exposition import ExpositionParser
from obskit.model.samples import Sample, is_stale
from obskit.model.telemetry import REGISTRY
from obskit.store.interface import Batch
from obskit.testing.clock import FakeClock, run
from obskit_collectors.prometheus import KIND, ScrapeSettings
from tests.collectors.pages import TEXT, Pages

PLAIN = {"Content-Type": TEXT}


def job(*addresses: str, **more: Any) -> Source:
    static = [{"targets": list(addresses)}] if addresses else []
    return Source("prometheus", ScrapeSettings(**{"job_name": "api", "static_configs": static, **more}))


def values(samples: list[Sample], name: str) -> list[float | str]:
    return ["stale" if is_stale(s.value) else s.value for s in samples if s.labels.name == name]


def scrape(source: Source) -> list[Sample]:
    """One scrape over a real connection, which must succeed."""
    return run(run_once(source, SystemClock())).samples


def failure(source: Source) -> CollectorError:
    with pytest.raises(CollectorError) as caught:
        scrape(source)
    return caught.value


class Disk(Captured):
    """An intake that may be full."""

    full = False

    async def append(self, batch: Batch) -> None:
        if self.full:
            raise StoreFull("no space left")
        await super().append(batch)


class Loop:
    """Jobs that run under a Supervisor on a FakeClock, against faked HTTP."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.intake = Disk()
        self.supervisor = Supervisor(self.intake, self.clock)

    def play(self, scenario: Callable[[Loop], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            await scenario(self)
            await self.supervisor.stop()

        with respx.mock(assert_all_called=False) as self.http:
            run(whole(), self.clock)

    def values(self, name: str, **labels: str) -> list[float | str]:
        wanted = [s for s in self.intake.samples if all(s.labels.get(key) == value for key, value in labels.items())]
        return values(wanted, name)

    def page(self, url: str, text: str) -> None:
        self.http.get(url).mock(return_value=Response(200, text=text, headers=PLAIN))


def test_a_real_prometheus_client_is_scraped() -> None:
    class Quiet(WSGIRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    registry = CollectorRegistry()
    Counter("jobs", "Jobs done.", ("queue",), registry=registry).labels("mail").inc(3)
    Histogram("wait_seconds", "Waiting.", buckets=(1, 5), registry=registry).observe(2)
    with make_server("127.0.0.1", 0, make_wsgi_app(registry), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        samples = scrape(job(f"127.0.0.1:{server.server_port}"))
        server.shutdown()
        thread.join()
    assert values(samples, "jobs_total") == [3]
    assert values(samples, "wait_seconds_bucket") == [0, 1, 1]
    assert values(samples, "up") == [1]


def test_a_scrape_says_what_it_takes_and_how_long_it_waits(pages: Pages) -> None:
    pages.serve("a 1\n")
    scrape(job(pages.address, scrape_interval=20_000, scrape_timeout=2500, params={"name[]": ("up", "x")}))
    ((path, headers),) = pages.requests
    assert path == "/metrics?name%5B%5D=up&name%5B%5D=x"
    assert headers["X-Prometheus-Scrape-Timeout-Seconds"] == "2.5"
    assert headers["Accept"].startswith("application/openmetrics-text;version=1.0.0;q=0.6,")
    assert headers["Accept"].endswith(",*/*;q=0.2")


def test_openmetrics_is_understood(pages: Pages) -> None:
    page = '# TYPE a counter\na_total{x="y"} 3 # {trace_id="t"} 1\n# EOF\n'
    pages.serve(page, content_type="application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert values(scrape(job(pages.address)), "a_total") == [3]


@pytest.mark.parametrize("content_type", [None, "text/html; charset=utf-8"])
def test_a_page_that_does_not_say_what_it_is_needs_a_fallback(pages: Pages, content_type: str | None) -> None:
    pages.serve("a 1\n", content_type=content_type)
    error = failure(job(pages.address))
    assert error.reason == "bad_data"
    assert "set fallback_scrape_protocol: PrometheusText0.0.4" in str(error)
    assert values(scrape(job(pages.address, fallback_scrape_protocol="PrometheusText0.0.4")), "a") == [1]


def test_a_page_of_megabytes_is_parsed_aside(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    parse = ExpositionParser.parse

    def watched(self: Any, body: bytes, content_type: str, *, now_ms: int) -> Any:
        threads.append(threading.current_thread().name)
        return parse(self, body, content_type, now_ms=now_ms)

    monkeypatch.setattr(ExpositionParser, "parse", watched)
    pages.serve("# HELP a " + "x" * 1_000_000 + "\na 1\n")
    assert values(scrape(job(pages.address)), "a") == [1]
    assert threads != ["MainThread"]


@pytest.mark.parametrize(
    ("serve", "reason", "says"),
    [
        (lambda pages: pages.serve("a{ 1\n"), "bad_data", "line 1"),
        (lambda pages: pages.serve("a 1\n" * 200_001), "bad_data", "the page has 200001 samples, more than 200000"),
        (lambda pages: pages.serve(b"\x00\xff\x89PNG"), "bad_data", "line 1"),
        (lambda pages: pages.serve("oops", status=500), "server", "HTTP status 500"),
        (lambda pages: pages.serve("a 1\nb 1\nc 1\n"), "bad_data", "3 samples, more than sample_limit (2)"),
        (lambda pages: pages.serve_endless(b"a 1\n" * 9999), "bad_data", "larger than body_size_limit (2000000 bytes)"),
        (lambda pages: pages.serve_nothing(), "timeout", "no answer within 0.3 s"),
    ],
)
def test_a_bad_page_is_an_error_and_up_is_0(
    pages: Pages, serve: Callable[[Pages], None], reason: str, says: str
) -> None:
    serve(pages)
    source = job(pages.address, sample_limit=2, body_size_limit=2_000_000, scrape_interval=400, scrape_timeout=300)
    captured = Captured()

    async def scenario() -> None:
        supervisor = Supervisor(captured, SystemClock())
        await supervisor.reload([source])
        while not captured.batches:
            await SystemClock().sleep(0.01)
        (status,) = supervisor.status()
        assert status.up is False
        assert says in status.error
        await supervisor.stop()

    run(scenario())
    assert set(values(captured.samples, "up")) == {0}
    assert failure(source).reason == reason


def test_targets_are_scraped_at_even_points_of_their_own() -> None:
    async def scenario(loop: Loop) -> None:
        for address in ("a:1", "b:1"):
            loop.page(f"http://{address}/metrics", "x 1\n")
        await loop.supervisor.reload([job("a:1", "b:1")])
        await loop.clock.sleep(120)
        offsets = {}
        for instance in ("a:1", "b:1"):
            times = [s.t_ms for s in loop.intake.samples if s.labels.name == "x" and s.labels["instance"] == instance]
            gaps = {after - before for before, after in pairwise(times[1:])}
            assert gaps == {15_000}
            offsets[instance] = times[1] % 15_000
        assert offsets["a:1"] != offsets["b:1"]

    Loop().play(scenario)


def test_a_target_that_fails_goes_stale_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    def answer(request: Request) -> Response:
        calls.append(request)
        if 3 <= len(calls) <= 5:
            raise ConnectError("refused")
        return Response(200, text="x 1\n", headers=PLAIN)

    calls: list[Request] = []

    async def scenario(loop: Loop) -> None:
        loop.http.get("http://a:1/metrics").mock(side_effect=answer)
        await loop.supervisor.reload([job("a:1")])
        await loop.clock.sleep(100)
        assert loop.values("up")[:7] == [1, 1, 0, 0, 0, 1, 1]
        assert loop.values("x")[:5] == [1, 1, "stale", 1, 1]

    with caplog.at_level(logging.INFO, logger="obskit.collect"):
        Loop().play(scenario)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_targets_follow_their_file(tmp_path: Path) -> None:
    def write(*addresses: str) -> None:
        (tmp_path / "targets.json").write_text(json.dumps([{"targets": addresses}]))

    async def scenario(loop: Loop) -> None:
        for address in ("a:1", "b:1", "c:1"):
            loop.page(f"http://{address}/metrics", "x 1\n")
        write("a:1", "b:1")
        await loop.supervisor.reload([job(file_sd_configs=[{"files": [str(tmp_path / "*.json")]}])])
        await loop.clock.sleep(40)
        kept = len(loop.values("x", instance="b:1"))
        write("b:1", "c:1")
        await loop.clock.sleep(40)
        assert loop.values("x", instance="a:1")[-1] == "stale"
        assert loop.values("up", instance="a:1")[-1] == "stale"
        assert loop.values("x", instance="c:1")
        assert len(loop.values("x", instance="b:1")) > kept
        assert "stale" not in loop.values("x", instance="b:1")
        (tmp_path / "targets.json").write_text("[{")
        before = len(loop.values("x", instance="c:1"))
        await loop.clock.sleep(40)
        assert len(loop.values("x", instance="c:1")) > before
        broken = {row.target: row for row in loop.supervisor.status()}[f"file_sd {tmp_path}/*.json"]
        assert not broken.up
        assert {row.target for row in loop.supervisor.status()} == {
            f"file_sd {tmp_path}/*.json",
            "http://b:1/metrics",
            "http://c:1/metrics",
        }

    Loop().play(scenario)


def test_discoveries_that_change_targets_while_the_disk_is_full_do_not_stop_the_job(tmp_path: Path) -> None:
    def write(name: str, *addresses: str) -> None:
        (tmp_path / name).write_text(json.dumps([{"targets": addresses}]))

    async def scenario(loop: Loop) -> None:
        write("stays.json", "a:1")
        write("goes.json", *(f"b:{port}" for port in range(1, 6)))
        for address in ("a:1", *(f"b:{port}" for port in range(1, 6))):
            loop.page(f"http://{address}/metrics", "x 1\n")
        files = [{"files": [str(tmp_path / name)]} for name in ("stays.json", "goes.json")]
        await loop.supervisor.reload([job(job_name="crowded", file_sd_configs=files)])
        await loop.clock.sleep(20)
        loop.intake.full = True
        write("goes.json")
        await loop.clock.sleep(30)
        loop.intake.full = False
        await loop.clock.sleep(60)
        assert [loop.values("up", instance=f"b:{port}")[-1] for port in range(1, 6)] == ["stale"] * 5
        assert loop.values("up", instance="a:1")[-1] == 1

    Loop().play(scenario)
    assert REGISTRY.get_sample_value("obskit_collector_restarts_total", {"collector": "prometheus/crowded"}) is None


def test_targets_follow_a_url_with_the_jobs_authorization() -> None:
    async def scenario(loop: Loop) -> None:
        listing = loop.http.get("http://sd.internal/targets")
        listing.mock(return_value=Response(200, json=[{"targets": ["a:1"], "labels": {"env": "prod"}}]))
        loop.page("http://a:1/metrics", "x 1\n")
        settings = {
            "http_sd_configs": [{"url": "http://sd.internal/targets"}],
            "authorization": {"credentials": "s3cret"},
        }
        await loop.supervisor.reload([job(**settings)])
        await loop.clock.sleep(30)
        assert loop.values("x", env="prod")
        assert listing.calls[0].request.headers["Authorization"] == "Bearer s3cret"
        listing.mock(return_value=Response(429, headers={"Retry-After": "300"}))
        await loop.clock.sleep(250)
        assert listing.call_count == 2
        assert loop.values("x", env="prod")[-1] == 1

    Loop().play(scenario)


def test_a_job_that_is_no_longer_configured_ends_its_series() -> None:
    async def scenario(loop: Loop) -> None:
        loop.page("http://a:1/metrics", "x 1\n")
        await loop.supervisor.reload([job("a:1")])
        await loop.clock.sleep(30)
        await loop.supervisor.reload([])
        assert loop.values("x")[-1] == "stale"
        assert loop.values("up")[-1] == "stale"

    Loop().play(scenario)


@pytest.mark.parametrize("end", ["change", "shut down"])
def test_a_job_that_changes_or_shuts_down_does_not_end_its_series(end: str) -> None:
    async def scenario(loop: Loop) -> None:
        loop.page("http://a:1/metrics", "x 1\n")
        await loop.supervisor.reload([job("a:1")])
        await loop.clock.sleep(30)
        if end == "change":
            await loop.supervisor.reload([job("a:1", scrape_interval=5000)])
        else:
            await loop.supervisor.stop()
        assert "stale" not in loop.values("x")

    Loop().play(scenario)


def test_two_samples_for_one_moment_are_counted_as_dropped() -> None:
    async def scenario(loop: Loop) -> None:
        loop.page("http://a:1/metrics", "x 1\nx 2\n")
        await loop.supervisor.reload([job("a:1", job_name="doubled")])
        await loop.clock.sleep(2)
        assert loop.values("x") == [1]

    Loop().play(scenario)
    counted = {"collector": "prometheus/doubled", "reason": "duplicate"}
    assert REGISTRY.get_sample_value("obskit_collector_dropped_total", counted) == 1


def test_one_read_scrapes_what_it_can_when_a_discovery_fails() -> None:
    captured, clock = Captured(), FakeClock()
    source = job("a:1", job_name="half", file_sd_configs=[{"files": ["/nowhere/targets.json"]}])
    feed = Feed("prometheus/half", captured, clock)
    with respx.mock() as http:
        http.get("http://a:1/metrics").mock(return_value=Response(200, text="x 1\n", headers=PLAIN))
        with pytest.raises(CollectorError, match="cannot read /nowhere"):
            run(KIND.build(source.settings).once(feed), clock)  # type: ignore[arg-type]  # a coroutine, as all are
    assert values(captured.samples, "x") == [1]
    assert {(row.target, row.up) for row in feed.status()} == {
        ("http://a:1/metrics", True),
        ("file_sd /nowhere/targets.json", False),
    }


def test_the_doctor_names_what_is_wrong_and_what_mends_it(pages: Pages) -> None:
    pages.serve("a 1\n")
    clock = SystemClock()
    (well,) = run(KIND.doctor(job(pages.address).settings, clock))
    assert (well.ok, well.what) == (True, f"http://{pages.address}/metrics gives 1 samples")
    pages.serve("", status=401)
    (refused,) = run(KIND.doctor(job(pages.address).settings, clock))
    assert (refused.ok, refused.fix) == (False, "correct authorization or basic_auth of the job")
    (empty,) = run(KIND.doctor(job().settings, clock))
    assert (empty.ok, "no target" in empty.what) == (False, True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"file_sd_configs": [{"files": ["/nowhere/targets.json"]}]}, "cannot read /nowhere/targets.json"),
        ({"tls_config": {"ca_file": "/nowhere/ca.pem"}}, "tls_config: cannot load a certificate"),
    ],
)
def test_the_doctor_never_raises(settings: dict[str, Any], says: str) -> None:
    checks = run(KIND.doctor(job("127.0.0.1:1", **settings).settings, SystemClock()))
    (check,) = [check for check in checks if says in check.what]
    assert not check.ok
    assert check.fix


def test_a_target_that_blocks_does_not_hold_up_the_others() -> None:
    async def never(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario(loop: Loop) -> None:
        loop.http.get("http://slow:1/metrics").mock(side_effect=never)
        loop.page("http://a:1/metrics", "x 1\n")
        await loop.supervisor.reload([job("slow:1", "a:1")])
        await loop.clock.sleep(62)
        assert len(loop.values("x")) >= 4
        assert set(loop.values("up", instance="slow:1")) == {0}

    Loop().play(scenario)
