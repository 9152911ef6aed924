"""The GraphQL API of analytics: one query at a time, within its budget, and what its errors mean.

Errors come with HTTP 200 as often as not, and one node or zone that may not be read fails the whole query.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from obskit.collect import Ask, Book, VendorApi
from obskit.errors import CollectorError
from obskit.model.settings import Secret
from obskit_collectors.cloudflare_account import Account

BUDGET_MS: Final = 300_000
"""Over which 300 queries of a user may go, all his tokens and tools together."""
RESERVE: Final = 20
"""Queries that are left to others: when the service says that fewer remain, we stay away."""
_SKEW_MS: Final = 5_000
"""Clocks that differ by less are equal: the header `Date` has whole seconds."""
_DENIED: Final = ("does not have access", "not authorized", "not entitled", "authz")
_BUSY: Final = ("too many nodes", "excessive resources", "internal server error", "service unavailable")


class QueryRefusedError(CollectorError):
    """The service refused what was asked: a part may be denied or unknown, or too much was asked at once."""

    def __init__(self, message: str, *, reason: str, too_wide: bool = False) -> None:
        super().__init__(message, reason=reason)
        self.too_wide = too_wide


class GraphQl:
    """One user's queries: make one for each account, whose parts share the budget."""

    def __init__(self, account: Account, fix: str) -> None:
        self._api = VendorApi(
            account.base,
            authorization=Secret(f"Bearer {account.token.reveal()}"),
            fix=fix,
            timeout_s=20.0,
        )
        self._fix = fix
        self._left: int | None = None
        self._said_ms = 0
        self._skew_ms = 0

    def now_ms(self, ours_ms: int) -> int:
        """The service's time: where its clock differs from ours, minutes are asked for by its clock."""
        return ours_ms + self._skew_ms

    async def viewer(
        self, query: str, variables: Mapping[str, Any], now_ms: int, book: Book | None = None
    ) -> Mapping[str, Any]:
        """What `viewer` holds. QueryRefusedError when the query is at fault, CollectorError for anything else."""
        self._stay_within(now_ms)
        ask = Ask("/graphql", "POST", body={"query": query, "variables": dict(variables)})
        try:
            reply = await self._api.ask(ask, book)
        except CollectorError as error:
            if error.reason != "rate_limited":
                raise
            wait_s = error.retry_after or BUDGET_MS / 1000
            raise CollectorError(str(error), reason="rate_limited", retry_after=wait_s) from error
        self._note_time(reply.headers, now_ms)
        answer = reply.json(self._api.shown(ask))
        errors = answer.get("errors") if isinstance(answer, dict) else None
        if errors:
            raise self._failure(errors)
        viewer = (
            answer["data"].get("viewer") if isinstance(answer, dict) and isinstance(answer.get("data"), dict) else None
        )
        if not isinstance(viewer, dict):
            raise CollectorError("analytics: the answer has no data", reason="bad_data")
        if isinstance(viewer.get("budget"), int):
            self._left, self._said_ms = viewer["budget"], now_ms
        return viewer

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    def _stay_within(self, now_ms: int) -> None:
        if self._left is None or self._left >= RESERVE or now_ms >= self._said_ms + BUDGET_MS:
            return
        wait_s = (self._said_ms + BUDGET_MS - now_ms) / 1000
        raise CollectorError(
            f"analytics: only {self._left} of 300 queries are left for 5 minutes: other tools use the same user's",
            reason="rate_limited",
            retry_after=wait_s,
        )

    def _note_time(self, headers: Mapping[str, str], now_ms: int) -> None:
        try:
            theirs_ms = round(parsedate_to_datetime(headers.get("date", "")).timestamp() * 1000)
        except (TypeError, ValueError):
            return
        self._skew_ms = theirs_ms - now_ms if abs(theirs_ms - now_ms) > _SKEW_MS else 0

    def _failure(self, errors: Any) -> CollectorError:
        known = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
        said = "; ".join(str(error.get("message"))[:200] for error in known[:3]) or "an error without a message"
        lower = said.lower()
        if "budget depleted" in lower:
            return CollectorError(f"analytics: {said}", reason="rate_limited", retry_after=BUDGET_MS / 1000)
        if "authentication" in lower or "authenticate" in lower:
            return CollectorError(f"analytics: {said} ({self._fix})", reason="auth", retry_after=900.0)
        if any(part in lower for part in _BUSY):
            return CollectorError(f"analytics: {said}", reason="server")
        if any(part in lower for part in _DENIED):
            return QueryRefusedError(f"analytics: {said} (the plan lacks it, or: {self._fix})", reason="auth")
        return QueryRefusedError(f"analytics: {said}", reason="bad_data", too_wide="range is too large" in lower)
