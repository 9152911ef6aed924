"""Where the keys come from that requests to AWS are signed with: settings, the environment, or a container's endpoint.

No shared credentials file, no instance role, no web identity: give keys there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from obskit.clock import Clock
from obskit.collect import Ask, VendorApi
from obskit.errors import CollectorError
from obskit.model.settings import Secret

FIX: Final = "set access_key and secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in obskit's environment"
_CONTAINER: Final = "http://169.254.170.2"
_TRUSTED_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"})
"""Where keys may be fetched from in clear, as in AWS' own clients."""
_EARLY_MS: Final = 300_000
"""Temporary keys are fetched anew this long before they end."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What a request is signed with. `expires_ms` None: they do not end."""

    access_key: Secret
    secret_key: Secret
    session_token: Secret | None = None
    expires_ms: int | None = None


class KeySource(Protocol):
    """Gives keys that are good now."""

    async def keys(self) -> Keys:
        """Raises CollectorError when there are none."""
        ...

    def forget(self) -> None:
        """The service says that they have ended: fetch others."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class GivenKeys:
    """Keys that somebody wrote down; None when nobody did."""

    def __init__(self, keys: Keys | None) -> None:
        self._keys = keys

    async def keys(self) -> Keys:
        """Those, or the advice to write them down."""
        if self._keys is None:
            raise CollectorError(f"no AWS keys: {FIX}", reason="auth")
        return self._keys

    def forget(self) -> None:
        """There are no others."""

    async def close(self) -> None:
        """Nothing is open."""


class ContainerKeys:
    """Temporary keys of a container's role (ECS, EKS Pod Identity), fetched anew before they end."""

    def __init__(self, url: str, authorization: Secret | None, clock: Clock) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in _TRUSTED_HOSTS:
            raise CollectorError(
                f"AWS_CONTAINER_CREDENTIALS_FULL_URI: {parts.hostname} is not a container's endpoint", reason="config"
            )
        fix = "does the task have a role?"
        self._api = VendorApi(f"{parts.scheme}://{parts.netloc}", authorization=authorization, fix=fix, timeout_s=5)
        self._ask = Ask(f"{parts.path}?{parts.query}" if parts.query else parts.path)
        self._clock = clock
        self._keys: Keys | None = None

    async def keys(self) -> Keys:
        """Those that are known, while they are good for some minutes more."""
        ends_ms = self._keys.expires_ms if self._keys else None
        if self._keys is None or (ends_ms is not None and ends_ms - _EARLY_MS < self._clock.now_ms()):
            self._keys = _read(await self._api.json(self._ask))
        return self._keys

    def forget(self) -> None:
        """The next call fetches."""
        self._keys = None

    async def close(self) -> None:
        """Let go of the connection."""
        await self._api.close()


def key_source(given: Keys | None, environment: Mapping[str, str], clock: Clock) -> KeySource:
    """Given keys come first, then the environment's, then the container's."""
    if given is not None:
        return GivenKeys(given)
    access, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        token = environment.get("AWS_SESSION_TOKEN")
        return GivenKeys(Keys(Secret(access), Secret(secret), Secret(token) if token else None))
    relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    url = f"{_CONTAINER}{relative}" if relative else environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if url:
        return ContainerKeys(url, _authorization(environment), clock)
    return GivenKeys(None)


def _authorization(environment: Mapping[str, str]) -> Secret | None:
    path = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    try:
        text = Path(path).read_text(encoding="utf-8") if path else environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    except OSError as error:
        raise CollectorError(f"cannot read {path}: {error.strerror}", reason="config") from None
    return Secret(text.strip()) if text else None


def _read(document: Any) -> Keys:
    try:
        expires = datetime.fromisoformat(document["Expiration"])
        return Keys(
            Secret(document["AccessKeyId"]),
            Secret(document["SecretAccessKey"]),
            Secret(document["Token"]),
            round(expires.timestamp() * 1000),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CollectorError("the container's endpoint gave no keys", reason="bad_data") from None
