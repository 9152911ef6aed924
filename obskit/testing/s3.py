"""A fake S3: a bucket with objects, ranges, uploads in pieces and checked signatures, and the ways of services to differ.

    with FakeS3() as s3:
        settings = s3.settings()
        s3.plan(Failure(status=503), route="PUT")        # the next PUT only
        s3.quirks.add(Quirk.OPAQUE_ETAGS)                # until it is taken out
        ...
        s3.objects["logs/day=2026-11-20/..."]

Routes are the methods: GET, PUT, POST, HEAD, DELETE.
https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from obskit.clock import Clock
from obskit.testing.http import Answer, Failure, FakeServer, Received

ACCESS_KEY: Final = "AKIAFAKE"
SECRET_KEY: Final = "fake/secret+key"
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d+)")
_PART: Final = re.compile(r"<PartNumber>(\d+)</PartNumber><ETag>([^<]*)</ETag>")
_LEEWAY_S: Final = 900


class Quirk(Enum):
    """How a service may differ from the book, or misbehave for a while."""

    OPAQUE_ETAGS = auto()
    """ETags are no MD5, as with encryption by a key of one's own."""
    NO_RANGES = auto()
    """Range is left out of account: 200 and everything."""
    EXPIRED = auto()
    """403 ExpiredToken, whatever is asked."""
    LATE_OBJECTS = auto()
    """The first look at an object after it was written finds nothing."""
    FLIPPED_BIT = auto()
    """What is stored is not quite what was sent."""
    CUT_ANSWERS = auto()
    """The connection breaks in the middle of an object."""
    CUT_UPLOADS = auto()
    """The connection breaks in the middle of a PUT's body."""
    ERROR_IN_200 = auto()
    """Completing an upload in pieces answers 200 with an error in it."""


class FakeS3(FakeServer):
    """One bucket. `ahead_s` is how far its clock is ahead of ours; `slow_s` how long each answer takes."""

    def __init__(self, clock: Clock | None = None, *, bucket: str = "lines") -> None:
        self.bucket = bucket
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, tuple[str, dict[int, bytes]]] = {}
        self.quirks: set[Quirk] = set()
        self.ahead_s = 0.0
        self.slow_s = 0.0
        self._unseen: set[str] = set()
        self._count = 0
        super().__init__(clock)

    def settings(self, **more: str) -> dict[str, Any]:
        """What goes under `store.cold.s3`."""
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        return {"endpoint": self.base_url, "bucket": self.bucket, **keys, **more}

    def handle(self, request: Received) -> Answer | None:
        """See FakeServer.handle; slow, if it is to be."""
        self._closing.wait(self.slow_s)
        return super().handle(request)

    def now_ms(self) -> int:
        """Its own time."""
        return super().now_ms() + round(self.ahead_s * 1000)

    def route(self, request: Received) -> str:
        """The method."""
        return request.method

    def takes(self, method: str, _path: str, size: int) -> int:
        """Half of an upload, when it is to break."""
        return size // 2 if method == "PUT" and size and Quirk.CUT_UPLOADS in self.quirks else size

    def fail(self, _request: Received, failure: Failure) -> Answer:
        """An error as S3 writes it."""
        return _error(failure.status, failure.error or "InternalError")

    def answer(self, request: Received) -> Answer:
        """The answer of S3."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        parts = urlsplit(request.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if bucket != self.bucket:
            return _error(404, "NoSuchBucket")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if not key:
            return self._listed_uploads(query.get("prefix", ""))
        if "uploads" in query:
            return self._begun(key)
        if "uploadId" in query:
            return self._of_upload(request, key, query)
        return getattr(self, f"_{request.method.lower()}")(request, key)  # type: ignore[no-any-return]  # by its name

    def _put(self, request: Received, key: str) -> Answer:
        self._store(key, request.body)
        return Answer(headers={"ETag": f'"{self._etag(self.objects[key])}"'})

    def _get(self, request: Received, key: str) -> Answer:
        if key not in self.objects or self._is_late(key):
            return _error(404, "NoSuchKey")
        data, status = self.objects[key], 200
        headers = {"ETag": f'"{self._etag(data)}"'}
        wanted = _RANGE.fullmatch(request.headers.get("range", ""))
        if wanted and Quirk.NO_RANGES not in self.quirks:
            start, end = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
            if start >= len(data):
                return _error(416, "InvalidRange")
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            data, status = data[start : end + 1], 206
        return Answer(status, data, "application/octet-stream", headers, cut=Quirk.CUT_ANSWERS in self.quirks)

    def _head(self, _request: Received, key: str) -> Answer:
        if key not in self.objects or self._is_late(key):
            return Answer(404)
        data = self.objects[key]
        return Answer(200, data, "application/octet-stream", {"ETag": f'"{self._etag(data)}"'})

    def _delete(self, _request: Received, key: str) -> Answer:
        self.objects.pop(key, None)
        return Answer(204)

    # Uploads in pieces

    def _begun(self, key: str) -> Answer:
        self._count += 1
        upload = f"upload/{self._count}+="
        self.uploads[upload] = key, {}
        return _xml(f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")

    def _listed_uploads(self, prefix: str) -> Answer:
        found = "".join(
            f"<Upload><Key>{escape(key)}</Key><UploadId>{upload}</UploadId></Upload>"
            for upload, (key, _) in self.uploads.items()
            if key.startswith(prefix)
        )
        return _xml(f"<ListMultipartUploadsResult>{found}</ListMultipartUploadsResult>")

    def _of_upload(self, request: Received, key: str, query: Mapping[str, str]) -> Answer:
        upload = query["uploadId"]
        if self.uploads.get(upload, ("", {}))[0] != key:
            return _error(404, "NoSuchUpload")
        pieces = self.uploads[upload][1]
        if request.method == "PUT":
            pieces[int(query["partNumber"])] = request.body
            return Answer(headers={"ETag": f'"{self._etag(request.body)}"'})
        if request.method == "POST":
            return self._completed(request, key, upload)
        if request.method == "DELETE":
            del self.uploads[upload]
            return Answer(204)
        found = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{self._etag(data)}&quot;</ETag></Part>"
            for number, data in sorted(pieces.items())
        )
        return _xml(f"<ListPartsResult>{found}</ListPartsResult>")

    def _completed(self, request: Received, key: str, upload: str) -> Answer:
        pieces = self.uploads[upload][1]
        if Quirk.ERROR_IN_200 in self.quirks:
            return _xml("<Error><Code>InternalError</Code></Error>")
        named = [(int(number), etag.strip('"')) for number, etag in _PART.findall(request.body.decode())]
        if any(self._etag(pieces.get(number, b"")) != etag for number, etag in named):
            return _error(400, "InvalidPart")
        if any(len(pieces[number]) < 5 << 20 for number, _ in named[:-1]):
            return _error(400, "EntityTooSmall")
        self._store(key, b"".join(pieces[number] for number, _ in named))
        del self.uploads[upload]
        return _xml("<CompleteMultipartUploadResult/>")

    def _store(self, key: str, data: bytes) -> None:
        if Quirk.FLIPPED_BIT in self.quirks and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.objects[key] = data
        if Quirk.LATE_OBJECTS in self.quirks:
            self._unseen.add(key)

    def _is_late(self, key: str) -> bool:
        late = key in self._unseen
        self._unseen.discard(key)
        return late

    def _etag(self, data: bytes) -> str:
        digest = hashlib.md5(data).hexdigest()
        return digest[::-1] if Quirk.OPAQUE_ETAGS in self.quirks else digest

    # Who may ask

    def _refused(self, request: Received) -> Answer | None:
        now = datetime.fromtimestamp(self.now_ms() / 1000, UTC)
        if Quirk.EXPIRED in self.quirks:
            return _error(403, "ExpiredToken")
        date = request.headers.get("x-amz-date", "19700101T000000Z")
        sent = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs((sent - now).total_seconds()) > _LEEWAY_S:
            return _error(403, "RequestTimeTooSkewed")
        if hashlib.sha256(request.body).hexdigest() != request.headers.get("x-amz-content-sha256"):
            return _error(400, "XAmzContentSHA256Mismatch")
        md5 = request.headers.get("content-md5")
        if md5 is not None and base64.b64encode(hashlib.md5(request.body).digest()).decode() != md5:
            return _error(400, "BadDigest")
        if not _is_signed(request):
            return _error(403, "SignatureDoesNotMatch")
        return None


def _is_signed(request: Received) -> bool:
    """Whether `Authorization` is what the request as it came would get, by the book and nothing of the client's code."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/s3/aws4_request, SignedHeaders=([^,]+), Signature=(\w+)",
        request.headers.get("authorization", ""),
    )
    if found is None or found[1] != ACCESS_KEY:
        return False
    _, day, region, names, signature = found.groups()
    path, _, query = request.path.partition("?")
    pairs = sorted((quote(n, safe=""), quote(v, safe="")) for n, v in parse_qsl(query, keep_blank_values=True))
    headers = "".join(f"{name}:{request.headers[name]}\n" for name in names.split(";"))
    fields = "&".join(f"{n}={v}" for n, v in pairs)
    body = request.headers["x-amz-content-sha256"]
    canonical = f"{request.method}\n{path}\n{fields}\n{headers}\n{names}\n{body}"
    scope = f"{day}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{request.headers['x-amz-date']}\n{scope}\n{digest}"
    key = f"AWS4{SECRET_KEY}".encode()
    for step in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, step.encode(), "sha256").digest()
    return hmac.new(key, text.encode(), "sha256").hexdigest() == signature


def _xml(body: str) -> Answer:
    return Answer(body=f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode(), content_type="application/xml")


def _error(status: int, code: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code></Error>".encode(), "application/xml")
