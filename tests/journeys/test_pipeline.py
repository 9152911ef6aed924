"""A pipeline as small products have one: cron → SQS → Redis list → worker → bucket → mail. Each stage breaks in turn.

Redis and SQLite are real; SQS and the APIs of scheduler, bucket and mail are fakes on loopback. The packs are those that
ship, on the clock of the test: their minutes of patience are waited out.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from obskit.testing.clock import FakeClock, run
from obskit.testing.http import Answer, FakeServer, Received
from obskit.testing.sqs import FakeSqs
from obskit.testing.webhook import FakeWebhook
from tests.journeys.daemon import Watch
from tests.journeys.in_process import running, within
from tests.servers import RedisServer

QUEUE: Final = "my-invest-strategy-portfolio"
LIST: Final = "invest-strategy-service-ingestion-queue"
PATIENCE_S: Final = 3_600
"""Of the clock's, which moves on while the machine is busy elsewhere: what is waited for comes after minutes."""
RULES: Final = {
    "PipelineCronLate": "time() - pipeline_cron_last_run_timestamp_seconds > 120",
    "PipelineWorkerFails": "pipeline_runs_failed > 0",
    "PipelineBucketStale": "time() - pipeline_bucket_newest_timestamp_seconds > 120",
    "PipelineMailBounces": "pipeline_mail_bounced / (pipeline_mail_sent > 0) > 0.05",
}


class Platform(FakeServer):
    """What scheduler, bucket and mail service tell of themselves. A stage in `stopped` stands still."""

    def __init__(self, clock: FakeClock) -> None:
        self.stopped: dict[str, float] = {}
        self.bounced = 1
        super().__init__(clock)

    def stop(self, stage: str) -> None:
        """From now on nothing new comes from it."""
        self.stopped[stage] = self.now_ms() / 1000

    def answer(self, request: Received) -> Answer:
        """JSON by path."""
        now_s = self.now_ms() / 1000
        told = {
            "/cron": {"job": {"last_run": self.stopped.get("cron", now_s)}},
            "/bucket": {"objects": [{"key": "a", "uploaded": 0}, {"key": "b", "uploaded": self.newest(now_s)}]},
            "/mail": {"counts": {"sent": "100", "bounced": str(self.bounced)}},
        }
        return Answer(body=json.dumps(told[request.path]).encode())

    def newest(self, now_s: float) -> float:
        """When the newest object came, in ms as such APIs like it."""
        return self.stopped.get("bucket", now_s) * 1000


class Pipeline:
    """All stages, well."""

    def __init__(self, folder: Path, redis: RedisServer, sqs: FakeSqs, platform: Platform) -> None:
        self.redis = redis
        self.sqs = sqs
        self.platform = platform
        self.database = folder / "runs.db"
        self.write("create table runs (status text)")
        self.write("insert into runs values ('done'), ('done')")
        sqs.make(QUEUE, in_flight=1, dead_letters=f"{QUEUE}-dlq")
        sqs.make(f"{QUEUE}-dlq")

    def write(self, statement: str) -> None:
        """A statement of the worker's on its own database."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(statement)

    def breakages(self) -> Mapping[str, tuple[str, Callable[[], object], Callable[[], object]]]:
        """Stage → the alert that it has to raise, how it breaks, how it is mended."""
        dead = self.sqs.queues[f"{QUEUE}-dlq"]
        failed = "insert into runs values ('failed')"
        mended = "delete from runs where status = 'failed'"
        return {
            "cron": ("PipelineCronLate", lambda: self.platform.stop("cron"), self.platform.stopped.clear),
            "queue": ("QueueDeadLetters", lambda: setattr(dead, "visible", 1), lambda: setattr(dead, "visible", 0)),
            "list": (
                "QueueDeep",
                lambda: self.redis.command("LPUSH", LIST, *map(str, range(60))),
                lambda: self.redis.command("DEL", LIST),
            ),
            "worker": ("PipelineWorkerFails", lambda: self.write(failed), lambda: self.write(mended)),
            "bucket": ("PipelineBucketStale", lambda: self.platform.stop("bucket"), self.platform.stopped.clear),
            "mail": (
                "PipelineMailBounces",
                lambda: setattr(self.platform, "bounced", 9),
                lambda: setattr(self.platform, "bounced", 1),
            ),
        }

    def collectors(self) -> list[dict[str, Any]]:
        """How each stage is watched."""
        every = {"every": "15s", "timeout": "5m", "prefix": "pipeline"}
        runs = {"name": "runs_failed", "sql": "select count(*) filter (where status = 'failed') from runs"}
        return [
            {"sqs": self.sqs.settings(queues=[QUEUE], every="15s", timeout="5m")},
            {"redis": {"url": self.redis.url, "lists": [{"key": LIST, "age": False}], "every": "15s", "timeout": "5m"}},
            {"sql": {"file": str(self.database), "queries": [runs], **every}},
            self._api("cron", {"name": "cron_last_run_timestamp_seconds", "path": ".job.last_run"}),
            self._api(
                "bucket",
                {"name": "bucket_newest_timestamp_seconds", "path": ".objects[-1].uploaded", "scale": "0.001"},
            ),
            self._api(
                "mail",
                {"name": "mail_sent", "path": ".counts.sent"},
                {"name": "mail_bounced", "path": ".counts.bounced"},
            ),
        ]

    def _api(self, name: str, *gauges: dict[str, str]) -> dict[str, Any]:
        url = f"{self.platform.base_url}/{name}"
        given = {
            "name": name,
            "url": url,
            "every": "15s",
            "timeout": "5m",
            "prefix": "pipeline",
            "gauges": list(gauges),
        }
        return {"http_json": given}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pipeline(tmp_path: Path, redis_server: RedisServer, clock: FakeClock) -> Iterator[Pipeline]:
    with FakeSqs(clock) as sqs, Platform(clock) as platform:
        yield Pipeline(tmp_path, redis_server, sqs, platform)


def config(pipeline: Pipeline, hook: FakeWebhook) -> dict[str, Any]:
    rules = [{"alert": name, "expr": expr, "labels": {"severity": "critical"}} for name, expr in RULES.items()]
    (pipeline.database.parent / "rules.yaml").write_text(json.dumps({"groups": [{"name": "own", "rules": rules}]}))
    at_once = {"group_by": ["alertname"], "group_wait": "0s", "group_interval": "15s", "repeat_interval": "4h"}
    return {
        "collectors": pipeline.collectors(),
        "rule_packs": ["queues", "sqs"],
        "rule_files": ["rules.yaml"],
        "route": {"receiver": "hook", **at_once},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": hook.url}]}],
    }


def told(hook: FakeWebhook, after: int) -> list[tuple[str, str]]:
    """What was posted since: alert and state, once each. On a busy machine a message may come twice, as the outbox says."""
    return list(dict.fromkeys((body["groupLabels"]["alertname"], body["status"]) for body in list(hook.bodies)[after:]))


@pytest.mark.timeout(300)
@pytest.mark.server("redis-server")
def test_each_stage_that_breaks_raises_its_alert_and_no_other(
    watch: Watch, pipeline: Pipeline, clock: FakeClock
) -> None:
    async def scenario(hook: FakeWebhook) -> None:
        async with running(watch.config, clock):
            await clock.sleep(120)
            assert told(hook, 0) == [], "all is well"
            for stage, (alert, break_it, mend_it) in pipeline.breakages().items():
                before = len(hook.bodies)
                break_it()
                firing = [(alert, "firing")]
                assert await within(clock, PATIENCE_S, lambda: bool(told(hook, before)), step_s=5), stage  # noqa: B023
                assert told(hook, before) == firing, stage
                mend_it()
                assert await within(clock, PATIENCE_S, lambda: len(told(hook, before)) > 1, step_s=5), stage  # noqa: B023
                assert told(hook, before) == [*firing, (alert, "resolved")], stage

    with FakeWebhook() as hook:
        watch.write(config(pipeline, hook))
        run(scenario(hook), clock, patience_s=0.01)
