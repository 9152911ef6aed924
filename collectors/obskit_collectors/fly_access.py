"""Tokens of Fly.io and the APIs they open: the scheme differs per API, and what people paste differs too.

Rules of flyctl (fly-go, tokens/tokens.go): macaroons begin with `fm1r_`, `fm1a_` or `fm2_`; where there is one, logs and
machines are asked with `FlyV1` and macaroons alone. A macaroon sent as `Bearer` gets 401 from logs and Prometheus.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Self

from obskit.collect import Ask, Collector, Feed, Reply, VendorApi
from obskit.collect.books import REQUESTS
from obskit.errors import CollectorError
from obskit.model.settings import Secret

MACAROONS: Final = ("fm1r_", "fm1a_", "fm2_")
FIX: Final = "make a token: fly tokens create readonly {organization}"
_SCHEMES: Final = ("flyv1", "bearer")


def authorization(pasted: Secret) -> Secret:
    """The header's value for a token as somebody pasted it: with a scheme before it or not, one or several."""
    text = pasted.reveal().strip()
    first, _, rest = text.partition(" ")
    if first.lower() in _SCHEMES:
        text = rest
    tokens = [token for part in text.split(",") if (token := part.strip())]
    macaroons = [token for token in tokens if token.startswith(MACAROONS)]
    return Secret(f"FlyV1 {','.join(macaroons)}" if macaroons else f"Bearer {','.join(tokens)}")


class TokenRefusedError(Exception):
    """An API refuses the token. No CollectorError: it is told by Access, not in the book of whoever asked."""

    def __init__(self, what: str, error: CollectorError) -> None:
        super().__init__(str(error))
        self.what = what
        self.error = error


class Access:
    """Which APIs take the token. While none does it is the token that is wrong: one alert, for the target `token`."""

    def __init__(self) -> None:
        self.feed: Feed | None = None
        self._taken: set[str] = set()
        self._refused: dict[str, CollectorError] = {}
        self._told: set[str] = set()

    def taken(self, what: str) -> None:
        """An API answered."""
        if what not in self._taken:
            self._taken.add(what)
            self._refused.pop(what, None)
            self._tell()

    def refused(self, what: str, error: CollectorError) -> None:
        """An API said 401."""
        self._taken.discard(what)
        self._refused[what] = error
        self._tell()

    def _tell(self) -> None:
        """Book what is refused: each API by itself while another takes the token, else the token."""
        if self.feed is None:
            return
        errors = dict(self._refused)
        if errors and not self._taken:
            errors = {"token": next(iter(errors.values()))}
        for target in self._told - errors.keys():
            self.feed.close_book(target)
        for target in errors.keys() - self._told:
            self.feed.book(target).failure(errors[target], 0.0)
        self._told = set(errors)


class Gated:
    """A part that stops when the token is refused, and begins again when it may have been mended."""

    def __init__(self, inner: Collector, access: Access) -> None:
        self.name = inner.name
        self._inner = inner
        self._access = access

    async def run(self, feed: Feed) -> None:
        """As `inner` does, with pauses of `retry_after`."""
        self._access.feed = feed
        while True:
            try:
                await self._inner.run(feed)
            except TokenRefusedError as refused:
                self._access.refused(refused.what, refused.error)
                await feed.clock.sleep(refused.error.retry_after or 0.0)

    async def once(self, feed: Feed) -> None:
        """As `inner` does."""
        self._access.feed = feed
        try:
            await self._inner.once(feed)
        except TokenRefusedError as refused:
            self._access.refused(refused.what, refused.error)
            raise refused.error from None


class FlyApi:
    """One base URL. What it refuses for one app (403) is that app's trouble, not the token's.

    `what` names the API to Access; without one, a refusal is a CollectorError as any other.
    """

    def __init__(self, base: str, token: Secret | None, organization: str) -> None:
        fix = FIX.format(organization=organization or "ORGANIZATION")
        self._api = VendorApi(base, authorization=token and authorization(token), fix=fix)
        self._what = self._collector = ""
        self._access: Access | None = None

    def told_to(self, access: Access, what: str, collector: str) -> Self:
        """The same API; whether it takes the token is told, and each request is counted for the collector."""
        self._access, self._what, self._collector = access, what, collector
        return self

    async def json(self, ask: Ask) -> Any:
        """The answer's JSON; CollectorError as VendorApi has it, and `missing` for what another organisation owns."""
        return (await self._reply(ask)).json(self._api.shown(ask))

    async def text(self, ask: Ask) -> str:
        """The answer as text."""
        return (await self._reply(ask)).body.decode("utf-8", "replace")

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    async def _reply(self, ask: Ask) -> Reply:
        if self._collector:
            REQUESTS.labels(self._collector).inc()
        try:
            reply = await self._api.ask(replace(ask, expected=frozenset({403})))
        except CollectorError as error:
            if error.reason == "auth" and self._access is not None:
                raise TokenRefusedError(self._what, error) from None
            raise
        if reply.status == 403:
            raise CollectorError(
                f"{self._api.shown(ask)}: HTTP 403: it belongs to another organisation, or the token may not read it",
                reason="missing",
            )
        if self._access is not None:
            self._access.taken(self._what)
        return reply


def items(answer: Any, key: str) -> list[dict[str, Any]]:
    """The mappings in a list, which may stand under `key`; CollectorError (bad_data) when there is no list."""
    found = answer.get(key) if isinstance(answer, dict) else answer
    if not isinstance(found, list):
        raise CollectorError(f"the answer holds no list of {key}", reason="bad_data")
    return [item for item in found if isinstance(item, dict)]


def part(item: Any, *path: str) -> Any:
    """What lies at a path of nested mappings; None where it ends early."""
    for key in path:
        item = item.get(key) if isinstance(item, dict) else None
    return item


def text_at(item: Any, *path: str) -> str:
    """The text (or number, as text) at a path; empty when there is none."""
    found = part(item, *path)
    return str(found) if isinstance(found, str | int | float) and not isinstance(found, bool) else ""
