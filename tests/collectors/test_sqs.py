"""The SQS collector against the fake, which checks signatures as the service does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from obskit.collect import Captured, Feed, PartialReadError
from obskit.errors import CollectorError
from obskit.model.samples import STALE_NAN
from obskit.model.settings import Secret
from obskit.model.telemetry import REGISTRY
from obskit.testing.clock import START_MS, FakeClock, run
from obskit.testing.http import Failure
from obskit.testing.sqs import ACCESS_KEY, CONTAINER_PATH, CONTAINER_TOKEN, SECRET_KEY, FakeSqs, Quirk
from obskit_collectors.sqs import KIND, SqsSettings, doctor
from obskit_collectors.sqs_keys import ContainerKeys, key_source

PATIENCE_S = 10
"""How long a busy machine may take for an answer before the clock jumps to the deadline: no time here depends on it."""
ARN = "arn:aws:sqs:eu-central-1:123456789012:"


class Reading:
    """A collector of one fake, read as often as a test says; what each read gave, by series."""

    def __init__(self, sqs: FakeSqs, clock: FakeClock, **settings: Any) -> None:
        self.clock = clock
        self.captured = Captured()
        self.feed = Feed("sqs", self.captured, clock)
        self.settings = SqsSettings.model_validate(sqs.settings(**{"queues": ["jobs"], **settings}))
        collector = KIND.build(self.settings)
        keys = key_source(self.settings.keys, {}, clock)
        self._parts = collector._parts(self.feed, keys)  # type: ignore[attr-defined]  # so that one reader reads twice

    def read(self, after_s: float = 0) -> dict[str, float]:
        """One round; raises the first error."""
        self.clock.advance(after_s)
        self.captured.batches.clear()
        run(self._parts.once(self.feed), self.clock, patience_s=PATIENCE_S)
        return self.found

    def fail(self, after_s: float = 0) -> CollectorError:
        """One round that fails."""
        with pytest.raises(CollectorError) as caught:
            self.read(after_s)
        return caught.value

    @property
    def found(self) -> dict[str, float]:
        """What the last round gave."""
        return {str(sample.labels.without("job", "instance")): sample.value for sample in self.captured.samples}

    def dropped(self, reason: str) -> float:
        """How many items this process has dropped."""
        labels = {"collector": "sqs", "reason": reason}
        return REGISTRY.get_sample_value("obskit_collector_dropped_total", labels) or 0.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sqs(clock: FakeClock) -> Iterator[FakeSqs]:
    with FakeSqs(clock) as sqs:
        sqs.make("jobs", visible=3, in_flight=2, delayed=1, dead_letters="jobs-dlq")
        sqs.make("jobs-dlq", retention_s=1_209_600)
        yield sqs


def messages(queue: str, state: str) -> str:
    return f'obskit_queue_messages{{queue="{queue}", state="{state}", system="sqs"}}'


def dead(queue: str, sources: str) -> str:
    return f'obskit_queue_messages{{dead_letters_of="{sources}", queue="{queue}", state="dead", system="sqs"}}'


def age(queue: str) -> str:
    return f'obskit_queue_oldest_age_seconds{{method="cloudwatch", queue="{queue}", system="sqs"}}'


def exported(metric: str, queue: str) -> str:
    labels = f'account_id="123456789012", dimension_QueueName="{queue}", name="{ARN}{queue}", queue_name="{queue}"'
    return f'{metric}{{{labels}, region="eu-central-1"}}'


def known_age(sqs: FakeSqs, queue: str, seconds: float, *, ago_s: int = 240) -> None:
    sqs.ages[queue] = [(sqs.now_ms() // 1000 - ago_s, seconds)]


def test_a_queue_is_told_in_three_states_and_its_dead_letters_are_found(sqs: FakeSqs, clock: FakeClock) -> None:
    sqs.queues["jobs-dlq"].visible = 4
    found = Reading(sqs, clock).read()
    assert [found[messages("jobs", state)] for state in ("ready", "in_flight", "delayed")] == [3, 2, 1]
    assert found[dead("jobs-dlq", "jobs")] == 4
    assert messages("jobs-dlq", "ready") not in found
    assert found[exported("aws_sqs_approximate_number_of_messages_visible_average", "jobs-dlq")] == 4
    assert found[exported("obskit_sqs_message_retention_seconds", "jobs-dlq")] == 1_209_600


def test_dead_letters_that_somebody_looks_at_are_still_dead(sqs: FakeSqs, clock: FakeClock) -> None:
    sqs.queues["jobs-dlq"].in_flight = 4
    assert Reading(sqs, clock).read()[dead("jobs-dlq", "jobs")] == 4


def test_dead_letters_of_several_queues_count_once_and_name_them(sqs: FakeSqs, clock: FakeClock) -> None:
    sqs.make("mails", dead_letters="jobs-dlq")
    found = Reading(sqs, clock, queues=["mails", "jobs"]).read()
    assert found[dead("jobs-dlq", "jobs, mails")] == 0
    assert sum("dead_letters_of" in series for series in found) == 1


def test_a_dead_letter_queue_without_its_source_is_one_when_it_is_said(sqs: FakeSqs, clock: FakeClock) -> None:
    found = Reading(sqs, clock, queues=[{"queue": "jobs-dlq", "dead": True, "labels": {"tier": "pro"}}]).read()
    assert found['obskit_queue_messages{queue="jobs-dlq", state="dead", system="sqs", tier="pro"}'] == 0


@pytest.mark.parametrize("name", ["jobs", f"{ARN}jobs", "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs"])
def test_a_queue_is_named_by_name_arn_or_url(sqs: FakeSqs, clock: FakeClock, name: str) -> None:
    assert Reading(sqs, clock, queues=[name]).read()[messages("jobs", "ready")] == 3


def test_a_prefix_finds_queues_page_by_page_and_one_that_is_deleted_ends(sqs: FakeSqs, clock: FakeClock) -> None:
    sqs.make("jobs-fast", visible=9)
    sqs.page_size = 1
    reading = Reading(sqs, clock, queues=[], prefix="jobs")
    assert reading.read()[messages("jobs-fast", "ready")] == 9
    del sqs.queues["jobs-fast"]
    found = reading.read(60)
    assert math.isnan(found[messages("jobs-fast", "ready")])
    assert found[messages("jobs", "ready")] == 3
    assert messages("jobs-fast", "ready") not in reading.read(60)


def test_a_list_that_fails_once_ends_no_queue(sqs: FakeSqs, clock: FakeClock) -> None:
    reading = Reading(sqs, clock, queues=[], prefix="jobs")
    reading.read()
    sqs.denied.add("sqs:ListQueues")
    assert "allow sqs:ListQueues" in str(reading.fail(60))
    assert reading.found[messages("jobs", "ready")] == 3
    sqs.denied.clear()
    sqs.plan(Failure(503), route="ListQueues")
    assert reading.fail(60).reason == "server"
    assert reading.found == {}, "nothing was read, and nothing has ended"
    assert reading.read(60)[messages("jobs", "ready")] == 3


def test_more_queues_than_the_limit_are_left_out_and_counted(sqs: FakeSqs, clock: FakeClock) -> None:
    reading = Reading(sqs, clock, queues=["jobs", "a", "b"], limit=1)
    before = reading.dropped("queue_limit")
    assert reading.read()[messages("jobs", "ready")] == 3
    assert reading.dropped("queue_limit") - before == 2


def test_the_age_comes_from_cloudwatch_and_is_asked_for_every_five_minutes(sqs: FakeSqs, clock: FakeClock) -> None:
    known_age(sqs, "jobs", 42)
    reading = Reading(sqs, clock)
    found = reading.read()
    assert found[age("jobs")] == 42
    assert found[exported("aws_sqs_approximate_age_of_oldest_message_maximum", "jobs")] == 42
    for _ in range(4):
        assert reading.read(60)[age("jobs")] == 42
    known_age(sqs, "jobs", 99)
    assert reading.read(60)[age("jobs")] == 99
    assert len([request for request in sqs.requests if sqs.route(request) == "GetMetricData"]) == 2


def test_data_that_have_not_settled_are_not_read(sqs: FakeSqs, clock: FakeClock) -> None:
    sqs.late_s = 0
    known_age(sqs, "jobs", 42, ago_s=90)
    assert age("jobs") not in Reading(sqs, clock, settle="3m").read()


def test_a_queue_idle_for_hours_has_an_unknown_age_not_zero(sqs: FakeSqs, clock: FakeClock) -> None:
    known_age(sqs, "jobs", 42)
    reading = Reading(sqs, clock)
    reading.read()
    sqs.ages.clear()
    ended = reading.read(300)[age("jobs")]
    assert math.isnan(ended)
    assert str(ended) == str(STALE_NAN)
    assert age("jobs") not in reading.read(60)


def test_an_age_is_not_repeated_for_a_queue_that_was_emptied(sqs: FakeSqs, clock: FakeClock) -> None:
    known_age(sqs, "jobs", 42)
    reading = Reading(sqs, clock)
    reading.read()
    sqs.queues["jobs"].visible = sqs.queues["jobs"].in_flight = 0
    assert math.isnan(reading.read(60)[age("jobs")])


def test_dead_letters_have_no_waiting_time_but_an_exported_age(sqs: FakeSqs, clock: FakeClock) -> None:
    sqs.queues["jobs-dlq"].visible = 1
    known_age(sqs, "jobs-dlq", 86_400)
    found = Reading(sqs, clock).read()
    assert age("jobs-dlq") not in found
    assert found[exported("aws_sqs_approximate_age_of_oldest_message_maximum", "jobs-dlq")] == 86_400


def test_when_cloudwatch_fails_depths_are_read_all_the_same(sqs: FakeSqs, clock: FakeClock) -> None:
    known_age(sqs, "jobs", 42)
    reading = Reading(sqs, clock)
    reading.read()
    sqs.break_down(Failure(400, error="ThrottlingException"), route="GetMetricData")
    error = reading.fail(300)
    assert error.reason == "rate_limited"
    assert reading.found[messages("jobs", "ready")] == 3
    assert reading.found[age("jobs")] == 42, "for a while the last answer holds"
    reading.fail(301)
    assert math.isnan(reading.found[age("jobs")]), "but not for ever"


def test_one_queue_that_is_gone_does_not_hide_the_others(sqs: FakeSqs, clock: FakeClock) -> None:
    sqs.make("mails")
    reading = Reading(sqs, clock, queues=["jobs", "mails"])
    reading.read()
    del sqs.queues["mails"]
    error = reading.fail(60)
    assert error.reason == "missing"
    assert "queue mails" in str(error)
    assert reading.found[messages("jobs", "ready")] == 3
    assert math.isnan(reading.found[messages("mails", "ready")])
    sqs.make("mails", visible=1)
    assert reading.read(60)[messages("mails", "ready")] == 1


def test_a_queue_that_cannot_be_read_once_keeps_its_last_samples(sqs: FakeSqs, clock: FakeClock) -> None:
    reading = Reading(sqs, clock)
    reading.read()
    sqs.plan(Failure(400, error="ThrottlingException"), route="GetQueueAttributes")
    reading.fail(60)
    assert messages("jobs", "ready") not in reading.found
    assert reading.read(60)[dead("jobs-dlq", "jobs")] == 0


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure(400, error="ThrottlingException"), "rate_limited"),
        (Failure(403, error="RequestThrottled"), "rate_limited"),
        (Failure(500, error="InternalFailure"), "server"),
        (Failure(503, body="<html>"), "server"),
        (Failure(400, error="InvalidAddress"), "bad_data"),
        (Failure(400, body="[]"), "bad_data"),
        (Failure(200, body="[]"), "bad_data"),
        (Failure(200, body='{"Attributes"'), "bad_data"),
        (Failure(200, body="[" * 60_000), "bad_data"),
        (Failure(drop=True), "network"),
        (Failure(200, body='{"Attributes": {}}', cut=True), "network"),
        (Failure(403, error="ExpiredToken"), "auth"),
    ],
)
def test_what_goes_wrong_has_a_reason(sqs: FakeSqs, clock: FakeClock, failure: Failure, reason: str) -> None:
    sqs.break_down(failure, route="GetQueueAttributes")
    error = Reading(sqs, clock).fail()
    assert error.reason == reason
    assert SECRET_KEY not in str(error)


@pytest.mark.parametrize(
    "wrong", [{"secret_key": "another-secret"}, {"access_key": "AKIAANOTHER"}, {"region": "us-east-1"}]
)
def test_wrong_keys_are_asked_with_once(sqs: FakeSqs, clock: FakeClock, wrong: dict[str, str]) -> None:
    error = Reading(sqs, clock, queues=["jobs", "a", "b"], age=False, **wrong).fail()
    assert (error.reason, error.retry_after) == ("auth", 900)
    assert len(sqs.requests) == 1


def test_a_session_token_that_the_service_repeats_is_not_told(sqs: FakeSqs, clock: FakeClock) -> None:
    sqs.session_token = "session-token-nobody-may-see"
    wrong = {"secret_key": "another", "session_token": sqs.session_token}
    assert sqs.session_token not in str(Reading(sqs, clock, **wrong).fail())


@pytest.mark.parametrize("ahead_s", [-3_600, 3_600])
def test_a_clock_that_is_off_is_allowed_for(sqs: FakeSqs, clock: FakeClock, ahead_s: float) -> None:
    sqs.ahead_s = ahead_s
    reading = Reading(sqs, clock, age=False)
    assert reading.read()[messages("jobs", "ready")] == 3
    reading.read(60)
    refused = [request for request in sqs.requests if sqs.route(request) == "GetQueueUrl"]
    assert len(refused) == 3, "one refusal, its repetition, and the dead letters"


def test_a_permission_that_is_missing_is_named(sqs: FakeSqs, clock: FakeClock) -> None:
    sqs.denied.add("cloudwatch:GetMetricData")
    reading = Reading(sqs, clock)
    error = reading.fail()
    assert error.reason == "auth"
    assert "allow cloudwatch:GetMetricData" in str(error)
    assert reading.found[messages("jobs", "ready")] == 3


@pytest.mark.parametrize(
    ("quirk", "dropped"), [(Quirk.UNKNOWN_FIELDS, 0), (Quirk.COUNT_AS_TEXT, 0), (Quirk.ODD_ATTRIBUTES, 4)]
)
def test_attributes_it_does_not_understand_are_unknown(
    sqs: FakeSqs, clock: FakeClock, quirk: Quirk, dropped: int
) -> None:
    sqs.quirks.add(quirk)
    reading = Reading(sqs, clock)
    before = reading.dropped("bad_value")
    found = reading.read()
    assert reading.dropped("bad_value") - before == dropped
    assert (messages("jobs", "ready") in found) == (dropped == 0)
    assert (dead("jobs-dlq", "jobs") in found) == (dropped == 0)


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"MetricDataResults": {}}',
        '{"MetricDataResults": [7, {"Id": "m9"}]}',
        '{"MetricDataResults": [{"Id": "m0", "Timestamps": [1]}]}',
        '{"MetricDataResults": [{"Id": "m0", "Timestamps": [1, 2], "Values": [3]}]}',
        '{"MetricDataResults": [{"Id": "m0", "Timestamps": ["x"], "Values": ["y"]}]}',
    ],
)
def test_an_answer_of_cloudwatch_that_makes_no_sense_is_no_age(sqs: FakeSqs, clock: FakeClock, body: str) -> None:
    sqs.break_down(Failure(200, body=body), route="GetMetricData")
    assert age("jobs") not in Reading(sqs, clock).read()


@pytest.mark.parametrize("quirk", [Quirk.FORBIDDEN_METRIC, Quirk.PARTIAL_DATA])
def test_cloudwatch_says_how_sure_it_is(sqs: FakeSqs, clock: FakeClock, quirk: Quirk) -> None:
    known_age(sqs, "jobs", 42)
    sqs.quirks.add(quirk)
    reading = Reading(sqs, clock)
    if quirk is Quirk.FORBIDDEN_METRIC:
        assert reading.fail().reason == "auth"
    else:
        assert reading.read()[age("jobs")] == 42


def test_requests_are_counted_with_what_they_cost(sqs: FakeSqs, clock: FakeClock) -> None:
    def cost() -> float:
        return REGISTRY.get_sample_value("obskit_collector_cost_dollars_total", {"collector": "sqs"}) or 0.0

    before = cost()
    Reading(sqs, clock).read()
    assert cost() - before == pytest.approx(4 * 0.4e-6 + 2 * 0.01 / 1000)


def test_keys_come_from_the_settings_then_the_environment_then_the_container(clock: FakeClock) -> None:
    relative = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/x"}
    environment = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B", "AWS_SESSION_TOKEN": "C", **relative}
    found = run(key_source(None, environment, clock).keys(), clock)
    assert (found.access_key, found.secret_key, found.session_token) == (Secret("A"), Secret("B"), Secret("C"))
    assert isinstance(key_source(None, relative, clock), ContainerKeys)
    with pytest.raises(CollectorError, match="AWS_ACCESS_KEY_ID"):
        run(key_source(None, {}, clock).keys(), clock)
    with pytest.raises(CollectorError, match="not a container's endpoint"):
        key_source(None, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/x"}, clock)


def test_keys_of_a_container_are_fetched_anew_before_they_end(sqs: FakeSqs, clock: FakeClock) -> None:
    sqs.session_token = "first"
    environment = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": sqs.base_url + CONTAINER_PATH,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": CONTAINER_TOKEN,
    }
    source = key_source(None, environment, clock)

    async def token() -> Secret | None:
        return (await source.keys()).session_token

    async def scenario() -> list[Secret | None]:
        found = [await token()]
        sqs.session_token = "second"
        clock.advance(3_000)
        found.append(await token())
        clock.advance(400)
        found.append(await token())
        await source.close()
        return found

    assert run(scenario(), clock, patience_s=PATIENCE_S) == [Secret("first"), Secret("first"), Secret("second")]
    assert sqs.requests[0].headers["authorization"] == CONTAINER_TOKEN


@pytest.mark.parametrize("body", ["{}", "[]", '{"AccessKeyId": 1}', '{"Expiration": "soon"}'])
def test_an_endpoint_that_gives_no_keys_is_told(sqs: FakeSqs, clock: FakeClock, body: str) -> None:
    sqs.break_down(Failure(200, body=body))
    source = key_source(None, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": sqs.base_url}, clock)
    with pytest.raises(CollectorError, match="gave no keys"):
        run(source.keys(), clock, patience_s=PATIENCE_S)


def checked(sqs: FakeSqs, clock: FakeClock, **settings: Any) -> dict[str, str]:
    given = SqsSettings.model_validate(sqs.settings(**{"queues": ["jobs"], **settings}))
    return {
        check.what: "" if check.ok else check.fix for check in run(doctor(given, clock), clock, patience_s=PATIENCE_S)
    }


def test_the_doctor_lists_what_is_well(sqs: FakeSqs, clock: FakeClock) -> None:
    found = checked(sqs, clock)
    assert set(found.values()) == {""}
    assert "queue jobs-dlq holds the dead letters of jobs" in found


@pytest.mark.parametrize(
    ("action", "fix"),
    [
        ("sqs:GetQueueUrl", "aws iam put-user-policy"),
        ("sqs:GetQueueAttributes", "aws iam put-user-policy"),
        ("cloudwatch:GetMetricData", "aws iam put-user-policy"),
    ],
)
def test_the_doctor_gives_the_command_that_grants_what_is_missing(
    sqs: FakeSqs, clock: FakeClock, action: str, fix: str
) -> None:
    sqs.denied.add(action)
    (bad,) = [(what, fix) for what, fix in checked(sqs, clock).items() if fix]
    assert f"allow {action}" in bad[0]
    assert bad[1].startswith(fix)
    assert action in bad[1]


def test_the_doctor_tells_a_wrong_clock_and_a_wrong_name(sqs: FakeSqs, clock: FakeClock) -> None:
    sqs.ahead_s = 3_600
    assert checked(sqs, clock)["this machine's clock is 3600 s behind"] == "timedatectl set-ntp true"
    assert any("check the queue's name" in fix for fix in checked(sqs, clock, queues=["job"]).values())
    assert "check prefix and region" in checked(sqs, clock, queues=[], prefix="x").values()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give queues, a prefix"),
        ({"queues": ["a"], "access_key": "x"}, "belong together"),
        ({"queues": ["a"], "session_token": "x"}, "belongs to an access_key"),
        ({"queues": ["a", f"{ARN}a"]}, "a is there twice"),
        ({"queues": ["a b"]}, "up to 80"),
        ({"queues": ["x" * 81]}, "up to 80"),
        ({"queues": ["arn:aws:sns:eu-central-1:1:x"]}, "looks like arn:aws:sqs"),
        ({"queues": ["https://sqs.eu-central-1.amazonaws.com/jobs"]}, "ends in /<account>/<name>"),
        ({"queues": ["a"], "region": "EU Central"}, "pattern"),
        ({"queues": ["a"], "endpoint": "localhost:4566"}, "pattern"),
        ({"queues": ["a"], "every": "1ms"}, "greater than or equal"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SqsSettings.model_validate({"region": "eu-central-1", **settings})


def test_it_runs_on_with_both_rhythms_until_it_is_cancelled(sqs: FakeSqs, clock: FakeClock) -> None:
    captured = Captured()
    settings = SqsSettings.model_validate(sqs.settings(queues=["jobs"]))

    def found(series: str) -> int:
        return [str(sample.labels.without("job", "instance")) for sample in captured.samples].count(series)

    async def scenario() -> None:
        task = asyncio.create_task(KIND.build(settings).run(Feed("sqs", captured, clock)))
        for _ in range(100):
            known_age(sqs, "jobs", 42, ago_s=180)
            await clock.sleep(30)
            if found(messages("jobs", "ready")) >= 3 and found(age("jobs")):
                break
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario(), clock)
    assert found(messages("jobs", "ready")) >= 3
    assert found(age("jobs")) >= 1
    assert {sample.labels.get("instance") for sample in captured.samples} == {"eu-central-1"}
    assert captured.samples[-1].t_ms > START_MS
    assert (ACCESS_KEY in repr(settings), SECRET_KEY in repr(settings)) == (False, False)


def test_a_partial_read_is_told_as_one(sqs: FakeSqs, clock: FakeClock) -> None:
    error = Reading(sqs, clock, queues=["jobs", "x", "y"]).fail()
    assert isinstance(error, PartialReadError)
    assert "(and 1 more)" in str(error)
