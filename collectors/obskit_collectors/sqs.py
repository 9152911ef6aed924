"""Amazon SQS: depths of queues and of their dead letters from SQS itself, ages of the oldest from CloudWatch.

Two rhythms, because SQS answers at once and for next to nothing, CloudWatch late and for money.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from obskit.clock import Clock
from obskit.collect import Captured, Check, Collector, Feed, Kind, Several, Snapshots, failed, ok, poll
from obskit.errors import CollectorError
from obskit.model.settings import Duration, Secret, Settings
from obskit_collectors.sqs_ages import CLOUDWATCH, AgeReader
from obskit_collectors.sqs_keys import FIX, Keys, KeySource, key_source
from obskit_collectors.sqs_queues import SQS, Choice, DepthReader, Wanted, wanted_of
from obskit_collectors.sqs_requests import AwsCalls

_POLICY: Final = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["sqs:ListQueues", "sqs:GetQueueUrl", "sqs:GetQueueAttributes", "cloudwatch:GetMetricData"],
                "Resource": "*",
            }
        ],
    },
    separators=(",", ":"),
)
GRANT: Final = f"aws iam put-user-policy --user-name obskit --policy-name obskit-sqs --policy-document '{_POLICY}'"
"""The command that gives an IAM user all that is used here."""


class QueueSettings(Settings):
    """One queue. An item may also be just its name, URL or ARN."""

    queue: str = Field(description="name, URL or ARN")
    dead: bool = Field(False, description="it holds dead letters, though no queue read here sends them there")
    labels: dict[str, str] = Field(default={}, description="labels of the queue's series, such as tier")

    @field_validator("queue")
    @classmethod
    def _known_form(cls, queue: str) -> str:
        wanted_of(queue)
        return queue

    @property
    def wanted(self) -> Wanted:
        """The queue to read."""
        named = wanted_of(self.queue)
        return Wanted(named.name, named.owner, self.dead, self.labels)


def _with_queue(item: Any) -> Any:
    return {"queue": item} if isinstance(item, str) else item


_Queue = Annotated[QueueSettings, BeforeValidator(_with_queue, json_schema_input_type=QueueSettings | str)]


class SqsSettings(Settings):
    """`sqs:` queues of one account in one region."""

    name: str = Field("", description="own name, where there are several; the `instance` label")
    region: str = Field(pattern=r"^[a-z]{2}[a-z0-9-]+$", description="such as `eu-central-1`")
    queues: list[_Queue] = Field([], description="queues by name, URL or ARN; their dead letters are found")
    prefix: str = Field("", description="read all queues whose names begin so")
    limit: int = Field(200, ge=1, le=5000, description="read so many queues at most")
    access_key: Secret | None = Field(None, description="default: the environment's, then the container's role")
    secret_key: Secret | None = Field(None, description="its secret key")
    session_token: Secret | None = Field(None, description="with temporary keys")
    endpoint: str = Field("", pattern=r"^$|^https?://", description="instead of AWS: LocalStack, moto, a VPC endpoint")
    every: Duration = Field(60_000, ge=1_000, description="how often depths are read")
    age: bool = Field(True, description="ask CloudWatch for the age of the oldest message")
    age_every: Duration = Field(300_000, ge=60_000, description="how often CloudWatch is asked")
    settle: Duration = Field(120_000, description="CloudWatch's data are this late")
    timeout: Duration = Field(30_000, gt=0, description="when a read of all queues is given up")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not self.queues and not self.prefix:
            raise ValueError("give queues, a prefix, or both")
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key belong together")
        if self.session_token is not None and self.access_key is None:
            raise ValueError("session_token belongs to an access_key")
        names = [queue.wanted.name for queue in self.queues]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"queues: {twice[0]} is there twice")
        return self

    @property
    def keys(self) -> Keys | None:
        """The keys that are written down here."""
        if self.access_key is None or self.secret_key is None:
            return None
        return Keys(self.access_key, self.secret_key, self.session_token)

    @property
    def choice(self) -> Choice:
        """Which queues to read."""
        return Choice([queue.wanted for queue in self.queues], self.prefix, self.limit)

    @property
    def target(self) -> str:
        """What is read, for people."""
        return self.endpoint.rstrip("/") or f"sqs.{self.region}.amazonaws.com"


class SqsCollector:
    """Polls the queues of one region, and beside it their ages."""

    def __init__(self, settings: SqsSettings) -> None:
        self.name = f"sqs/{settings.name}" if settings.name else "sqs"
        self._settings = settings

    async def run(self, feed: Feed) -> None:
        """Poll until cancelled."""
        keys = key_source(self._settings.keys, os.environ, feed.clock)
        try:
            await self._parts(feed, keys).run(feed)
        finally:
            await keys.close()

    async def once(self, feed: Feed) -> None:
        """Poll once: depths first, because with them go the names."""
        keys = key_source(self._settings.keys, os.environ, feed.clock)
        try:
            await self._parts(feed, keys).once(feed)
        finally:
            await keys.close()

    def _parts(self, feed: Feed, keys: KeySource) -> Several:
        given, target = self._settings, self._settings.target
        labels = {"job": "sqs", "instance": given.name or given.region}
        sqs = AwsCalls(SQS, given.region, given.endpoint, keys, feed.clock)
        depths = DepthReader(sqs, feed.book(target), given.choice, labels)
        times = {"every_ms": given.every, "timeout_ms": given.timeout}
        parts = [poll(depths.read, name=self.name, target=target, close=sqs.close, **times)]
        if given.age:
            seen = f"{target} (CloudWatch)"
            cloudwatch = AwsCalls(CLOUDWATCH, given.region, given.endpoint, keys, feed.clock)
            ages = AgeReader(
                cloudwatch,
                feed.book(seen),
                lambda: depths.known,
                Snapshots(labels),
                every_ms=given.age_every,
                settle_ms=given.settle,
            )
            parts.append(poll(ages.read, name=self.name, target=seen, close=cloudwatch.close, **times))
        return Several(self.name, parts)


async def doctor(settings: SqsSettings, clock: Clock) -> Sequence[Check]:
    """Are there keys, may they do what is needed, is each queue there, and is our clock right?"""
    feed = Feed("sqs", Captured(), clock)
    try:
        keys = key_source(settings.keys, os.environ, clock)
        await keys.keys()
    except CollectorError as error:
        return [failed(str(error), FIX)]
    sqs = AwsCalls(SQS, settings.region, settings.endpoint, keys, clock)
    cloudwatch = AwsCalls(CLOUDWATCH, settings.region, settings.endpoint, keys, clock)
    depths = DepthReader(sqs, feed.book(), settings.choice, {})
    try:
        checks = [ok("there are keys"), *await _check_depths(depths, clock)]
        if settings.age and depths.known.facts:
            ages = AgeReader(
                cloudwatch, feed.book(), lambda: depths.known, Snapshots({}), every_ms=0, settle_ms=settings.settle
            )
            checks.append(await _check_ages(ages, clock))
        if sqs.ahead_ms:
            said = f"this machine's clock is {abs(sqs.ahead_ms) // 1000} s {'behind' if sqs.ahead_ms > 0 else 'ahead'}"
            checks.append(failed(said, "timedatectl set-ntp true"))
        return checks
    finally:
        for opened in (sqs, cloudwatch, keys):
            await opened.close()


async def _check_depths(depths: DepthReader, clock: Clock) -> list[Check]:
    checks = []
    try:
        await depths.read(clock.now_ms())
    except CollectorError as error:
        checks = [failed(str(each), _fix(each)) for each in depths.wrong or [error]]
    known = depths.known
    checks += [ok(f"queue {name}{_role(known.sources.get(name))}") for name in sorted(known.facts)]
    if not checks:
        checks.append(failed("no queue has a name with this prefix", "check prefix and region"))
    return checks


async def _check_ages(ages: AgeReader, clock: Clock) -> Check:
    try:
        batch = await ages.read(clock.now_ms())
    except CollectorError as error:
        return failed(str(error), _fix(error))
    return ok(f"CloudWatch answers, {len(batch.samples)} samples of ages")


def _role(sources: tuple[str, ...] | None) -> str:
    return f" holds the dead letters of {', '.join(sources)}" if sources else ""


def _fix(error: CollectorError) -> str:
    if error.reason == "auth":
        return GRANT if error.retry_after is None else FIX
    fixes = {"missing": "check the queue's name, its account and the region", "network": "check region and endpoint"}
    return fixes.get(error.reason, "see the message")


def build(settings: SqsSettings) -> Collector:
    """A collector for one region."""
    return SqsCollector(settings)


KIND: Final = Kind(settings=SqsSettings, build=build, doctor=doctor)
