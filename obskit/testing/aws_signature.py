"""What a request to AWS would have to be signed with: worked out from the raw request, by the book, for the fakes.

It shares nothing with the code under test. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from obskit.testing.http import Received

_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), Signature=(\w+)"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What the `Authorization` of a request claims: who signed, when, for what, and which headers with it."""

    access_key: str
    day: str
    region: str
    service: str
    names: tuple[str, ...]
    signature: str
    stamp: str

    @classmethod
    def of(cls, request: Received) -> Self | None:
        """None: there is no such header, or it is not in its form."""
        found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if found is None:
            return None
        key, day, region, service, names, signature = found.groups()
        return cls(key, day, region, service, tuple(names.split(";")), signature, request.headers.get("x-amz-date", ""))

    def age_s(self, now_ms: int) -> float:
        """How old the signature is; negative: it is from the future."""
        sent = datetime.strptime(self.stamp or "19700101T000000Z", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return now_ms / 1000 - sent.timestamp()

    def holds(self, request: Received, secret_key: str) -> bool:
        """Whether the request as it came was signed with this key."""
        headers = "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in self.names)
        path, _, query = request.path.partition("?")
        body = hashlib.sha256(request.body).hexdigest()
        canonical = f"{request.method}\n{path}\n{query}\n{headers}\n{';'.join(self.names)}\n{body}"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        scope = f"{self.day}/{self.region}/{self.service}/aws4_request"
        secret = f"AWS4{secret_key}".encode()
        for part in (self.day, self.region, self.service, "aws4_request"):
            secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
        signed = f"AWS4-HMAC-SHA256\n{self.stamp}\n{scope}\n{digest}"
        return hmac.compare_digest(hmac.new(secret, signed.encode(), hashlib.sha256).hexdigest(), self.signature)
