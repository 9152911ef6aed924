from __future__ import annotations

import json

import pytest

from obskit.model.actions import Outcome, OutcomeReason, OutcomeStatus
from obskit.notify import slack_errors
from obskit.notify.base import Response
from obskit.notify.slack_errors import classify_answer

CLASSES = {
    OutcomeReason.SERVER: slack_errors.RETRY,
    OutcomeReason.RATE_LIMITED: slack_errors.RATE_LIMITED,
    OutcomeReason.CREDENTIAL: slack_errors.CREDENTIAL,
    OutcomeReason.DESTINATION: (*slack_errors.DESTINATION, "restricted_action_that_is_new"),
    OutcomeReason.PAYLOAD: slack_errors.PAYLOAD,
    OutcomeReason.HANDLE_LOST: slack_errors.HANDLE_LOST,
    OutcomeReason.NONE: slack_errors.BENIGN,
}
RETRIED = (OutcomeReason.SERVER, OutcomeReason.RATE_LIMITED)


def classify(status: int, body: str, **headers: str) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify_answer(Response(status, named, body.encode()))[0]


@pytest.mark.parametrize(("reason", "error"), [(reason, error) for reason, group in CLASSES.items() for error in group])
def test_every_error_of_slack_has_its_class(reason: OutcomeReason, error: str) -> None:
    answered = classify(200, json.dumps({"ok": False, "error": error}))
    posted = classify(400, error)  # an incoming webhook says the same as plain text
    for outcome in (answered, posted):
        assert outcome.reason is reason
        assert (outcome.status is OutcomeStatus.RETRY) == (reason in RETRIED)
        assert (outcome.status is OutcomeStatus.SENT) == (reason is OutcomeReason.NONE)
        assert outcome.degrade == (reason is OutcomeReason.PAYLOAD)
        assert outcome.forget_handle == (reason is OutcomeReason.HANDLE_LOST)


def test_no_error_is_in_two_classes() -> None:
    listed = [error for group in CLASSES.values() for error in group]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    "body", ['{"ok":false,"error":"ratelimited"}', '{"retry_after":1,"ok":false,"error":"rate_limited"}', "slow down"]
)
def test_retry_after_is_honoured_on_429(body: str) -> None:
    outcome = classify(429, body, retry_after="17")
    assert (outcome.reason, outcome.retry_after_s) == (OutcomeReason.RATE_LIMITED, 17.0)


def test_a_full_workspace_waits_long() -> None:
    assert classify(200, '{"ok":false,"error":"message_limit_exceeded"}').retry_after_s == 600


def test_the_missing_scope_is_named() -> None:
    outcome = classify(200, '{"ok":false,"error":"missing_scope","needed":"chat:write"}')
    assert outcome.detail == "missing_scope: needs chat:write"


def test_the_first_complaint_about_blocks_is_kept() -> None:
    outcome = classify(
        200, '{"ok":false,"error":"invalid_blocks","response_metadata":{"messages":["[ERROR] bad /blocks/0"]}}'
    )
    assert outcome.detail == "invalid_blocks: [ERROR] bad /blocks/0"


@pytest.mark.parametrize("body", ["", "<html>log in</html>", "[1]", "null", '"ok"', '{"ok":false}', '{"ok":"true"}'])
def test_a_page_that_is_not_slacks_is_tried_again(body: str) -> None:
    outcome = classify(200, body)
    assert (outcome.status, outcome.reason) == (OutcomeStatus.RETRY, OutcomeReason.SERVER)


def test_an_error_newer_than_the_table_is_tried_again() -> None:
    outcome = classify(200, '{"ok":false,"error":"something_new"}')
    assert (outcome.status, outcome.detail) == (OutcomeStatus.RETRY, "something_new")
