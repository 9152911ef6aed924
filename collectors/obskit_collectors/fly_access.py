"""Tokens of Fly.io and the APIs they open: the scheme differs per API, and what people paste differs too.

Rules of flyctl (fly-go, tokens/tokens.go): macaroons begin with `fm1r_`, `fm1a_` or `fm2_`; where there is one, logs and
machines are asked with `FlyV1` and macaroons alone. A macaroon sent as `Bearer` gets 401 from logs and Prometheus.
"""

from __future__ import annotations

from typing import Any, Final

from obskit.collect import Ask, Book, Reply, VendorApi
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


class FlyApi:
    """One base URL. What it refuses for one app (403) is that app's trouble, not the token's."""

    def __init__(self, base: str, token: Secret | None, organization: str) -> None:
        fix = FIX.format(organization=organization or "ORGANIZATION")
        self._api = VendorApi(base, authorization=token and authorization(token), fix=fix)

    async def json(self, ask: Ask, book: Book | None = None) -> Any:
        """The answer's JSON; CollectorError as VendorApi has it, and `missing` for what another organisation owns."""
        reply = await self._api.ask(Ask(ask.path, params=ask.params, expected=frozenset({403})), book)
        self._owned(ask, reply)
        return reply.json(self._api.shown(ask))

    async def text(self, ask: Ask, book: Book | None = None) -> str:
        """The answer as text."""
        reply = await self._api.ask(Ask(ask.path, params=ask.params, expected=frozenset({403})), book)
        self._owned(ask, reply)
        return reply.body.decode("utf-8", "replace")

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    def _owned(self, ask: Ask, reply: Reply) -> None:
        if reply.status == 403:
            raise CollectorError(
                f"{self._api.shown(ask)}: HTTP 403: it belongs to another organisation, or the token may not read it",
                reason="missing",
            )


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
