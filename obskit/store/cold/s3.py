"""Cold files in a bucket of S3 (AWS, R2, anything that speaks its protocol), over httpx and our own signatures.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html . Every body's sha256 is signed and its MD5 sent, so the
service refuses what changed on its way. A large file goes in pieces; those that are there already (by their MD5) are not
sent again, also after a restart: unfinished uploads are looked up by key. Nothing waits here for a better time.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple, TypeVar

from obskit.clock import Clock
from obskit.errors import ColdError
from obskit.model.sigv4 import NO_BODY, SigningKey, encoded_path, encoded_query, sign
from obskit.outbound import httpx
from obskit.store.cold.settings import S3Settings
from obskit.store.cold.target import PIECE_BYTES, Sealed, Stop, chunks

_AT_ONCE_BYTES: Final = 2 * PIECE_BYTES
"""A file up to this size goes in one request."""
_TIMEOUT: Final = httpx.Timeout(10.0)
_TRIES: Final = 3
_CODE: Final = re.compile(rb"<Code>([\w.]+)</Code>")
_UPLOAD: Final = re.compile(rb"<Upload>(.*?)</Upload>", re.DOTALL)
_UPLOAD_ID: Final = re.compile(rb"<UploadId>([^<]+)</UploadId>")
_KEY: Final = re.compile(rb"<Key>([^<]*)</Key>")
_PART: Final = re.compile(rb"<Part>(.*?)</Part>", re.DOTALL)
_NUMBER: Final = re.compile(rb"<PartNumber>(\d+)</PartNumber>")
_ETAG: Final = re.compile(rb"<ETag>([^<]+)</ETag>")
_SKEWED: Final = "RequestTimeTooSkewed"
_T = TypeVar("_T")
_BUSY: Final = ("SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "TooManyRequests", "OperationAborted")


class _Body(NamedTuple):
    """What is sent: its size and digests, and (as often as it is asked for) its bytes."""

    size: int
    sha256: str
    md5: str
    read: Callable[[], Iterator[bytes]]


def _whole(data: bytes) -> _Body:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return _Body(len(data), hashlib.sha256(data).hexdigest(), md5, lambda: iter([data]))


_NOTHING: Final = _Body(0, NO_BODY, "", lambda: iter(()))


class S3:
    """A Target that is a bucket (and a prefix in it)."""

    def __init__(self, settings: S3Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._key = SigningKey(settings.access_key, settings.secret_key, settings.region, "s3", settings.session_token)
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._ahead_ms = 0
        """How far the service's clock is ahead of ours, when it said so."""

    is_far = True

    @property
    def name(self) -> str:
        """The bucket."""
        return f"s3:{self._settings.bucket}/{self._settings.prefix}"

    def send(self, file: Sealed, key: str, stop: Stop) -> None:
        """See Target.send."""
        if file.size <= _AT_ONCE_BYTES:
            body = _Body(file.size, file.sha256, file.md5, lambda: chunks(file.path, 0, file.size, stop))
            self._ask("PUT", key, body=body)
            return
        upload = self._unfinished(key) or self._begin(key)
        here = self._parts(key, upload)
        for number, md5 in enumerate(file.pieces_md5, start=1):
            if here.get(number) != md5:
                self._send_piece(file, key, {"uploadId": upload, "partNumber": str(number)}, stop)
        self._finish(key, upload, file)

    def verify(self, file: Sealed, key: str, stop: Stop) -> None:
        """See Target.verify. An ETag that is no MD5 (encryption, another service's way) says nothing: it is read back."""
        head = self._ask("HEAD", key)
        size = int(head.headers.get("content-length") or -1)
        if size != file.size:
            raise ColdError(f"{key} has {size} bytes instead of {file.size}", reason="corrupt")
        if head.headers.get("etag", "").strip('"').lower() in (file.md5, _etag(file)):
            return
        digest = hashlib.sha256()
        for start in range(0, file.size, PIECE_BYTES):
            stop.check()
            digest.update(self.read(key, start, min(PIECE_BYTES, file.size - start)))
        if digest.hexdigest() != file.sha256:
            raise ColdError(f"{key} is not what was sent", reason="corrupt")

    def put(self, key: str, data: bytes) -> None:
        """See Target.put."""
        self._ask("PUT", key, body=_whole(data))

    def get(self, key: str) -> bytes | None:
        """See Target.get."""
        try:
            return self._again(lambda: self._ask("GET", key).content)
        except ColdError as error:
            if error.reason == "missing":
                return None
            raise

    def read(self, key: str, start: int, size: int) -> bytes:
        """See Target.read. Somebody waits for it, so it is tried again at once when the network fails."""
        headers = {"range": f"bytes={start}-{start + size - 1}"}
        answer = self._again(lambda: self._ask("GET", key, headers=headers))
        # A service may leave the range out of account and send everything.
        return answer.content if answer.status_code == 206 else answer.content[start : start + size]

    def delete(self, key: str) -> None:
        """See Target.delete. Pieces of an upload that was never finished go, too: they cost as much as objects."""
        try:
            while (upload := self._unfinished(key)) is not None:
                self._ask("DELETE", key, {"uploadId": upload})
            self._ask("DELETE", key)
        except ColdError as error:
            if error.reason != "missing":
                raise

    def close(self) -> None:
        """See Target.close."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _unfinished(self, key: str) -> str | None:
        """An upload of this key that was begun."""
        found = self._ask("GET", "", {"uploads": "", "prefix": self._full(key)}).content
        for upload in _UPLOAD.findall(found):
            name, number = _KEY.search(upload), _UPLOAD_ID.search(upload)
            if name and number and html.unescape(name[1].decode()) == self._full(key):
                return html.unescape(number[1].decode())
        return None

    def _begin(self, key: str) -> str:
        found = _UPLOAD_ID.search(self._ask("POST", key, {"uploads": ""}).content)
        if found is None:
            raise ColdError(f"{key}: the service did not say how the upload is called", reason="server")
        return html.unescape(found[1].decode())

    def _parts(self, key: str, upload: str) -> dict[int, str]:
        """The pieces that are there, by number, and their ETags."""
        parts = {}
        for part in _PART.findall(self._ask("GET", key, {"uploadId": upload}).content):
            number, etag = _NUMBER.search(part), _ETAG.search(part)
            if number and etag:
                parts[int(number[1])] = html.unescape(etag[1].decode()).strip('"').lower()
        return parts

    def _send_piece(self, file: Sealed, key: str, query: Mapping[str, str], stop: Stop) -> None:
        number = int(query["partNumber"])
        start = (number - 1) * PIECE_BYTES
        size = min(PIECE_BYTES, file.size - start)
        digest = hashlib.sha256()
        for data in chunks(file.path, start, size, stop):
            digest.update(data)
        md5 = file.pieces_md5[number - 1]
        body = _Body(size, digest.hexdigest(), md5, lambda: chunks(file.path, start, size, stop))
        self._ask("PUT", key, query, body=body)

    def _finish(self, key: str, upload: str, file: Sealed) -> None:
        # The pieces' tags as the service has them: with encryption they are no MD5.
        tags = self._parts(key, upload)
        missing = [number for number in range(1, len(file.pieces_md5) + 1) if number not in tags]
        if missing:
            raise ColdError(f"{key}: the service lost piece {missing[0]}", reason="server")
        parts = "".join(
            f'<Part><PartNumber>{number}</PartNumber><ETag>"{html.escape(tags[number])}"</ETag></Part>'
            for number in range(1, len(file.pieces_md5) + 1)
        )
        body = _whole(f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode())
        answer = self._ask("POST", key, {"uploadId": upload}, body=body)
        # It is begun with 200 before it is known whether it went well.
        if b"<Error>" in answer.content:
            raise _refusal(key, 500, answer.content)

    def _again(self, ask: Callable[[], _T]) -> _T:
        for _ in range(_TRIES - 1):
            try:
                return ask()
            except ColdError as error:
                if error.reason not in ("network", "server"):
                    raise
        return ask()

    def _full(self, key: str) -> str:
        prefix = self._settings.prefix.strip("/")
        return f"{prefix}/{key}" if prefix else key

    def _ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: _Body = _NOTHING,
    ) -> httpx.Response:
        """One request; ColdError for every answer but a good one."""
        path = f"/{encoded_path(self._full(key))}" if key else ""
        url = f"{self._settings.url}{path}" + (f"?{encoded_query(query)}" if query else "")
        answer = self._send(method, url, dict(headers or {}), body)
        if answer.status_code == 403 and self._learn_time(answer):
            answer = self._send(method, url, dict(headers or {}), body)
        if answer.is_success:
            return answer
        raise _refusal(key or "the bucket", answer.status_code, answer.content)

    def _send(self, method: str, url: str, headers: dict[str, str], body: _Body) -> httpx.Response:
        headers["x-amz-content-sha256"] = body.sha256
        if body.md5:
            headers["content-md5"] = base64.b64encode(bytes.fromhex(body.md5)).decode()
        now_ms = self._clock.now_ms() + self._ahead_ms
        signed = sign(self._key, method, url, headers, body_sha256=body.sha256, now_ms=now_ms)
        has_body = method in ("PUT", "POST")
        if has_body:
            headers["content-length"] = str(body.size)  # or it would be sent in chunks, which S3 refuses
        content = body.read() if has_body else None
        try:
            return self._http().request(method, url, headers={**headers, **signed}, content=content)
        except httpx.HTTPError as error:
            raise ColdError(f"{self.name}: {type(error).__name__}", reason="network") from None

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                # Made when it is needed: certificates take 2 MB.
                self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=False)
            return self._client

    def _learn_time(self, answer: httpx.Response) -> bool:
        """Whether our clock is what the service minds; it is taken from the answer then."""
        if _SKEWED not in _code(answer.content):
            return False
        try:
            theirs = parsedate_to_datetime(answer.headers.get("date", ""))
        except ValueError:
            return False
        self._ahead_ms = int(theirs.timestamp() * 1000) - self._clock.now_ms()
        return True


def _etag(file: Sealed) -> str:
    """What S3 calls a file that came in pieces."""
    digests = b"".join(map(bytes.fromhex, file.pieces_md5))
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(file.pieces_md5)}"


def _code(content: bytes) -> str:
    found = _CODE.search(content)
    return found[1].decode() if found else ""


def _refusal(key: str, status: int, content: bytes) -> ColdError:
    code = _code(content)
    if status == 404:
        reason = "config" if code == "NoSuchBucket" else "missing"
    elif status in (429, 503) or code in _BUSY:
        reason = "rate_limited"
    elif status in (401, 403):
        reason = "auth"
    elif status in (400, 301, 307, 405):
        reason = "config" if code != "RequestTimeout" else "network"
    else:
        reason = "server"
    return ColdError(f"{key}: HTTP {status} {code}".rstrip(), reason=reason)
