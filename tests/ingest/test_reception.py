"""What a push is answered, what of it is in the store then, and what is counted and logged."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from obskit.errors import StoreFull
from obskit.ingest import telemetry
from obskit.ingest.delivery import Answer
from obskit.ingest.reception import Push, Reception
from obskit.ingest.remote_write import RemoteWrite
from obskit.ingest.settings import IngestSettings
from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.model.samples import STALE_NAN, Sample, is_stale
from obskit.store.interface import Batch, Refused
from obskit.testing import remote_write as sender
from obskit.testing.clock import FakeClock, run
from obskit.testing.remote_write import bytes_field, packed, sample_fields, write_request, write_request_2
from tests.store.shelf import HOUR, Shelf, metric, named

ONE = {name.lower(): value for name, value in sender.ONE.items()}
TWO = {name.lower(): value for name, value in sender.TWO.items()}
UP, HITS = metric("up", job="a"), metric("hits_total", job="a")
HISTOGRAM = NativeHistogram.exponential(0, count=3, sum=2.0, positive={1: 3})


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def push(reception: Reception, body: bytes, headers: Mapping[str, str] = ONE) -> Answer:
    return await reception.receive(RemoteWrite(), Push(headers, chunks(body[:50], body[50:])))


def written(answer: Answer) -> tuple[str, ...]:
    names = ("Samples", "Histograms", "Exemplars")
    return tuple(answer.headers.get(f"X-Prometheus-Remote-Write-{name}-Written", "") for name in names)


def counted(reason: str) -> float:
    return telemetry.REFUSED.labels("remote_write", reason)._value.get()


def results(result: str) -> float:
    return telemetry.REQUESTS.labels("remote_write", result)._value.get()


class Broken:
    """An intake that takes nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def append(self, batch: Batch) -> Refused:
        raise self.error

    async def cursor(self, owner: str) -> str | None:
        return None


class Slow:
    """An intake that takes its time."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def append(self, batch: Batch) -> Refused:
        await self.go_on.wait()
        return Refused()

    async def cursor(self, owner: str) -> str | None:
        return None


@pytest.mark.parametrize(("headers", "write"), [(ONE, write_request), (TWO, write_request_2)], ids=["1.0", "2.0"])
def test_an_answer_means_that_it_is_stored(tmp_path: Path, headers, write) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            reception = Reception(shelf.store, clock, IngestSettings())
            now = shelf.now
            sent = [Sample(UP, now - 5, 1.0), Sample(UP, now, STALE_NAN), Sample(HITS, now, math.nan, HISTOGRAM)]
            answer = await push(reception, write(sent), headers)
            assert (answer.status, answer.text) == (204, "")
            assert written(answer) == (("2", "1", "0") if headers is TWO else ("", "", ""))
            assert reception.held == 0
        async with Shelf(tmp_path, clock) as shelf:
            window = shelf.store.metrics.select(named("up"), now - HOUR, now)
            assert window.times_ms.tolist() == [now - 5, now]
            assert is_stale(float(window.values[1]))
            hits = shelf.store.metrics.select(named("hits_total"), now - HOUR, now)
            assert hits.histograms is not None
            assert hits.histograms.tolist() == [HISTOGRAM]

    clock = FakeClock()
    run(scenario(), clock)


@pytest.mark.parametrize(
    ("later", "reason", "says"),
    [
        (Sample(UP, -1_000, 1.0), "out_of_order", "out of order sample for series up{"),
        (Sample(UP, 0, 2.0), "duplicate", "duplicate sample for timestamp for series up{"),
        (Sample(HITS, -3 * HOUR, 2.0), "too_old", "too old sample for series hits_total{"),
        (Sample(HITS, 3 * HOUR, 2.0), "future", "out of bounds"),
        (Sample(metric("many", **{f"l{n}": "x" for n in range(70)}), 0, 1.0), "label_limit", "label limits exceeded"),
        (Sample(metric("long", long="x" * 5_000), 0, 1.0), "label_limit", "label limits exceeded"),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_what_can_never_be_stored_is_told_and_the_rest_is_stored(
    tmp_path: Path, later: Sample, reason: str, says: str, version: str
) -> None:
    write, headers = (write_request, ONE) if version == "1.0" else (write_request_2, TWO)
    good = metric("good")

    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            reception = Reception(shelf.store, shelf.clock, IngestSettings())
            now, before = shelf.now, counted(reason)
            assert (await push(reception, write([Sample(UP, now, 1.0)]), headers)).status == 204
            bad = Sample(later.labels, now + later.t_ms, later.value)
            answer = await push(reception, write([bad, Sample(good, now, 1.0)]), headers)
            assert answer.status == 400
            assert answer.text.startswith(says)
            assert "\n" not in answer.text[:-1]
            assert counted(reason) == before + 1
            assert written(answer)[0] == ("" if version == "1.0" else "1")
            assert len(shelf.store.metrics.select(named("good"), now - HOUR, now)) == 1

    run(scenario(), FakeClock())


def test_refused_histograms_are_not_counted_as_samples(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            reception, now = Reception(shelf.store, shelf.clock, IngestSettings()), shelf.now
            await push(reception, write_request_2([Sample(UP, now, 1.0), Sample(HITS, now, math.nan, HISTOGRAM)]), TWO)
            late = [Sample(HITS, now - 9, math.nan, HISTOGRAM), Sample(UP, now - 9, 1.0), Sample(UP, now + 1, 1.0)]
            answer = await push(reception, write_request_2(late), TWO)
            assert (answer.status, written(answer)) == (400, ("1", "0", "0"))

    run(scenario(), FakeClock())


def test_the_same_request_again_is_no_news(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            reception = Reception(shelf.store, shelf.clock, IngestSettings())
            sent = [Sample(UP, shelf.now, 1.0), Sample(metric("zero"), shelf.now, 0.0)]
            body = write_request_2([*sent, Sample(HITS, shelf.now, math.nan, HISTOGRAM)])
            assert [(await push(reception, body, TWO)).status for _ in range(2)] == [204, 204]

    run(scenario(), FakeClock())


def test_labels_of_no_series_are_told_beside_what_is_stored(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            reception = Reception(shelf.store, shelf.clock, IngestSettings())
            sample = bytes_field(2, sample_fields(shelf.now, 1.0))
            payload = bytes_field(1, sample) + bytes_field(1, sender.labels_fields(UP) + sample)
            answer = await push(reception, packed(payload))
            assert answer.status == 400
            assert answer.text.startswith("invalid metric name or labels: no metric name (1 of this kind)")
            assert len(shelf.store.metrics.select(named("up"), shelf.now - HOUR, shelf.now)) == 1

    run(scenario(), FakeClock())


@pytest.mark.parametrize(
    ("headers", "body", "status", "result"),
    [
        ({**ONE, "content-type": "application/json"}, b"{}", 415, "unsupported"),
        ({**ONE, "content-encoding": "gzip"}, b"", 415, "unsupported"),
        (ONE, b"\x05abc", 400, "malformed"),
        (ONE, packed(b"\x0a"), 400, "malformed"),
        (TWO, packed(b"\x0a"), 400, "malformed"),
        ({**ONE, "content-length": "70000"}, b"", 413, "too_large"),
        (ONE, b"\0" * 70_000, 413, "too_large"),
        (ONE, b"\x80\x80\x08" + b"\xff" * 60_000, 413, "too_large"),
    ],
)
def test_what_is_not_taken_at_all_is_told_why(headers: dict[str, str], body: bytes, status: int, result: str) -> None:
    async def scenario() -> None:
        before = results(result)
        reception = Reception(Broken(AssertionError("nothing is stored")), FakeClock(), IngestSettings(max_body=65_536))
        answer = await push(reception, body, headers)
        assert answer.status == status
        assert answer.text.endswith("\n")
        assert results(result) == before + 1
        assert reception.held == 0

    run(scenario(), FakeClock())


def test_a_full_disk_asks_the_sender_to_come_back() -> None:
    async def scenario() -> None:
        reception = Reception(Broken(StoreFull("no space left")), FakeClock(), IngestSettings())
        answer = await push(reception, write_request([Sample(UP, 1, 1.0)]))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")

    run(scenario(), FakeClock())


def test_with_too_much_in_hand_senders_are_asked_to_come_back() -> None:
    async def scenario() -> None:
        slow = Slow()
        reception = Reception(slow, clock, IngestSettings(max_held=65_536))
        body = write_request([Sample(metric("x", n=str(n), text="y" * 200), 1, 1.0) for n in range(200)])
        first = asyncio.ensure_future(push(reception, body))
        await clock.sleep(1)
        assert reception.held == len(body) > 32_768
        refused = await push(reception, body)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert reception.held == len(body)
        slow.go_on.set()
        assert (await first).status == 204
        assert (await push(reception, body)).status == 204
        assert reception.held == 0

    clock = FakeClock()
    run(scenario(), clock)


def test_a_sender_that_never_ends_is_given_up() -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"."
            await clock.sleep(5)

    async def scenario() -> None:
        reception = Reception(Broken(AssertionError()), clock, IngestSettings())
        answer = await reception.receive(RemoteWrite(), Push(ONE, drip()))
        assert answer.status == 503
        assert reception.held == 0

    clock = FakeClock()
    run(scenario(), clock)


def test_a_refusal_is_logged_once_until_it_has_been_quiet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path, clock) as shelf:
            reception = Reception(shelf.store, clock, IngestSettings())
            for _ in range(5):
                await push(reception, b"\x05abc")
                clock.advance(60)
            assert len(caplog.records) == 1
            assert "format=remote_write reason=malformed" in caplog.text
            clock.advance(1_000)
            await push(reception, b"\x05abc")
            assert len(caplog.records) == 2

    clock = FakeClock()
    with caplog.at_level(logging.WARNING, "obskit.ingest"):
        run(scenario(), clock)


def test_large_bodies_are_decoded_beside_the_loop(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            reception = Reception(shelf.store, shelf.clock, IngestSettings())
            series = [metric("x", n=str(n), text="y" * 300) for n in range(3_000)]
            answer = await push(reception, write_request([Sample(labels, shelf.now, 1.0) for labels in series]))
            assert answer.status == 204
            assert len(shelf.store.metrics.select(named("x"), shelf.now - HOUR, shelf.now)) == 3_000

    run(scenario(), FakeClock())


def test_samples_need_no_metadata_and_metadata_no_samples(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            reception = Reception(shelf.store, shelf.clock, IngestSettings())
            payload = bytes_field(3, b"\x08\x01" + bytes_field(2, b"hits_total"))
            assert (await push(reception, packed(payload))).status == 204
            assert shelf.store.metrics.metadata()["hits_total"].type == "counter"
            assert (await push(reception, packed(b""))).status == 204

    run(scenario(), FakeClock())


def test_labels_stay_as_they_were_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Shelf(tmp_path) as shelf:
            reception = Reception(shelf.store, shelf.clock, IngestSettings())
            labels = Labels({"__name__": "up", "job": "theirs", "instance": "x:1", "cluster": "eu"})
            await push(reception, write_request([Sample(labels, shelf.now, 1.0)]))
            assert shelf.store.metrics.series(named("up"), shelf.now - HOUR, shelf.now) == [labels]

    run(scenario(), FakeClock())
