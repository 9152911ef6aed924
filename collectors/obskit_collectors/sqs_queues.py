"""Depths of SQS queues: what their attributes say, which queue is the dead letters of which, and when one is gone.

Only attributes are read; messages never are, because receiving one hides it and counts as a try.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from obskit.collect import Book, PartialReadError, Reading, Snapshots
from obskit.errors import CollectorError
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Batch, Samples
from obskit_collectors.sqs_requests import AwsCalls, AwsError, Service

SQS: Final = Service("sqs", "AmazonSQS")
REQUEST_DOLLARS: Final = 0.4e-6
FIFO_DOLLARS: Final = 0.5e-6
"""List prices of 2026-11; the first million requests of a month are free."""
MESSAGES: Final = "obskit_queue_messages"
METADATA: Final = {
    MESSAGES: MetricMeta(MetricType.GAUGE, "Messages in a queue, by state."),
    "obskit_sqs_message_retention_seconds": MetricMeta(MetricType.GAUGE, "After how long SQS drops a message."),
}
_COUNTS: Final = {
    "ready": ("ApproximateNumberOfMessages", "aws_sqs_approximate_number_of_messages_visible_average"),
    "in_flight": (
        "ApproximateNumberOfMessagesNotVisible",
        "aws_sqs_approximate_number_of_messages_not_visible_average",
    ),
    "delayed": ("ApproximateNumberOfMessagesDelayed", "aws_sqs_approximate_number_of_messages_delayed_average"),
}
_ASKED: Final = [attribute for attribute, _ in _COUNTS.values()] + [
    "QueueArn",
    "RedrivePolicy",
    "MessageRetentionPeriod",
]
_AT_ONCE: Final = 8
_OF_ALL: Final = frozenset({"network", "timeout", "rate_limited", "server", "config"})
"""Reasons that hold for every other queue as well: there is no use in asking on."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A queue to read. `owner` is the account it belongs to, where that is not ours."""

    name: str
    owner: str = ""
    dead: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which queues to read: by name, and all whose names begin with `prefix`; `limit` at most."""

    queues: Sequence[Wanted]
    prefix: str = ""
    limit: int = 200


@dataclass(frozen=True, slots=True)
class Facts:
    """What a queue's attributes say; None is unknown. `dead_letters` is where its own dead letters go."""

    name: str
    arn: str
    counts: Mapping[str, int | None]
    retention_s: int | None
    dead_letters: Wanted | None

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is worked on."""
        return self.counts["ready"] == 0 and self.counts["in_flight"] == 0

    @property
    def exported(self) -> dict[str, str]:
        """The labels under which exporters of CloudWatch name it: cloudwatch_exporter's and YACE's."""
        parts = self.arn.split(":")
        region, account = (parts[3], parts[4]) if len(parts) > 5 else ("", "")
        return {
            "queue_name": self.name,
            "dimension_QueueName": self.name,
            "name": self.arn,
            "region": region,
            "account_id": account,
        }


@dataclass(slots=True)
class Known:
    """What the last reads found, for whoever else needs the names: facts by name, and the sources of dead letters."""

    facts: dict[str, Facts] = field(default_factory=dict)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    labels: dict[str, Mapping[str, str]] = field(default_factory=dict)
    dead: frozenset[str] = frozenset()


def wanted_of(text: str) -> Wanted:
    """A queue by its name, its URL or its ARN; ValueError when it is none of these."""
    if text.startswith("arn:"):
        parts = text.split(":")
        if len(parts) != 6 or parts[2] != "sqs" or not all(parts[3:]):
            raise ValueError("an SQS queue's ARN looks like arn:aws:sqs:eu-central-1:123456789012:jobs")
        return Wanted(parts[5], parts[4])
    if "://" in text:
        owner, _, name = text.rstrip("/").partition("://")[2].partition("/")[2].rpartition("/")
        if not owner or not name:
            raise ValueError("an SQS queue's URL ends in /<account>/<name>")
        return Wanted(name, owner.rpartition("/")[2])
    bare = text.removesuffix(".fifo")
    if not bare or len(text) > 80 or not all(c.isascii() and (c.isalnum() or c in "-_") for c in bare):
        raise ValueError("an SQS queue's name has up to 80 letters, digits, - and _, and may end in .fifo")
    return Wanted(text)


def facts_of(name: str, attributes: Mapping[str, Any]) -> tuple[Facts, int]:
    """The attributes read, and how many of them could not be."""
    counts = {state: _number(attributes.get(attribute)) for state, (attribute, _) in _COUNTS.items()}
    arn = str(attributes.get("QueueArn", ""))
    policy = attributes.get("RedrivePolicy")
    dead_letters = _dead_letters(policy)
    unread = sum(count is None for count in counts.values()) + (bool(policy) and dead_letters is None)
    retention_s = _number(attributes.get("MessageRetentionPeriod"))
    return Facts(name, arn, counts, retention_s, dead_letters), unread


def readings_of(facts: Facts, known: Known) -> Iterator[Reading]:
    """A queue's samples. Dead letters count once, under the queue they lie in, whoever looks at them meanwhile."""
    named = {**known.labels.get(facts.name, {}), "system": "sqs", "queue": facts.name}
    told = {state: count for state, count in facts.counts.items() if count is not None}
    if facts.name in known.dead:
        if "ready" in told:
            sources = {"dead_letters_of": ", ".join(known.sources.get(facts.name, ()))}
            yield MESSAGES, {**named, **sources, "state": "dead"}, sum(told.values())
    else:
        for state, count in told.items():
            yield MESSAGES, {**named, "state": state}, count
    for state, count in told.items():
        yield _COUNTS[state][1], facts.exported, count
    if facts.retention_s is not None:
        yield "obskit_sqs_message_retention_seconds", facts.exported, facts.retention_s


class DepthReader:
    """Reads the configured queues, those of a prefix, and the dead letters of all of these."""

    def __init__(self, calls: AwsCalls, book: Book, choice: Choice, target_labels: Mapping[str, str]) -> None:
        self._calls = calls
        self._book = book
        self._choice = choice
        self._target_labels = target_labels
        self._urls: dict[str, str] = {}
        self._listed: Sequence[str] = ()
        self._snapshots: dict[str, Snapshots] = {}
        self._known = Known()
        self.wrong: list[CollectorError] = []
        """What the last read could not read."""

    @property
    def known(self) -> Known:
        """What the last reads found."""
        return self._known

    async def read(self, now_ms: int) -> Batch:
        """Everything that can be read. A queue that fails keeps its last samples; one that is gone ends."""
        self.wrong = []
        wanted = await self._all_wanted()
        found: dict[str, Facts] = {}
        try:
            await self._read_with_dead_letters(wanted, found)
        finally:
            self._know(wanted, found)
        samples = Samples()
        for name, facts in found.items():
            snapshots = self._snapshots.setdefault(name, Snapshots(self._target_labels))
            samples.extend(snapshots.take(readings_of(facts, self._known), now_ms))
        for name in set(self._snapshots) - set(self._known.facts):
            samples.extend(self._snapshots.pop(name).take((), now_ms))
        batch = Batch(samples, metadata=METADATA)
        if not self.wrong:
            return batch
        if not found and len(samples) == 0:
            raise self.wrong[0]
        first = self.wrong[0]
        more = f" (and {len(self.wrong) - 1} more)" if len(self.wrong) > 1 else ""
        raise PartialReadError(f"{first}{more}", batch, reason=first.reason, retry_after=first.retry_after)

    async def _all_wanted(self) -> dict[str, Wanted]:
        wanted = {queue.name: queue for queue in self._choice.queues}
        if self._choice.prefix:
            try:
                self._listed = await self._list()
            except CollectorError as error:
                self.wrong.append(error)  # the queues of the last list are still there, as far as we know
        for name in self._listed:
            wanted.setdefault(name, Wanted(name))
        if len(wanted) > self._choice.limit:
            self._book.dropped(len(wanted) - self._choice.limit, "queue_limit")
            wanted = dict(list(wanted.items())[: self._choice.limit])
        return wanted

    async def _list(self) -> list[str]:
        names: list[str] = []
        # MaxResults makes it tell where a page ends; without it, whatever is beyond 1,000 queues is not told.
        ask: dict[str, Any] = {"QueueNamePrefix": self._choice.prefix, "MaxResults": 1000}
        while len(names) <= self._choice.limit:
            page = await self._calls.call("ListQueues", ask, price=REQUEST_DOLLARS, book=self._book)
            for url in page.get("QueueUrls") or []:
                name = str(url).rpartition("/")[2]
                self._urls[name] = str(url)
                names.append(name)
            if not page.get("NextToken"):
                break
            ask = {**ask, "NextToken": page["NextToken"]}
        return names

    async def _read_with_dead_letters(self, wanted: dict[str, Wanted], found: dict[str, Facts]) -> None:
        todo = list(wanted.values())
        while todo and not any(_is_of_all(error) for error in self.wrong):
            # One alone at first: when keys or network are wrong, the others need not be asked.
            now, todo = todo[: _AT_ONCE if found else 1], todo[_AT_ONCE if found else 1 :]
            for facts in await asyncio.gather(*(self._facts(queue) for queue in now)):
                if facts is not None:
                    found[facts.name] = facts
                dead = facts.dead_letters if facts is not None else None
                if dead is not None and dead.name not in wanted:
                    wanted[dead.name] = dead
                    todo.append(dead)

    async def _facts(self, queue: Wanted) -> Facts | None:
        price = FIFO_DOLLARS if queue.name.endswith(".fifo") else REQUEST_DOLLARS
        try:
            if queue.name not in self._urls:
                owner = {"QueueOwnerAWSAccountId": queue.owner} if queue.owner else {}
                ask = {"QueueName": queue.name, **owner}
                said = await self._calls.call("GetQueueUrl", ask, price=price, book=self._book)
                self._urls[queue.name] = str(said.get("QueueUrl", ""))
            attributes = {"QueueUrl": self._urls[queue.name], "AttributeNames": _ASKED}
            said = await self._calls.call("GetQueueAttributes", attributes, price=price, book=self._book)
        except CollectorError as error:
            if error.reason == "missing":
                self._known.facts.pop(queue.name, None)
                self._urls.pop(queue.name, None)
            self.wrong.append(_of_queue(error, queue.name))
            return None
        told = said.get("Attributes")
        facts, unread = facts_of(queue.name, told if isinstance(told, dict) else {})
        if unread:
            self._book.dropped(unread, "bad_value")
        return facts

    def _know(self, wanted: Mapping[str, Wanted], found: Mapping[str, Facts]) -> None:
        """Of a queue that could not be read this time, what was known of it holds on."""
        facts = {**self._known.facts, **found}
        sources: dict[str, list[str]] = {}
        for name in wanted:
            dead = facts[name].dead_letters if name in facts else None
            if dead is not None:
                sources.setdefault(dead.name, []).append(name)
        self._known = Known(
            {name: each for name, each in facts.items() if name in wanted or name in sources},
            {name: tuple(sorted(names)) for name, names in sources.items()},
            {name: queue.labels for name, queue in wanted.items()},
            frozenset(sources) | {name for name, queue in wanted.items() if queue.dead},
        )


def _is_of_all(error: CollectorError) -> bool:
    return error.reason in _OF_ALL or error.retry_after is not None


def _of_queue(error: CollectorError, name: str) -> CollectorError:
    text = f"queue {name}: {error}"
    if isinstance(error, AwsError):
        return AwsError(text, reason=error.reason, code=error.code, retry_after=error.retry_after)
    return CollectorError(text, reason=error.reason, retry_after=error.retry_after)


def _number(text: Any) -> int | None:
    """Attributes are text; what is no count is unknown."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 19 else None


def _dead_letters(policy: Any) -> Wanted | None:
    """Where dead letters go, of a redrive policy: JSON in a text."""
    try:
        return wanted_of(str(json.loads(policy)["deadLetterTargetArn"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
