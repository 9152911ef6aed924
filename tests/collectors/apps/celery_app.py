"""Real tasks of Celery: `celery_app.py fill|work|look URL`. URL is a Redis or an amqp:// broker; REDIS_URL is where tasks wait."""

import json
import os
import sys

import celery
import redis

URL = sys.argv[2] if len(sys.argv) > 2 else ""
HELD_AT = os.environ.get("REDIS_URL", URL)

app = celery.Celery("shop", broker=URL)
app.conf.update(
    task_send_sent_event=True,
    worker_send_task_events=True,
    worker_prefetch_multiplier=1,
    task_acks_late=True,
    broker_transport_options={"priority_steps": [0, 3, 6, 9]} if URL.startswith("redis") else {},
)


@app.task(name="shop.fine")
def fine() -> None:
    """Does nothing."""


@app.task(name="shop.fail")
def fail() -> None:
    """Fails."""
    raise ValueError("secret argument")


@app.task(name="shop.hold")
def hold() -> None:
    """Runs until it is let go."""
    connection = redis.from_url(HELD_AT)
    connection.rpush("started", "1")
    connection.blpop(["go"], 60)


def main(command: str) -> None:
    """Put tasks in, work, or print what `celery inspect` says."""
    if command == "fill":
        fine.apply_async()
        fail.apply_async()
        hold.apply_async()
        for priority in (0, 3, 9):
            fine.apply_async(priority=priority)
        fine.apply_async(queue="reports")
    elif command == "work":
        # With its event loop Celery 5.5 loses some of the events that it buffers; without it each is sent at once.
        options = {"without_gossip": True, "without_mingle": True, "loglevel": "CRITICAL", "use_eventloop": False}
        app.Worker(pool="threads", concurrency=1, hostname="one@shop", queues=["celery"], **options).start()
    else:
        inspect = app.control.inspect(timeout=1.0)
        active = inspect.active() or {}
        print(json.dumps({worker: [task["name"] for task in tasks] for worker, tasks in active.items()}))


if __name__ == "__main__":
    main(sys.argv[1])
