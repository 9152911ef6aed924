"""FakeSqs: queues of Amazon SQS and their ages in CloudWatch, both in the JSON protocol, with checked signatures.

    with FakeSqs() as sqs:
        sqs.make("jobs", visible=3, dead_letters="jobs-dlq")
        settings = sqs.settings(queues=["jobs"])
        sqs.ages["jobs"] = [(t_s, 42.0)]                              # what CloudWatch has of it, by start of period
        sqs.denied.add("sqs:GetQueueAttributes")                      # until it is taken out
        sqs.plan(Failure(400, error="ThrottlingException"), route="GetMetricData")

Routes are the operations. Errors and their codes: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Final

from obskit.clock import Clock
from obskit.testing.aws_signature import Claim
from obskit.testing.http import Answer, Failure, FakeServer, Received

ACCESS_KEY: Final = "AKIAFAKEQUEUES000000"
SECRET_KEY: Final = "fake/secret/access/key/of/queues/0000000"
REGION: Final = "eu-central-1"
ACCOUNT: Final = "123456789012"
CONTAINER_PATH: Final = "/v2/credentials/fake"
CONTAINER_TOKEN: Final = "fake-container-authorization"
_LEEWAY_S: Final = 900
_SERVICES: Final = {"AmazonSQS": "sqs", "GraniteServiceVersion20100801": "monitoring"}
_LONGEST_PAGE: Final = 1000


class Quirk(Enum):
    """How the service may surprise for a while."""

    STALE_COUNTS = auto()
    """Counts are those of before the last change, once: they are only approximate."""
    UNKNOWN_FIELDS = auto()
    """Attributes and fields that nobody knows yet."""
    ODD_ATTRIBUTES = auto()
    """A count that is no number, a redrive policy that is no JSON, others that are missing."""
    COUNT_AS_TEXT = auto()
    """maxReceiveCount in quotes, as some tools write it."""
    PARTIAL_DATA = auto()
    """CloudWatch has not all points yet: PartialData."""
    FORBIDDEN_METRIC = auto()
    """CloudWatch answers 200 with Forbidden for each metric."""


@dataclass(slots=True)
class FakeQueue:
    """One queue. Its attributes go out as text, as the service's do."""

    name: str
    visible: int = 0
    in_flight: int = 0
    delayed: int = 0
    dead_letters: str = ""
    retention_s: int = 345_600
    account: str = ACCOUNT

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:sqs:{REGION}:{self.account}:{self.name}"

    def attributes(self) -> dict[str, str]:
        """As GetQueueAttributes tells them."""
        told = {
            "QueueArn": self.arn,
            "ApproximateNumberOfMessages": str(self.visible),
            "ApproximateNumberOfMessagesNotVisible": str(self.in_flight),
            "ApproximateNumberOfMessagesDelayed": str(self.delayed),
            "MessageRetentionPeriod": str(self.retention_s),
            "VisibilityTimeout": "30",
        }
        if self.name.endswith(".fifo"):
            told["FifoQueue"] = "true"
        if self.dead_letters:
            target = f"arn:aws:sqs:{REGION}:{self.account}:{self.dead_letters}"
            told["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": 5})
        return told


class FakeSqs(FakeServer):
    """One account in one region. `ahead_s` is how far its clock is ahead of ours; lists come `page_size` at a time.

    CloudWatch shows a point of `ages` only `late_s` after the end of its minute.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.queues: dict[str, FakeQueue] = {}
        self.ages: dict[str, list[tuple[int, float]]] = {}
        self.denied: set[str] = set()
        self.quirks: set[Quirk] = set()
        self.ahead_s = 0.0
        self.late_s = 60
        self.page_size = _LONGEST_PAGE
        self.session_token = ""
        """When it is set, keys are good only together with it: those of a container."""
        self.session_s = 3600
        self._told: dict[str, dict[str, str]] = {}
        super().__init__(clock)

    def make(self, name: str, **more: Any) -> FakeQueue:
        """A new queue of this name; `more` are fields of FakeQueue."""
        queue = self.queues[name] = FakeQueue(name, **more)
        return queue

    def settings(self, **more: Any) -> dict[str, Any]:
        """What goes under `sqs:`."""
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        return {"region": REGION, "endpoint": self.base_url, **keys, **more}

    def now_ms(self) -> int:
        """Its own time."""
        return super().now_ms() + round(self.ahead_s * 1000)

    def route(self, request: Received) -> str:
        """The operation; `credentials` for those of the container."""
        if request.path == CONTAINER_PATH:
            return "credentials"
        return request.headers.get("x-amz-target", "").partition(".")[2]

    def fail(self, request: Received, failure: Failure) -> Answer:
        """A planned `error` is a code of the service."""
        if failure.error and failure.body is None:
            return _error(failure.status, failure.error, "planned")
        return super().fail(request, failure)

    def answer(self, request: Received) -> Answer:
        """JSON, or an error as AWS writes it."""
        if request.path == CONTAINER_PATH:
            return self._credentials(request)
        target, _, operation = request.headers.get("x-amz-target", "").partition(".")
        service = _SERVICES.get(target, "")
        refused = self._refused(request, service, operation)
        if refused is not None:
            return refused
        carried_out = self._operations().get(operation)
        if carried_out is None:
            return _error(400, "UnknownOperationException", operation)
        try:
            asked = json.loads(request.body)
        except ValueError:
            return _error(400, "SerializationException", "no JSON")
        return carried_out(asked)

    def _operations(self) -> Mapping[str, Callable[[dict[str, Any]], Answer]]:
        return {
            "GetQueueUrl": self._queue_url,
            "ListQueues": self._list,
            "GetQueueAttributes": self._attributes,
            "GetMetricData": self._metric_data,
        }

    def url(self, queue: FakeQueue) -> str:
        """The URL by which a queue is asked."""
        return f"{self.base_url}/{queue.account}/{queue.name}"

    def _queue_url(self, asked: dict[str, Any]) -> Answer:
        queue = self.queues.get(asked.get("QueueName", ""))
        if queue is None or asked.get("QueueOwnerAWSAccountId", queue.account) != queue.account:
            return _missing()
        return _json({"QueueUrl": self.url(queue)})

    def _list(self, asked: dict[str, Any]) -> Answer:
        names = sorted(name for name in self.queues if name.startswith(asked.get("QueueNamePrefix", "")))
        start = int(asked.get("NextToken", "0"))
        # Without MaxResults the service lists 1,000 and no token: what is beyond is not told.
        size = min(self.page_size, int(asked["MaxResults"])) if "MaxResults" in asked else _LONGEST_PAGE
        page = {"QueueUrls": [self.url(self.queues[name]) for name in names[start : start + size]]}
        more = {"NextToken": str(start + size)} if "MaxResults" in asked and start + size < len(names) else {}
        return _json({**page, **more} if page["QueueUrls"] else {})

    def _attributes(self, asked: dict[str, Any]) -> Answer:
        queue = self.queues.get(asked.get("QueueUrl", "").rpartition("/")[2])
        if queue is None or asked["QueueUrl"] != self.url(queue):
            return _missing()
        now, before = queue.attributes(), self._told.get(queue.name)
        self._told[queue.name] = now
        told = before if before and Quirk.STALE_COUNTS in self.quirks else dict(now)
        if Quirk.UNKNOWN_FIELDS in self.quirks:
            told = {**told, "ColourOfMessages": "{}"}
        if Quirk.COUNT_AS_TEXT in self.quirks and "RedrivePolicy" in told:
            told = {**told, "RedrivePolicy": told["RedrivePolicy"].replace(": 5}", ': "5"}')}
        if Quirk.ODD_ATTRIBUTES in self.quirks:
            told = {"QueueArn": queue.arn, "ApproximateNumberOfMessages": "many", "RedrivePolicy": "{no"}
        wanted = asked.get("AttributeNames", [])
        return _json({"Attributes": {name: told[name] for name in told if "All" in wanted or name in wanted}})

    def _metric_data(self, asked: dict[str, Any]) -> Answer:
        if len(asked["MetricDataQueries"]) > 500:
            return _error(400, "ValidationError", "more than 500 queries")
        return _json(
            {
                "MetricDataResults": [self._series(query, asked) for query in asked["MetricDataQueries"]],
                "Messages": [],
            }
        )

    def _series(self, query: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
        if Quirk.FORBIDDEN_METRIC in self.quirks:
            return {"Id": query["Id"], "Timestamps": [], "Values": [], "StatusCode": "Forbidden"}
        metric, period_s = query["MetricStat"]["Metric"], query["MetricStat"]["Period"]
        (dimension,) = metric["Dimensions"]
        known = self.ages.get(dimension["Value"], []) if metric["MetricName"].startswith("ApproximateAge") else []
        shown_s = self.now_ms() / 1000 - self.late_s - 60
        buckets: dict[int, float] = {}
        for t_s, age_s in known:
            start_s = t_s - t_s % period_s
            if asked["StartTime"] <= start_s < asked["EndTime"] and t_s <= shown_s:
                buckets[start_s] = max(age_s, buckets.get(start_s, 0.0))
        points = sorted(buckets.items(), reverse=asked.get("ScanBy") == "TimestampDescending")
        return {
            "Id": query["Id"],
            "Label": dimension["Value"],
            "Timestamps": [float(t_s) for t_s, _ in points],
            "Values": [age_s for _, age_s in points],
            "StatusCode": "PartialData" if Quirk.PARTIAL_DATA in self.quirks else "Complete",
        }

    # Who may ask

    def _credentials(self, request: Received) -> Answer:
        """As the endpoint of a container gives them."""
        if request.headers.get("authorization", CONTAINER_TOKEN) != CONTAINER_TOKEN:
            return Answer(401)
        expires_s = super().now_ms() // 1000 + self.session_s
        return _json(
            {
                "AccessKeyId": ACCESS_KEY,
                "SecretAccessKey": SECRET_KEY,
                "Token": self.session_token,
                "Expiration": _iso(expires_s),
            }
        )

    def _refused(self, request: Received, service: str, operation: str) -> Answer | None:
        claim = Claim.of(request)
        if claim is None:
            return _error(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
        if claim.access_key != ACCESS_KEY:
            return _error(403, "UnrecognizedClientException", "The security token included in the request is invalid.")
        if self.session_token and request.headers.get("x-amz-security-token") != self.session_token:
            return _error(403, "ExpiredTokenException", "The security token included in the request is expired")
        if (claim.service, claim.region) != (service, REGION):
            return _error(403, "InvalidSignatureException", f"Credential should be scoped to {service}/{REGION}")
        age_s = claim.age_s(self.now_ms())
        if abs(age_s) > _LEEWAY_S:
            said = "Signature expired" if age_s > 0 else "Signature not yet current"
            return _error(403, "InvalidSignatureException", f"{said}: {claim.stamp} is not within 15 min of the clock")
        if not claim.holds(request, SECRET_KEY):
            token = request.headers.get("x-amz-security-token", "")
            said = f"The request signature we calculated does not match. Canonical string: x-amz-security-token:{token}"
            return _error(403, "InvalidSignatureException", said)
        action = f"{'cloudwatch' if service == 'monitoring' else service}:{operation}"
        if action in self.denied:
            said = f"User: arn:aws:iam::{ACCOUNT}:user/obskit is not authorized to perform: {action.lower()}"
            return _error(400, "AccessDeniedException", said)
        return None


def _iso(t_s: float) -> str:
    return datetime.fromtimestamp(t_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _missing() -> Answer:
    said = "The specified queue does not exist."
    answer = _error(400, "QueueDoesNotExist", said, "com.amazonaws.sqs")
    headers = {"x-amzn-query-error": "AWS.SimpleQueueService.NonExistentQueue;Sender"}
    return Answer(answer.status, answer.body, answer.content_type, headers)


def _json(body: Any) -> Answer:
    return Answer(body=json.dumps(body).encode(), content_type="application/x-amz-json-1.0")


def _error(status: int, code: str, message: str, space: str = "com.amazon.coral.service") -> Answer:
    body = json.dumps({"__type": f"{space}#{code}", "message": message})
    return Answer(status, body.encode(), "application/x-amz-json-1.0")
