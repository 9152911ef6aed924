"""One operation of an AWS service in the JSON protocol: signed, priced, and its errors told by their code.

https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from obskit.clock import Clock
from obskit.collect import Ask, Book, Reply, VendorApi
from obskit.collect.vendor_api import REFUSED_WAIT_S
from obskit.errors import CollectorError
from obskit.model.sigv4 import SigningKey, sign
from obskit_collectors.sqs_keys import KeySource

_SKEW_MS: Final = 240_000
"""AWS takes signatures that are 5 to 15 minutes off, depending on the service."""
_BAD_KEYS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_CLOCK: Final = frozenset(
    {"InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}
)
_NOT_ALLOWED: Final = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError"})
_BUSY: Final = frozenset({"RequestThrottled", "SlowDown", "Throttled", "Throttling", "ThrottlingException"})
_BUSY_TOO: Final = frozenset({"RequestLimitExceeded", "TooManyRequestsException"})
_GONE: Final = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "NonExistentQueue", "QueueDoesNotExist"})
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Service:
    """A service: the name it is signed for, which is its host's too, and what stands before its operations."""

    name: str
    target: str


class AwsError(CollectorError):
    """An error with the service's own code."""

    def __init__(self, message: str, *, reason: str, code: str, retry_after: float | None = None) -> None:
        super().__init__(message, reason=reason, retry_after=retry_after)
        self.code = code


class AwsCalls:
    """The operations of one service in one region. Requests are counted in the book."""

    def __init__(self, service: Service, region: str, endpoint: str, keys: KeySource, clock: Clock) -> None:
        self._service = service
        self._region = region
        self._base = endpoint.rstrip("/") or f"https://{service.name}.{region}.amazonaws.com"
        self._api = VendorApi(self._base, fix="check the keys")
        self._keys = keys
        self._clock = clock
        self.ahead_ms = 0
        """How far the service's clock is ahead of ours, once it refused a signature for that."""

    async def call(self, operation: str, body: Mapping[str, Any], *, price: float, book: Book) -> dict[str, Any]:
        """What the operation answers; AwsError when it refuses, CollectorError when there is no answer."""
        reply = await self._send(operation, body, price, book)
        if self._learns_the_time(reply):
            reply = await self._send(operation, body, price, book)
        if reply.status != 200:
            raise self._error(operation, reply)
        found = reply.json(self._shown(operation))
        if not isinstance(found, dict):
            raise CollectorError(f"{self._shown(operation)}: not an object", reason="bad_data")
        return found

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    async def _send(self, operation: str, body: Mapping[str, Any], price: float, book: Book) -> Reply:
        content = json.dumps(body).encode()
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"{self._service.target}.{operation}",
        }
        keys = await self._keys.keys()
        key = SigningKey(keys.access_key, keys.secret_key, self._region, self._service.name, keys.session_token)
        digest = hashlib.sha256(content).hexdigest()
        now_ms = self._clock.now_ms() + self.ahead_ms
        headers |= sign(key, "POST", self._base + "/", headers, body_sha256=digest, now_ms=now_ms)
        # Errors are read here: their codes say more than the status, and some repeat what was signed.
        errors = frozenset(range(400, 600))
        return await self._api.ask(Ask("/", "POST", body=content, headers=headers, price=price, expected=errors), book)

    def _learns_the_time(self, reply: Reply) -> bool:
        """Whether a signature was refused and their clock is not ours: then it is worth one more try."""
        if reply.status == 200 or _code_and_message(reply)[0] not in _CLOCK:
            return False
        try:
            theirs_ms = round(parsedate_to_datetime(reply.headers.get("date", "")).timestamp() * 1000)
        except (TypeError, ValueError):
            return False
        before, ahead_ms = self.ahead_ms, theirs_ms - self._clock.now_ms()
        self.ahead_ms = ahead_ms if abs(ahead_ms) > _SKEW_MS else 0
        return abs(self.ahead_ms - before) > _SKEW_MS

    def _error(self, operation: str, reply: Reply) -> AwsError:
        code, message = _code_and_message(reply)
        shown = self._shown(operation)
        if code in _BAD_KEYS:
            self._keys.forget()
            # The message is left out: for a signature it repeats what was signed, the session token too.
            said = f"{shown}: {code} (check the keys, the region {self._region}, and this machine's clock)"
            return AwsError(said, reason="auth", code=code, retry_after=REFUSED_WAIT_S)
        said = f"{shown}: {code or f'HTTP {reply.status}'}{': ' if message else ''}{message}"
        if code in _NOT_ALLOWED:
            return AwsError(f"{said} (allow {self.action(operation)})", reason="auth", code=code)
        if code in _BUSY or code in _BUSY_TOO or reply.status == 429:
            return AwsError(said, reason="rate_limited", code=code)
        if code in _GONE:
            return AwsError(said, reason="missing", code=code)
        return AwsError(said, reason="server" if reply.status >= 500 else "bad_data", code=code)

    def action(self, operation: str) -> str:
        """The permission of an operation, as policies name it."""
        return f"{'cloudwatch' if self._service.name == 'monitoring' else self._service.name}:{operation}"

    def _shown(self, operation: str) -> str:
        return f"{operation} at {self._base}"


def _code_and_message(reply: Reply) -> tuple[str, str]:
    """The code without its name space, and the message on one line."""
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return "", ""
    code = str(document.get("__type", "")).rpartition("#")[2]
    message = " ".join(str(document.get("message") or document.get("Message") or "").split())
    return code, "".join(character for character in message if character.isprintable())[:_LONGEST]
