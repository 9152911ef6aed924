"""FakeSns: Publish of Amazon SNS, with its checks of signature, age, subject and size.

The signature is computed here from the raw request, as the service does it, and not by the code under test.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from obskit.clock import Clock
from obskit.testing.aws_signature import Claim
from obskit.testing.http import Answer, Failure, FakeServer, Received

ACCESS_KEY: Final = "AKIAFAKEACCESSKEY0000"
SECRET_KEY: Final = "fake/secret/access/key/of/amazon/0000000"
REGION: Final = "eu-central-1"
_OLDEST_S: Final = 15 * 60


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
        claim = Claim.of(request)
        if claim is None or claim.service != "sns":
            return "IncompleteSignature"
        if claim.access_key != ACCESS_KEY:
            return "InvalidClientTokenId"
        if abs(claim.age_s(self.now_ms())) > _OLDEST_S:
            return "RequestExpired"
        return "" if claim.holds(request, SECRET_KEY) else "SignatureDoesNotMatch"


def _yes() -> Answer:
    return Answer(
        200, b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>", "text/xml"
    )


def _error(status: int, code: str) -> Answer:
    said = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    return Answer(status, said.encode(), "text/xml")
