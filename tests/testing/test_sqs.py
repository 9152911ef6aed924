"""The fake of SQS and CloudWatch: its checks, its errors and its quirks."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from obskit.model.settings import Secret
from obskit.model.sigv4 import SigningKey, sign
from obskit.testing.clock import START_MS, FakeClock
from obskit.testing.http import Failure
from obskit.testing.sqs import ACCESS_KEY, ACCOUNT, CONTAINER_PATH, REGION, SECRET_KEY, FakeSqs, Quirk
from tests.testing.calls import Answered, post

NOW_S = START_MS // 1000
SERVICES = {"GetMetricData": ("monitoring", "GraniteServiceVersion20100801")}


def call(
    sqs: FakeSqs,
    operation: str,
    body: Any,
    *,
    secret: str = SECRET_KEY,
    key: str = ACCESS_KEY,
    token: str = "",
    region: str = REGION,
    late_s: int = 0,
) -> Answered:
    """One signed operation."""
    service, target = SERVICES.get(operation, ("sqs", "AmazonSQS"))
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"{target}.{operation}"}
    signing = SigningKey(Secret(key), Secret(secret), region, service, Secret(token) if token else None)
    digest = hashlib.sha256(content).hexdigest()
    now_ms = START_MS - late_s * 1000
    added = sign(signing, "POST", sqs.base_url + "/", headers, body_sha256=digest, now_ms=now_ms)
    return post(sqs.base_url + "/", content, {**headers, **added})


def code(answered: Answered) -> str:
    return str(json.loads(answered.body)["__type"]).rpartition("#")[2]


def attributes(sqs: FakeSqs, name: str, names: tuple[str, ...] = ("All",)) -> dict[str, str]:
    answered = call(sqs, "GetQueueAttributes", {"QueueUrl": sqs.url(sqs.queues[name]), "AttributeNames": names})
    return dict(json.loads(answered.body)["Attributes"])


def metric_data(sqs: FakeSqs, name: str) -> dict[str, Any]:
    metric = {
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{"Name": "QueueName", "Value": name}],
    }
    query = {"Id": "m0", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}}
    body = {"StartTime": NOW_S - 600, "EndTime": NOW_S, "ScanBy": "TimestampDescending", "MetricDataQueries": [query]}
    return dict(json.loads(call(sqs, "GetMetricData", body).body)["MetricDataResults"][0])


def test_attributes_are_text_and_only_those_that_were_asked_for() -> None:
    with FakeSqs(FakeClock()) as sqs:
        sqs.make("jobs", visible=3, in_flight=2, delayed=1, dead_letters="jobs-dlq")
        told = attributes(sqs, "jobs")
        assert told["ApproximateNumberOfMessages"] == "3"
        assert json.loads(told["RedrivePolicy"]) == {
            "deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:jobs-dlq",
            "maxReceiveCount": 5,
        }
        assert attributes(sqs, "jobs", ("QueueArn",)) == {"QueueArn": sqs.queues["jobs"].arn}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"secret": "another"}, "InvalidSignatureException"),
        ({"key": "AKIAANOTHER"}, "UnrecognizedClientException"),
        ({"region": "us-east-1"}, "InvalidSignatureException"),
        ({"late_s": 1_000}, "InvalidSignatureException"),
        ({"late_s": -1_000}, "InvalidSignatureException"),
    ],
)
def test_a_request_that_is_not_signed_right_is_refused(wrong: dict[str, Any], expected: str) -> None:
    with FakeSqs(FakeClock()) as sqs:
        answered = call(sqs, "ListQueues", {}, **wrong)
    assert (answered.status, code(answered)) == (403, expected)


def test_a_changed_body_does_not_fit_its_signature() -> None:
    with FakeSqs(FakeClock()) as sqs:
        call(sqs, "ListQueues", {})
        headers = {name: value for name, value in sqs.requests[0].headers.items() if name != "content-length"}
        assert post(sqs.base_url + "/", b'{"QueueNamePrefix":"x"}', headers).status == 403
        assert post(sqs.base_url + "/", b"{}", headers).status == 200


def test_a_request_without_a_signature_is_refused() -> None:
    with FakeSqs(FakeClock()) as sqs:
        answered = post(sqs.base_url + "/", b"{}", {"X-Amz-Target": "AmazonSQS.ListQueues"})
    assert code(answered) == "MissingAuthenticationToken"


def test_a_queue_that_is_not_there_is_told_in_both_forms() -> None:
    with FakeSqs(FakeClock()) as sqs:
        answered = call(sqs, "GetQueueUrl", {"QueueName": "jobs"})
    assert (answered.status, code(answered)) == (400, "QueueDoesNotExist")
    assert answered.headers["x-amzn-query-error"] == "AWS.SimpleQueueService.NonExistentQueue;Sender"


@pytest.mark.parametrize(
    ("action", "operation"), [("sqs:ListQueues", "ListQueues"), ("cloudwatch:GetMetricData", "GetMetricData")]
)
def test_permissions_are_taken_away_one_by_one(action: str, operation: str) -> None:
    with FakeSqs(FakeClock()) as sqs:
        sqs.denied.add(action)
        answered = call(sqs, operation, {})
        assert code(answered) == "AccessDeniedException"
        assert call(sqs, "GetQueueUrl", {"QueueName": "x"}).status == 400


def test_lists_come_in_pages() -> None:
    with FakeSqs(FakeClock()) as sqs:
        for name in ("a1", "a2", "a3", "b1"):
            sqs.make(name)
        sqs.page_size = 2
        first = json.loads(call(sqs, "ListQueues", {"QueueNamePrefix": "a", "MaxResults": 1000}).body)
        ask = {"QueueNamePrefix": "a", "MaxResults": 1000, "NextToken": first["NextToken"]}
        second = json.loads(call(sqs, "ListQueues", ask).body)
    assert [url.rpartition("/")[2] for url in first["QueueUrls"] + second["QueueUrls"]] == ["a1", "a2", "a3"]
    assert "NextToken" not in second


def test_ages_are_shown_late_and_a_queue_without_any_has_none() -> None:
    clock = FakeClock()
    with FakeSqs(clock) as sqs:
        minute_s = NOW_S // 60 * 60
        sqs.ages["jobs"] = [(minute_s - 240, 10.0), (minute_s, 99.0)]
        assert metric_data(sqs, "jobs")["Values"] == [10.0]
        assert metric_data(sqs, "idle")["Values"] == []
        sqs.quirks.add(Quirk.FORBIDDEN_METRIC)
        assert metric_data(sqs, "jobs")["StatusCode"] == "Forbidden"


def test_counts_may_be_those_of_before() -> None:
    with FakeSqs(FakeClock()) as sqs:
        queue = sqs.make("jobs", visible=3)
        attributes(sqs, "jobs")
        sqs.quirks.add(Quirk.STALE_COUNTS)
        queue.visible = 7
        assert attributes(sqs, "jobs")["ApproximateNumberOfMessages"] == "3"
        assert attributes(sqs, "jobs")["ApproximateNumberOfMessages"] == "7"


def test_a_planned_failure_has_the_code_of_the_service() -> None:
    with FakeSqs(FakeClock()) as sqs:
        sqs.plan(Failure(400, error="ThrottlingException"), route="ListQueues")
        assert code(call(sqs, "ListQueues", {})) == "ThrottlingException"
        assert call(sqs, "ListQueues", {}).status == 200


def test_keys_of_a_container_are_good_with_their_token_alone() -> None:
    with FakeSqs(FakeClock()) as sqs:
        sqs.session_token = "session"
        given = json.loads(post(sqs.base_url + CONTAINER_PATH, b"").body)
        assert given["Token"] == "session"
        assert given["Expiration"] == "2023-11-14T23:13:20Z"
        assert code(call(sqs, "ListQueues", {})) == "ExpiredTokenException"
        assert call(sqs, "ListQueues", {}, token="session").status == 200
        assert post(sqs.base_url + CONTAINER_PATH, b"", {"Authorization": "wrong"}).status == 401
