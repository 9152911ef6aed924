"""AWS Signature Version 4, which every S3-compatible bucket and AWS' own services ask for. Pure: the caller sends.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
The path is signed as it is sent (S3's rule); services that want it encoded twice have paths that need no encoding.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

from obskit.model.settings import Secret

NO_BODY: Final = hashlib.sha256(b"").hexdigest()
_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Who signs, for which service in which region. `session_token` belongs to temporary keys."""

    access_key: Secret
    secret_key: Secret
    region: str
    service: str
    session_token: Secret | None = None


def sign(
    key: SigningKey, method: str, url: str, headers: Mapping[str, str], *, body_sha256: str, now_ms: int
) -> dict[str, str]:
    """What is to be added to a request's headers: its date, the session's token, and `Authorization`.

    `url` is encoded as it is sent. All of `headers` are signed, so a proxy must not change them. A signature is good for
    some minutes: sign when it leaves.
    """
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    added = {"X-Amz-Date": stamp}
    if key.session_token is not None:
        added["X-Amz-Security-Token"] = key.session_token.reveal()
    parts = urlsplit(url)
    signed = {
        name.lower(): " ".join(value.split()) for name, value in {**headers, **added, "host": parts.netloc}.items()
    }
    names = ";".join(sorted(signed))
    lines = [f"{name}:{signed[name]}" for name in sorted(signed)]
    canonical = "\n".join([method, parts.path or "/", _query(parts.query), *lines, "", names, body_sha256])
    scope = f"{stamp[:8]}/{key.region}/{key.service}/aws4_request"
    to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    digest = b"AWS4" + key.secret_key.reveal().encode()
    for part in (stamp[:8], key.region, key.service, "aws4_request", to_sign):
        digest = hmac.digest(digest, part.encode(), "sha256")
    credential = f"Credential={key.access_key.reveal()}/{scope}"
    added["Authorization"] = f"{_ALGORITHM} {credential}, SignedHeaders={names}, Signature={digest.hex()}"
    return added


def encoded_path(path: str) -> str:
    """A path as it is signed and sent."""
    return quote(path, safe="/-_.~")


def encoded_query(fields: Mapping[str, str]) -> str:
    """A query as it is signed and sent."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(fields.items()))


def _query(query: str) -> str:
    pairs = [(quote(n, safe="-_.~"), quote(v, safe="-_.~")) for n, v in parse_qsl(query, keep_blank_values=True)]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))
