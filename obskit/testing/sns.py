"""FakeSns: Publish of Amazon SNS, with its checks of signature, age, subject and size.

The signature is computed here from the raw request, as the service does it, and not by the code under test.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from obskit.clock import Clock
from obskit.testing.http import Answer, Failure, FakeServer, Received

ACCESS_KEY: Final = "AKIAFAKEACCESSKEY0000"
SECRET_KEY: Final = "fake/secret/access/key/of/amazon/0000000"
REGION: Final = "eu-central-1"
_OLDEST_MS: Final = 15 * 60_000
_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/sns/aws4_request, SignedHeaders=([^,]+), Signature=(\w+)"
)


class FakeSns(FakeServer):
    """`published` are the fields of each message; of a `.fifo` topic those with a new deduplication id."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.published: list[dict[str, str]] = []
        self._seen: set[str] = set()
        super().__init__(clock)

    def answer(self, request: Received) -> Answer:
        """XML, with a message id or an error code."""
        refusal = self._check(request)
        if refusal:
            return _error(403, refusal)
        fields = dict(parse_qsl(request.body.decode()))
        if fields.get("Action") != "Publish":
            return _error(400, "InvalidAction")
        subject = fields.get("Subject", "a")
        if not (0 < len(subject) < 100 and subject.isascii() and subject.isprintable() and subject[0] != " "):
            return _error(400, "InvalidParameter")
        if len(fields.get("Message", "").encode()) > 262_144 or not fields.get("Message"):
            return _error(400, "InvalidParameter")
        if fields.get("TopicArn", "").endswith(".fifo"):
            if not fields.get("MessageGroupId"):
                return _error(400, "InvalidParameter")
            if fields["MessageDeduplicationId"] in self._seen:
                return _yes()
            self._seen.add(fields["MessageDeduplicationId"])
        self.published.append(fields)
        return _yes()

    def fail(self, request: Received, failure: Failure) -> Answer:
        """A planned `error` is a code of the service."""
        if failure.error:
            return _error(failure.status, failure.error)
        return super().fail(request, failure)

    def _check(self, request: Received) -> str:
        """The code of what is wrong with the signature; empty when it is right."""
        found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if found is None:
            return "IncompleteSignature"
        key, day, region, names, signature = found.groups()
        if key != ACCESS_KEY:
            return "InvalidClientTokenId"
        stamp = request.headers.get("x-amz-date", "")
        sent_ms = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() * 1000
        if abs(self.now_ms() - sent_ms) > _OLDEST_MS:
            return "RequestExpired"
        headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names.split(";"))
        path, _, query = request.path.partition("?")
        body = hashlib.sha256(request.body).hexdigest()
        canonical = f"{request.method}\n{path}\n{query}\n{headers}\n{names}\n{body}"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signed = f"AWS4-HMAC-SHA256\n{stamp}\n{day}/{region}/sns/aws4_request\n{digest}"
        secret = f"AWS4{SECRET_KEY}".encode()
        for part in (day, region, "sns", "aws4_request"):
            secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
        right = hmac.new(secret, signed.encode(), hashlib.sha256).hexdigest()
        return "" if hmac.compare_digest(right, signature) else "SignatureDoesNotMatch"


def _yes() -> Answer:
    return Answer(
        200, b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>", "text/xml"
    )


def _error(status: int, code: str) -> Answer:
    said = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    return Answer(status, said.encode(), "text/xml")
