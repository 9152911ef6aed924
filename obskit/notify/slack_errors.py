"""What Slack's error strings mean for us: one table, error → class, and one class → Outcome.

Slack answers HTTP 200 with `{"ok": false, "error": …}`; incoming webhooks answer plain text with a status. The string
decides in both, the status only where there is none. Sources: docs.slack.dev method pages, api.slack.com changelog
2016-05 (incoming webhooks).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from obskit.model.actions import Outcome, OutcomeReason
from obskit.notify.base import Response, plainer
from obskit.notify.http import classify_status, retry_after_s

_WORKSPACE_LIMIT_WAIT_S: Final = 600.0

RETRY: Final = (
    "internal_error", "fatal_error", "service_unavailable", "request_timeout", "update_failed", "accesslimited",
    "team_added_to_org", "external_channel_migrating", "streaming_state_conflict", "rollup_error",
)  # fmt: skip
"""Slack's own trouble. After `fatal_error` the message may exist: a duplicate is better than a loss."""
RATE_LIMITED: Final = ("ratelimited", "rate_limited", "message_limit_exceeded")
CREDENTIAL: Final = (
    "not_authed", "invalid_auth", "account_inactive", "token_revoked", "token_expired", "missing_scope",
    "not_allowed_token_type", "no_permission", "org_login_required", "app_access_restricted", "ekm_access_denied",
    "team_not_found", "invalid_token", "no_service", "no_active_hooks", "no_team", "team_disabled", "no_service_id",
)  # fmt: skip
"""The token or webhook is dead: nothing gets through until a person acts."""
DESTINATION: Final = (
    "channel_not_found", "not_in_channel", "is_archived", "is_inactive", "channel_is_archived",
    "channel_is_limited_access", "restricted_action", "restricted_action_read_only_channel",
    "restricted_action_thread_only_channel", "restricted_action_non_threadable_channel", "posting_to_channel_denied",
    "posting_to_general_channel_denied", "messages_tab_disabled", "user_not_in_channel", "user_not_found",
    "action_prohibited",
)  # fmt: skip
"""This channel cannot be written to."""
PAYLOAD: Final = (
    "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "no_text",
    "too_many_attachments", "attachment_payload_limit_exceeded", "invalid_attachments", "metadata_too_large",
    "invalid_metadata_format", "invalid_metadata_schema", "invalid_arguments", "block_mismatch", "invalid_payload",
)  # fmt: skip
"""The form was refused: the same in plain text, once."""
HANDLE_LOST: Final = (
    "message_not_found", "cant_update_message", "edit_window_closed", "cannot_reply_to_message", "thread_not_found",
    "restricted_action_thread_locked",
)  # fmt: skip
"""The root message cannot be edited or answered any more: post a new one."""
BENIGN: Final = ("already_reacted", "no_reaction", "already_pinned")


def classify_answer(response: Response) -> tuple[Outcome, dict[str, Any]]:
    """The Outcome of an answer of either kind, and the answer itself when it is an object that says ok."""
    answer = answer_of(response)
    if answer.get("ok") is True and response.status == 200:
        return Outcome.sent(), answer
    if response.status == 200 and response.body.strip() == b"ok":
        return Outcome.sent(), {}
    return _failure(response, answer), {}


def _failure(response: Response, answer: dict[str, Any]) -> Outcome:
    error = str(answer.get("error") or "") or response.body.decode("utf-8", "replace").strip()
    outcome = _BY_ERROR.get(error)
    if outcome is not None:
        return outcome(_detail(error, answer), retry_after_s(response))
    if error.startswith("restricted_action"):
        return Outcome.permanent(OutcomeReason.DESTINATION, error)
    if 200 <= response.status < 300:
        # An error that Slack added after this table, or a proxy's page: wait rather than lose.
        said = error if answer else f"not Slack's answer: {response.excerpt}"
        return Outcome.retry(OutcomeReason.SERVER, said[:300], after_s=retry_after_s(response))
    return classify_status(response)


def _detail(error: str, answer: dict[str, Any]) -> str:
    """The error, with the missing scope or the first complaint about the blocks."""
    needed = answer.get("needed")
    metadata = answer.get("response_metadata")
    messages = metadata.get("messages") if isinstance(metadata, dict) else None
    extra = f"needs {needed}" if needed else str(messages[0]) if isinstance(messages, list) and messages else ""
    return f"{error}: {extra}"[:300] if extra else error


def answer_of(response: Response) -> dict[str, Any]:
    """The answer's object, whatever it says; empty when it is none."""
    return _object(response.body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


_Rule = Callable[[str, float | None], Outcome]


def _rate_limited(detail: str, after_s: float | None) -> Outcome:
    if after_s is None and detail.startswith("message_limit_exceeded"):
        after_s = _WORKSPACE_LIMIT_WAIT_S
    return Outcome.retry(OutcomeReason.RATE_LIMITED, detail, after_s=after_s)


def _handle_lost(detail: str, _: float | None) -> Outcome:
    return replace(Outcome.permanent(OutcomeReason.HANDLE_LOST, detail), forget_handle=True)


_CLASSES: Final[tuple[tuple[tuple[str, ...], _Rule], ...]] = (
    (RETRY, lambda detail, after_s: Outcome.retry(OutcomeReason.SERVER, detail, after_s=after_s)),
    (RATE_LIMITED, _rate_limited),
    (CREDENTIAL, lambda detail, _: Outcome.permanent(OutcomeReason.CREDENTIAL, detail)),
    (DESTINATION, lambda detail, _: Outcome.permanent(OutcomeReason.DESTINATION, detail)),
    (PAYLOAD, lambda detail, _: plainer(detail)),
    (HANDLE_LOST, _handle_lost),
    (BENIGN, lambda _detail, _: Outcome.sent()),
)
_BY_ERROR: Final = {error: rule for errors, rule in _CLASSES for error in errors}
