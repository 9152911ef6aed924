"""Real jobs of RQ: `rq_app.py fill|work|look URL`. A job that holds tells so, and ends when the test says."""

import json
import sys
from datetime import timedelta

import redis
import rq_app  # the worker imports jobs by this name
from rq import Queue, SimpleWorker, Worker
from rq.registry import DeferredJobRegistry, FailedJobRegistry, ScheduledJobRegistry, StartedJobRegistry


def fine() -> None:
    """Does nothing."""


def fail() -> None:
    """Fails."""
    raise ValueError("on purpose")


def hold(url: str) -> None:
    """Runs until it is let go."""
    connection = redis.from_url(url)
    connection.rpush("started", "1")
    connection.blpop(["go"], 60)


def main(command: str, url: str) -> None:
    """Put jobs in, work, or print what RQ itself counts."""
    connection = redis.from_url(url)
    queue = Queue("mail", connection=connection)
    if command == "fill":
        Queue("idle", connection=connection).enqueue(rq_app.fine)
        queue.enqueue(rq_app.fine)
        queue.enqueue(rq_app.fail)
        held = queue.enqueue(rq_app.hold, url)
        for _ in range(3):
            queue.enqueue(rq_app.fine)
        queue.enqueue(rq_app.fine, depends_on=held)
        queue.enqueue_in(timedelta(hours=1), rq_app.fine)
    elif command == "work":
        SimpleWorker([queue], connection=connection).work()
    else:
        registries = (StartedJobRegistry, ScheduledJobRegistry, DeferredJobRegistry, FailedJobRegistry)
        counts = [len(registry(queue=queue).get_job_ids()) for registry in registries]
        worker = Worker.all(connection=connection)[0]
        print(json.dumps([queue.count, *counts, worker.successful_job_count, worker.failed_job_count, worker.name]))


if __name__ == "__main__":
    main(*sys.argv[1:])
