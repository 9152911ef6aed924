"""The way of everything that is pushed: read within limits, decode, append, and answer once it is in the store.

What is held at once is bounded, so many senders or a slow one cost a fixed amount of memory: beyond it they are told to
come back. What can never be stored is refused and counted; the rest of the same request is stored all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from obskit.clock import Clock, bounded
from obskit.errors import StoreError, StoreFull
from obskit.ingest import telemetry
from obskit.ingest.delivery import Answer, Delivery, Format, UnsupportedError
from obskit.ingest.protobuf import MalformedError, TooLargeError
from obskit.ingest.settings import IngestSettings
from obskit.store.interface import Batch, Intake, Refused

log = logging.getLogger(__name__)

_THREAD_BYTES: Final = 500_000
"""Larger bodies are decoded in a thread: alerts must not wait for one whose series are new (some 10 ms a megabyte)."""
_SOON_S: Final = "1"
_FULL_S: Final = "10"
_QUIET_S: Final = 600.0
"""A refusal of a kind that was logged is not logged again until there was none for so long."""
_SHOWN: Final = 400
"""Characters of a reason with its series: senders log about so many of the first line."""
_MEANING: Final = {
    "out_of_order": "out of order sample",
    "duplicate": "duplicate sample for timestamp",
    "too_old": "too old sample",
    "future": "out of bounds: the sample is too far in the future",
    "label_limit": "label limits exceeded (store.max_labels, max_label_name, max_label_value)",
    "series_limit": "too many series (store.max_series)",
    "target_limit": "too many series of one target (store.max_series)",
}
"""What the store's reasons are called; Prometheus' words where it has them."""


class Refusal(Exception):  # noqa: N818 - an answer on its way out
    """Nothing of the request is taken."""

    def __init__(self, status: int, result: str, text: str, *, retry_after_s: str = "") -> None:
        super().__init__(text)
        self.result = result
        self.answer = Answer(status, f"{text}\n", {"Retry-After": retry_after_s} if retry_after_s else {})


@dataclass(frozen=True, slots=True)
class Push:
    """A request: its headers (names in lower case), and its body as it comes."""

    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class Reception:
    """Takes pushes of every format, and stores them."""

    def __init__(self, intake: Intake, clock: Clock, settings: IngestSettings) -> None:
        self._intake = intake
        self._clock = clock
        self._settings = settings
        self._decoding = asyncio.Lock()
        self.held = 0
        """Bytes of requests that are being read or stored."""
        self._logged_s: dict[tuple[str, str], float] = {}

    async def receive(self, format: Format, push: Push) -> Answer:
        """Store a push, and say how it went."""
        started_s = self._clock.monotonic()
        try:
            with _Hold(self) as hold:
                delivery = await self._decoded(format, push, hold)
                refused = await self._append(delivery.batch)
            answer = self._judge(format, push, delivery, refused)
        except Refusal as refusal:
            answer = refusal.answer
            self._count(format.name, refusal.result)
            self._log(format.name, refusal.result, answer.text)
        telemetry.SECONDS.labels(format.name).observe(self._clock.monotonic() - started_s)
        return answer

    async def _decoded(self, format: Format, push: Push, hold: _Hold) -> Delivery:
        try:
            format.check(push.headers)
            body = await self._read(push, hold)
            size, most = format.size(push.headers, body), self._settings.max_body
            if size > most:
                raise TooLargeError(f"{size} bytes unpacked, more than ingest.max_body ({most})")
            async with self._decoding:  # formats remember, and one body at a time is unpacked
                if size > _THREAD_BYTES:
                    return await asyncio.to_thread(format.decode, push.headers, body, most)
                return format.decode(push.headers, body, most)
        except UnsupportedError as error:
            raise Refusal(415, "unsupported", str(error)) from None
        except TooLargeError as error:
            raise Refusal(413, "too_large", str(error)) from None
        except MalformedError as error:
            raise Refusal(400, "malformed", str(error)) from None

    async def _read(self, push: Push, hold: _Hold) -> bytes:
        """The body. It is held from now on."""
        try:
            return await bounded(self._clock, self._settings.read_timeout / 1000, self._collect(push, hold))
        except TimeoutError:
            # Not 408: to senders of remote write every 4xx means "never again".
            raise Refusal(503, "timeout", "the request did not end in time", retry_after_s=_SOON_S) from None

    async def _collect(self, push: Push, hold: _Hold) -> bytes:
        told = push.headers.get("content-length", "")
        self._check_room(hold, int(told) if told.isascii() and told.isdigit() else 0)
        chunks = []
        async for chunk in push.chunks:
            self._check_room(hold, len(chunk))
            hold.add(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks)

    def _check_room(self, hold: _Hold, more: int) -> None:
        if hold.size + more > self._settings.max_body:
            raise TooLargeError(f"more than ingest.max_body ({self._settings.max_body} bytes)")
        if self.held + more > self._settings.max_held:
            raise Refusal(503, "busy", "too much is being read already: come back", retry_after_s=_SOON_S)

    async def _append(self, batch: Batch) -> Refused:
        try:
            return await self._intake.append(batch)
        except StoreFull as error:
            raise Refusal(503, "full", str(error), retry_after_s=_FULL_S) from None
        except StoreError as error:
            raise Refusal(503, "store", str(error), retry_after_s=_FULL_S) from None

    def _judge(self, format: Format, push: Push, delivery: Delivery, refused: Refused) -> Answer:
        """The answer to what was stored as far as it could be, once it is counted."""
        samples, invalid = delivery.batch.samples, delivery.invalid
        histograms = len(samples.histograms)
        stored = {
            "sample": len(samples) - histograms - len(refused) + refused.histograms,
            "histogram": histograms - refused.histograms,
            "record": len(delivery.batch.records),
        }
        for kind, count in stored.items():
            if count:
                telemetry.ITEMS.labels(format.name, kind).inc(count)
        for kind, count in delivery.ignored.items():
            telemetry.IGNORED.labels(format.name, kind).inc(count)
        headers = format.written(push.headers, stored)
        wrong = [(reason, count, invalid.texts[reason][:_SHOWN]) for reason, count in invalid.counts.items()]
        wrong += [
            (reason, count, f"{_MEANING.get(reason, reason)} for series {refused.examples[reason]}"[:_SHOWN])
            for reason, count in refused.counts.items()
        ]
        for reason, count, text in wrong:
            telemetry.REFUSED.labels(format.name, reason).inc(count)
            self._log(format.name, reason, text)
        self._count(format.name, "partial" if wrong else "ok")
        if not wrong:
            return Answer(204, headers=headers)
        told = "; ".join(f"{text} ({count} of this kind)" for _, count, text in wrong)
        return Answer(400, f"{told}. All else in this request is stored\n", headers)

    def _count(self, format: str, result: str) -> None:
        telemetry.REQUESTS.labels(format, result).inc()

    def _log(self, format: str, reason: str, text: str) -> None:
        now_s = self._clock.monotonic()
        before_s = self._logged_s.get((format, reason))
        self._logged_s[format, reason] = now_s
        if before_s is None or now_s - before_s > _QUIET_S:
            log.warning("refused what was pushed: format=%s reason=%s first=%s", format, reason, text.strip())


class _Hold:
    """The bytes of one request."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self.size = 0

    def add(self, more: int) -> None:
        """They came in."""
        self.size += more
        self._reception.held += more
        telemetry.HELD_BYTES.inc(more)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reception.held -= self.size
        telemetry.HELD_BYTES.dec(self.size)
