from __future__ import annotations

import pytest

from obskit.model.actions import OutcomeReason, OutcomeStatus
from obskit.notify.base import Request, Response
from obskit.notify.http import classify_status, retry_after_s

RETRY, PERMANENT, SENT = OutcomeStatus.RETRY, OutcomeStatus.PERMANENT, OutcomeStatus.SENT


@pytest.mark.parametrize(
    ("status", "outcome", "reason"),
    [
        (200, SENT, OutcomeReason.NONE),
        (201, SENT, OutcomeReason.NONE),
        (204, SENT, OutcomeReason.NONE),
        (301, PERMANENT, OutcomeReason.CONFIG),
        (400, PERMANENT, OutcomeReason.PAYLOAD),
        (401, PERMANENT, OutcomeReason.CREDENTIAL),
        (403, PERMANENT, OutcomeReason.CREDENTIAL),
        (404, PERMANENT, OutcomeReason.DESTINATION),
        (408, RETRY, OutcomeReason.TIMEOUT),
        (410, PERMANENT, OutcomeReason.DESTINATION),
        (413, PERMANENT, OutcomeReason.PAYLOAD),
        (429, RETRY, OutcomeReason.RATE_LIMITED),
        (500, RETRY, OutcomeReason.SERVER),
        (502, RETRY, OutcomeReason.SERVER),
        (503, RETRY, OutcomeReason.SERVER),
    ],
)
def test_every_status_has_a_meaning(status: int, outcome: OutcomeStatus, reason: OutcomeReason) -> None:
    classified = classify_status(Response(status, body=b"because"))
    assert (classified.status, classified.reason) == (outcome, reason)
    assert classified.degrade == (reason is OutcomeReason.PAYLOAD)
    assert classified.detail.startswith(f"HTTP {status}: because") == (outcome is not SENT)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "999999999"}, 3600.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT", "date": "Tue, 14 Nov 2023 22:13:20 GMT"}, 60.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:12:20 GMT", "date": "Tue, 14 Nov 2023 22:13:20 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(Response(429, headers)) == seconds


def test_a_request_prints_nothing_that_may_be_secret() -> None:
    request = Request("POST", "https://x.example/secret", b"secret", {"Authorization": "secret"})
    assert "secret" not in repr(request)
