"""One Cloudflare account as every part of the collector sees it: its name, its API, and what the API's errors mean.

Each REST answer comes in an envelope `{success, errors, messages, result}`, and may fail with HTTP 200.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from obskit.collect import Ask, Book, VendorApi
from obskit.collect.vendor_api import REFUSED_WAIT_S
from obskit.errors import CollectorError
from obskit.model.labels import NAME, Labels
from obskit.model.samples import MetricMeta, MetricType
from obskit.model.settings import Secret

BASE: Final = "https://api.cloudflare.com/client/v4"
_REASONS: Final = {10000: "auth", 9109: "auth", 971: "rate_limited", 7003: "missing", 10013: "server"}
"""Codes of errors that come with HTTP 200; those of others are told by their status. 10013 passes."""
SAMPLED: Final = "obskit_cf_sampled"
SAMPLED_META: Final = {
    SAMPLED: MetricMeta(
        MetricType.GAUGE, "One in how many rows was given at the last read; above 1, data was left out."
    )
}
_MOST: Final = 3
"""Errors of one answer that are repeated."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to ask, and as whom. `collector` is the collector's name, `cloudflare/eu` where it has one of its own."""

    id: str
    token: Secret
    name: str = ""
    base: str = BASE

    @property
    def collector(self) -> str:
        """The `collector` label of what is booked."""
        return f"cloudflare/{self.name}" if self.name else "cloudflare"

    @property
    def inbox(self) -> str:
        """The path below which this account's pushes come in."""
        return f"/in/{self.collector}"

    def owner(self, what: str) -> str:
        """The owner of a cursor."""
        return f"{self.collector} {self.id} {what}"

    def sampled(self, source: str) -> Labels:
        """The series that tells how much of a source was left out by sampling."""
        return Labels({NAME: SAMPLED, "collector": self.collector, "source": source})

    def api(self, permission: str, *, hint: str = "", timeout_s: float = 10.0) -> AccountApi:
        """The API, for requests that need `permission`, written as the dashboard does (`Queues: Read`).

        `hint` follows the advice that is given when the token is refused.
        """
        return AccountApi(self, permission, hint, timeout_s)


class AccountApi:
    """Requests below one account that all need one permission. Paths begin after `/accounts/<id>`."""

    def __init__(self, account: Account, permission: str, hint: str, timeout_s: float) -> None:
        self._root = f"/accounts/{account.id}"
        self.fix = f'give the API token the account permission "{permission}"{hint}, and check account_id'
        self._api = VendorApi(
            account.base,
            authorization=Secret(f"Bearer {account.token.reveal()}"),
            fix=self.fix,
            timeout_s=timeout_s,
        )

    async def result(self, ask: Ask, book: Book | None = None) -> Any:
        """What the envelope of the answer holds; CollectorError when it holds errors."""
        return (await self.envelope(ask, book)).get("result")

    async def envelope(self, ask: Ask, book: Book | None = None) -> Mapping[str, Any]:
        """The whole envelope, for lists that tell in `result_info` whether they go on."""
        placed = Ask(self._root + ask.path, ask.method, ask.params, ask.body, ask.headers, ask.price, ask.expected)
        answer = await self._api.json(placed, book)
        shown = self._api.shown(placed)
        if not isinstance(answer, dict):
            raise CollectorError(f"{shown}: the answer is not an object", reason="bad_data")
        if answer.get("success") is False:
            raise self._failure(shown, answer.get("errors"))
        return answer

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    def _failure(self, shown: str, errors: Any) -> CollectorError:
        known = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
        said = "; ".join(f"{error.get('code')} {error.get('message')}"[:200] for error in known[:_MOST])
        reasons = [_REASONS[code] for code in (error.get("code") for error in known) if code in _REASONS]
        reason = reasons[0] if reasons else "bad_data"
        told = f"{shown}: {said or 'success: false'}"
        if reason == "auth":
            return CollectorError(f"{told} ({self.fix})", reason=reason, retry_after=REFUSED_WAIT_S)
        return CollectorError(told, reason=reason)
