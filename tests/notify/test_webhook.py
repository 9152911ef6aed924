from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from obskit import __version__
from obskit.clock import SystemClock
from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import Alert
from obskit.model.go_text import rfc3339
from obskit.model.labels import Labels
from obskit.notify.base import Request
from obskit.notify.webhook import Webhook, WebhookSettings, payload
from obskit.testing.webhook import FakeWebhook
from tests.notify.golden import check_golden
from tests.notify.notices import alert, notice, resolved
from tests.servers import free_port, wait_for_port
from tests.testing.calls import post


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


def test_the_bytes_are_alertmanagers() -> None:
    """The body that the binary wrote (delivery.md §6.1), with the one key that is newer than it."""
    common = '"alertname":"HighErrors","cluster":"prod"'
    never = '"endsAt":"0001-01-01T00:00:00Z"'
    starts = '"startsAt":"2026-11-20T11:46:51.025Z"'
    expected = (
        '{"receiver":"all","status":"firing","alerts":['
        f'{{"status":"firing","labels":{{{common},"instance":"a","severity":"critical"}},'
        f'"annotations":{{"summary":"5xx at 7%"}},{starts},{never},"generatorURL":"http://p/g",'
        '"fingerprint":"c7b8b5960dfa5b36"},'
        f'{{"status":"firing","labels":{{{common},"instance":"b","severity":"critical"}},'
        f'"annotations":{{"summary":"5xx at 9%"}},{starts},{never},"generatorURL":"","fingerprint":"dd20ab65e23e13b9"}}],'
        '"notification_reason":"first notification",'
        f'"groupLabels":{{{common}}},"commonLabels":{{{common},"severity":"critical"}},"commonAnnotations":{{}},'
        '"externalURL":"http://am.example","version":"4",'
        '"groupKey":"{}:{alertname=\\"HighErrors\\", cluster=\\"prod\\"}","truncatedAlerts":0}\n'
    )
    assert (render(alertmanagers_example()).body or b"").decode() == expected


def test_text_is_escaped_as_gos_encoder_does_and_annotations_are_sorted() -> None:
    one = Alert(Labels({"alertname": "A"}), {"z": "a < b & c > d", "a": "\u2028"}, 0)
    body = (render(notice(one)).body or b"").decode()
    assert '"annotations":{"a":"\\u2028","z":"a \\u003c b \\u0026 c \\u003e d"}' in body
    assert '"commonAnnotations":{"a":"\\u2028","z":' in body


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


def test_characters_are_written_as_go_writes_them() -> None:
    said = notice(alert(summary="a<b> & \u2028\u2029 é \ud800 \x7f \n\t"))
    body = render(said).body or b""
    assert b'"summary":"a\\u003cb\\u003e \\u0026 \\u2028\\u2029 \xc3\xa9 \xef\xbf\xbd \x7f \\n\\t"' in body


def test_maps_are_in_the_order_of_their_keys() -> None:
    said = payload(notice(alert(zebra="1", apple="2")))
    assert list(said["alerts"][0]["annotations"]) == sorted(said["alerts"][0]["annotations"])
    assert list(said["commonAnnotations"]) == sorted(said["commonAnnotations"])


@pytest.mark.server("prometheus-alertmanager")
def test_a_real_alertmanager_sends_the_same_bytes(tmp_path: Path) -> None:
    nasty = {"summary": '5xx <7%> & "more" \u2028\u2029 é 🔴 \\ /', "zebra": "1", "apple": "two\nlines\ttab"}
    common = {"alertname": "HighErrors", "cluster": "prod <eu>", "severity": "critical"}
    now_ms = SystemClock().now_ms()
    alerts = tuple(
        Alert(Labels({**common, "instance": name}), nasty, now_ms - 60_000 - at, generator_url="http://p/g?a=1&b=<2>")
        for at, name in enumerate("abc")
    )
    with FakeWebhook() as hook, real_alertmanager(tmp_path, hook.url) as port:
        posted = [
            {
                "labels": dict(one.labels),
                "annotations": dict(one.annotations),
                "startsAt": rfc3339(one.starts_ms),
                "generatorURL": one.generator_url,
            }
            for one in alerts
        ]
        assert post(f"http://127.0.0.1:{port}/api/v2/alerts", posted).status == 200
        assert hook.wait_for(lambda: bool(hook.requests), timeout_s=15)
        theirs = hook.requests[0].body
    ours = Notice(
        receiver="a.b",
        group_key='{}:{alertname="HighErrors", cluster="prod <eu>"}',
        group_labels=Labels({"alertname": "HighErrors", "cluster": "prod <eu>"}),
        alerts=alerts,
        reason=NoticeReason.FIRST,
        incident="1",
        decided_ms=now_ms,
        external_url="http://am.example",
    )
    body = (render(ours, max_alerts=2).body or b"").replace(b'"notification_reason":"first notification",', b"")
    assert body == theirs


@contextmanager
def real_alertmanager(folder: Path, url: str) -> Iterator[int]:
    """A real one that sends to the URL as receiver `a.b`; its port."""
    route = {"receiver": "a.b", "group_by": ["alertname", "cluster"], "group_wait": "100ms"}
    receivers = [{"name": "a.b", "webhook_configs": [{"url": url, "max_alerts": 2}]}]
    (folder / "am.yml").write_text(json.dumps({"route": route, "receivers": receivers}))
    port = free_port()
    process = subprocess.Popen(
        [
            "prometheus-alertmanager",
            f"--config.file={folder}/am.yml",
            f"--storage.path={folder}/am",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.external-url=http://am.example",
            "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()
