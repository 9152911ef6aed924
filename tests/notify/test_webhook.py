from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest

from obskit import __version__
from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import Alert
from obskit.model.labels import Labels
from obskit.notify.base import Request
from obskit.notify.webhook import Webhook, WebhookSettings, payload
from tests.notify.golden import check_golden
from tests.notify.notices import alert, notice, resolved


def render(one: Notice, *, degraded: bool = False, **settings: Any) -> Request:
    built = Webhook(WebhookSettings.model_validate({"url": "https://hook.example/x", **settings}))
    request = built.render(one, "post", None, degraded)
    assert request is not None
    return request


def alertmanagers_example() -> Notice:
    """The two alerts that a real Alertmanager 0.25.0 was given."""
    common = {"alertname": "HighErrors", "cluster": "prod", "severity": "critical"}
    a = Alert(
        Labels({**common, "instance": "a"}),
        {"summary": "5xx at 7%"},
        1_795_175_211_025,
        generator_url="http://p/g",
    )
    b = Alert(Labels({**common, "instance": "b", "empty": ""}), {"summary": "5xx at 9%"}, 1_795_175_211_025)
    return Notice(
        receiver="all",
        group_key='{}:{alertname="HighErrors", cluster="prod"}',
        group_labels=Labels({"alertname": "HighErrors", "cluster": "prod"}),
        alerts=(a, b),
        reason=NoticeReason.FIRST,
        incident="1",
        decided_ms=1_795_175_212_000,
        external_url="http://am.example",
    )


def test_the_body_is_alertmanagers() -> None:
    body = payload(alertmanagers_example())
    assert body.pop("notification_reason") == "first notification"  # since Alertmanager 0.32
    check_golden("webhook_alertmanager_0_25", body)


def test_fingerprints_are_alertmanagers() -> None:
    found = [one["fingerprint"] for one in payload(alertmanagers_example())["alerts"]]
    assert found == ["c7b8b5960dfa5b36", "dd20ab65e23e13b9"]


def test_a_resolved_body_is_as_it_was() -> None:
    check_golden("webhook_resolved", payload(resolved("a", "b")))


def test_an_alert_says_with_which_value_it_recovered_when_that_is_known() -> None:
    over = replace(alert(ended=True), resolved_value=0.4, resolved_summary="0.4 % of requests to api failed")
    known, unknown = payload(notice(over, alert("b", ended=True), reason=NoticeReason.ALL_RESOLVED))["alerts"]
    assert (known["resolvedValue"], known["resolvedSummary"]) == (0.4, "0.4 % of requests to api failed")
    assert not {"resolvedValue", "resolvedSummary"} & unknown.keys()


def test_the_request_names_us_and_ends_in_a_newline() -> None:
    request = render(notice())
    assert request.headers["User-Agent"] == f"obskit/{__version__}"
    assert request.headers["Content-Type"] == "application/json"
    assert request.body is not None
    assert request.body.endswith(b"}\n")


def test_the_receivers_name_is_quoted_as_alertmanager_quotes_it() -> None:
    assert payload(replace(notice(), receiver="a.b"))["receiver"] == r"a\.b"


@pytest.mark.parametrize(
    ("max_alerts", "degraded", "shown", "truncated"),
    [(0, False, 8, 0), (2, False, 2, 6), (0, True, 5, 3), (2, True, 2, 6)],
)
def test_alerts_beyond_the_limit_are_counted(max_alerts: int, degraded: bool, shown: int, truncated: int) -> None:
    request = render(notice(*(alert(name) for name in "abcdefgh")), degraded=degraded, max_alerts=max_alerts)
    body = json.loads(request.body or b"")
    assert (len(body["alerts"]), body["truncatedAlerts"]) == (shown, truncated)


@pytest.mark.parametrize(
    ("http_config", "header"),
    [
        ({"authorization": {"credentials": "tok"}}, "Bearer tok"),
        ({"authorization": {"type": "Token", "credentials": "tok"}}, "Token tok"),
        ({"basic_auth": {"username": "u", "password": "p"}}, "Basic dTpw"),
    ],
)
def test_it_logs_in(http_config: dict[str, Any], header: str) -> None:
    assert render(notice(), http_config=http_config).headers["Authorization"] == header


def test_a_secret_signs_the_body() -> None:
    request = render(notice(), secret="s3cret")
    stamp, _, digest = request.headers["X-Obskit-Signature"].partition(",v1=")
    signed = stamp.removeprefix("t=").encode() + b"." + (request.body or b"")
    assert digest == hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()


def test_firing_never_takes_the_place_of_resolved() -> None:
    built = Webhook(WebhookSettings.model_validate({"url": "https://hook.example/x"}))
    assert [step.coalesce for step in built.steps(notice())] == ["0001-abcd:firing"]
    assert [step.coalesce for step in built.steps(resolved())] == ["0001-abcd:resolved"]
