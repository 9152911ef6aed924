"""Real jobs of Dramatiq: `dramatiq_app.py fill|work|look URL`."""

import json
import signal
import sys

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.worker import Worker

URL = sys.argv[2]


class TellDeadLetters(dramatiq.Middleware):
    """A dead letter is written after the worker has gone on: who waits for it has to be told."""

    def after_nack(self, broker: RedisBroker, message: dramatiq.MessageProxy) -> None:
        broker.client.rpush("nacked", "1")


broker = RedisBroker(url=URL)
broker.add_middleware(TellDeadLetters())
dramatiq.set_broker(broker)


@dramatiq.actor
def fine() -> None:
    """Does nothing."""


@dramatiq.actor(max_retries=0)
def fail() -> None:
    """Fails, for good."""
    raise ValueError("on purpose")


@dramatiq.actor
def hold() -> None:
    """Runs until it is let go."""
    connection = redis.from_url(URL)
    connection.rpush("started", "1")
    connection.blpop(["go"], 60)


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fail.send()
        hold.send()
        for _ in range(6):
            fine.send()
        fine.send_with_options(delay=3_600_000)
    elif sys.argv[1] == "work":
        Worker(broker, worker_threads=1).start()
        signal.pause()
    else:
        sizes = {name: broker.do_qsize(name) for name in ("default", "default.DQ")}
        print(json.dumps([sizes["default"], sizes["default.DQ"], broker.client.zcard("dramatiq:default.XQ")]))
