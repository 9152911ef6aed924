"""Receives what Cloudflare pushes: Logpush, the OpenTelemetry export, a Tail Worker. Stored before it is acknowledged.

A sender that saw no answer sends its batch again as it was, so a batch is known by its bytes; the marks of the last ones
are stored in the same transaction as their lines.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic import Field, field_validator

from obskit.clock import Clock
from obskit.collect import Call, Check, Collector, Feed, Said, ok
from obskit.errors import CollectorError
from obskit.model.records import Record
from obskit.model.settings import Secret, Settings
from obskit.store.interface import Batch, Cursor
from obskit_collectors.cloudflare_account import Account
from obskit_collectors.cloudflare_events import LineMaker, mapping
from obskit_collectors.cloudflare_items import item_records, row_record
from obskit_collectors.cloudflare_otlp import log_records, span_records

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a batch, unpacked."""
REMEMBERED: Final = 1_000
"""Batches that are known again: at the 30 s of Logpush, those of more than 8 hours."""
AT_ONCE: Final = 3
"""Batches in hand."""
SIGNATURE: Final = "x-obskit-signature"
_GZIP: Final = b"\x1f\x8b"
_TESTS: Final = (b"test", b'{"content":"tests"}')
"""What a new job of Logpush sends to see whether somebody is there."""

Found = tuple[list[Record], int]
Read = Callable[[LineMaker, bytes, int], Found]
"""The records of a body, and how many parts of it could not be read; ValueError when it is nothing of the kind."""


class ReceiveSettings(Settings):
    """`receive:` what is pushed to us."""

    secret: Secret = Field(description="what senders prove themselves with: `Authorization: Bearer …`, or a signature")

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, secret: Secret) -> Secret:
        if len(secret.reveal()) < 16:
            raise ValueError("too short to be a secret: 16 characters at least (openssl rand -hex 32)")
        return secret


class Batches:
    """The marks of the batches that were taken last."""

    def __init__(self, text: str | None = None) -> None:
        try:
            marks = json.loads(text or "[]")
            self._marks = dict.fromkeys(str(mark) for mark in marks)
        except (ValueError, TypeError):
            raise CollectorError("the stored cursor cannot be read", reason="config") from None

    def __contains__(self, mark: str) -> bool:
        return mark in self._marks

    def add(self, mark: str) -> None:
        """Remember one more; the oldest is forgotten."""
        self._marks[mark] = None
        while len(self._marks) > REMEMBERED:
            del self._marks[next(iter(self._marks))]

    def text(self) -> str:
        """As a cursor's value."""
        return json.dumps(list(self._marks), separators=(",", ":"))


class Receiver:
    """Listens on one path for one format; `reads` are its formats by what follows the path."""

    def __init__(self, account: Account, settings: ReceiveSettings, format: str, reads: Mapping[str, Read]) -> None:
        self.name = account.collector
        self.paths: Sequence[str] = (f"{account.inbox}/{format}",)
        self._target = format
        self._owner = account.owner(format)
        self._secret = settings.secret
        self._reads = reads
        self._maker = LineMaker()
        self._batches = Batches()
        self._feed: Feed | None = None
        self._in_hand = 0
        self._turn = asyncio.Lock()

    async def run(self, feed: Feed) -> None:
        """Nothing to poll: keep the feed, and wait for ever."""
        self._batches = Batches(await feed.cursor(self._owner))
        # Whether a sender is well cannot be seen from here, and hours without a batch are no failure: what an end of this
        # collector has booked is not kept, and no success is booked that would look old.
        feed.close_book(self._target)
        self._feed = feed
        try:
            await asyncio.Event().wait()
        finally:
            self._feed = None

    async def once(self, feed: Feed) -> None:
        """Nothing can be read when asked."""

    async def receive(self, call: Call) -> Said:
        """A batch, or a test whether somebody is there."""
        if not self._proven(call):
            return Said(401, "the secret is wrong\n")
        read = self._reads.get(call.rest.rstrip("/"))
        if read is None:
            return Said(
                404, f"nothing is received here, but at {', '.join(self.paths[0] + rest for rest in self._reads)}\n"
            )
        if "protobuf" in call.headers.get("content-type", ""):
            return Said(415, "send JSON\n")
        if self._feed is None or self._in_hand >= AT_ONCE:
            return Said.later()
        self._in_hand += 1
        try:
            return await self._take(self._feed, read, call.body)
        finally:
            self._in_hand -= 1

    async def _take(self, feed: Feed, read: Read, packed: bytes) -> Said:
        book, now_ns = feed.book(self._target), feed.clock.now_ns()
        try:
            body = _unpacked(packed)
            if body.strip() in _TESTS or not body.strip():
                return Said(200, "somebody is here\n")
            records, unreadable = read(self._maker, body, now_ns)
        except (ValueError, zlib.error, RecursionError):
            book.dropped(1, "bad_data")
            return Said(400, "the body is not what is received here\n")
        mark = hashlib.blake2b(body, digest_size=8).hexdigest()
        # One after the other: what is known must hold the batch before when it comes again.
        async with self._turn:
            if mark in self._batches:
                return Said(200, "known\n")
            await self._store(feed, records, mark)
        if unreadable:
            book.dropped(unreadable, "bad_data")
        return Said(200, "{}", {"Content-Type": "application/json"})

    async def _store(self, feed: Feed, records: list[Record], mark: str) -> None:
        after = Batches(self._batches.text())
        after.add(mark)
        records.sort(key=lambda record: record.t_ns)
        await feed.offer(Batch(records=records, cursor=Cursor(self._owner, after.text())), self._target)
        self._batches = after

    def _proven(self, call: Call) -> bool:
        """By the secret itself, or by a signature of the body that was made with it."""
        secret = self._secret.reveal().encode()
        if given := call.headers.get(SIGNATURE, ""):
            made = hmac.new(secret, call.body, hashlib.sha256).hexdigest()
            return hmac.compare_digest(given.encode(), f"sha256={made}".encode())
        return hmac.compare_digest(call.headers.get("authorization", "").encode(), b"Bearer " + secret)


def build_parts(account: Account, settings: ReceiveSettings) -> Sequence[Collector]:
    """A receiver for each format."""
    return [Receiver(account, settings, name, reads) for name, reads in FORMATS.items()]


async def checks(account: Account, _: ReceiveSettings, clock: Clock) -> Sequence[Check]:  # noqa: ARG001 - the shape of a part's checks
    """Where to send to. Whether the sender reaches us only it can tell."""
    return [ok(f"receive: listens at {', '.join(f'{account.inbox}/{name}' for name in FORMATS)}")]


def _unpacked(body: bytes) -> bytes:
    """gzip is known by its beginning: the test of Logpush is a packed file. ValueError for a bomb."""
    if not body.startswith(_GZIP):
        return body
    member = zlib.decompressobj(16 + zlib.MAX_WBITS)
    found = member.decompress(body, LARGEST + 1)
    if len(found) > LARGEST or not member.eof:
        raise ValueError("too large, or cut off")
    return found


def _rows(maker: LineMaker, body: bytes, now_ns: int) -> Found:
    """NDJSON of Logpush. One row that cannot be read refuses no other: the batch would be lost for good."""
    records: list[Record] = []
    unreadable = 0
    for line in body.splitlines():
        if not line.strip():
            continue
        try:
            found = row_record(maker, json.loads(line), now_ns)
        except (ValueError, RecursionError):
            found = None
        if found is None:
            unreadable += 1
        else:
            records += found
    if unreadable and not records:
        raise ValueError("no row can be read")
    return records, unreadable


def _items(maker: LineMaker, body: bytes, _: int) -> Found:
    """`{"id": …, "items": […]}` of the Tail Worker in examples/."""
    items: Any = mapping(json.loads(body)).get("items")
    if not isinstance(items, list):
        raise ValueError("no items")
    found = [item_records(maker, item) for item in items]
    return [record for part in found if part for record in part], sum(part is None for part in found)


def _otlp(read: Callable[[LineMaker, Any, int], Found], member: str) -> Read:
    def of(maker: LineMaker, body: bytes, now_ns: int) -> Found:
        whole = json.loads(body)
        if not isinstance(whole, dict) or not isinstance(whole.get(member), list):
            raise ValueError(f"no {member}")
        return read(maker, whole, now_ns)

    return of


FORMATS: Final[Mapping[str, Mapping[str, Read]]] = {
    "logpush": {"": _rows},
    "otlp": {"/v1/logs": _otlp(log_records, "resourceLogs"), "/v1/traces": _otlp(span_records, "resourceSpans")},
    "tail": {"": _items},
}
