"""A small real service: an HTTP API that puts jobs into a Redis list, and a worker that takes them out.

    python examples/stack/service.py --redis redis://127.0.0.1:6379/0 --log examples/stack/service.log

It serves /metrics (prometheus-client) and writes JSON lines to --log. Without a Redis it keeps its jobs to itself, and
says so. It can be made to misbehave:

    curl -X POST localhost:8000/chaos/errors/on      every second request fails, until …/off
    curl -X POST localhost:8000/chaos/worker/off     jobs pile up, until …/on
    curl -X POST localhost:8000/chaos/crash/on       the process exits with code 1, like a crash
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import sys
import threading
import time
from collections import deque
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest

QUEUE = "jobs"
REQUESTS = Counter("http_requests_total", "Requests by status.", ["method", "status"])
DURATION = Histogram("http_request_duration_seconds", "How long requests took.", buckets=(0.005, 0.025, 0.1, 0.5, 1, 3))
JOBS = Counter("jobs_done_total", "Jobs that the worker finished.")


class Redis:
    """LPUSH and RPOP over a socket: enough for a queue, and no package to install."""

    def __init__(self, url: str) -> None:
        self._address = (urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 6379)
        self._lock = threading.Lock()
        self._file = socket.create_connection(self._address, timeout=5).makefile("rwb")

    def command(self, *words: str) -> bytes | None:
        with self._lock:
            parts = b"".join(b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()) for word in words)
            self._file.write(b"*%d\r\n" % len(words) + parts)
            self._file.flush()
            head = self._file.readline()
            if head.startswith(b"$") and head != b"$-1\r\n":
                return self._file.read(int(head[1:]) + 2)[:-2]
            return None if head.startswith(b"$") else head.strip()


class NoRedis:
    """The same two commands on a list of our own, which nobody else can see."""

    def __init__(self) -> None:
        self._jobs: deque[str] = deque()

    def command(self, *words: str) -> bytes | None:
        if words[0] == "LPUSH":
            self._jobs.appendleft(words[2])
            return None
        return self._jobs.pop().encode() if self._jobs else None


def connect(url: str) -> Redis | NoRedis:
    """The queue at the URL, or one of our own when nothing listens there."""
    try:
        return Redis(url)
    except OSError as error:
        print(f"no Redis at {url} ({error}): jobs stay in this process", file=sys.stderr)
        return NoRedis()


class Service:
    """What the handler and the worker share."""

    def __init__(self, redis: Redis | NoRedis, log: Path) -> None:
        self.redis = redis
        self.chaos = {"errors": False, "worker": True, "crash": False}
        self._log = log.open("a", buffering=1)

    def say(self, level: str, message: str, **fields: object) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")  # noqa: UP017, TID251
        self._log.write(json.dumps({"at": now, "level": level, "message": message, **fields}) + "\n")

    def work(self) -> None:
        """The worker: takes a job, does it, counts it."""
        while True:
            job = self.redis.command("RPOP", QUEUE) if self.chaos["worker"] else None
            if job is None:
                time.sleep(0.05)  # noqa: TID251 - a service of its own, not a part of obskit
                continue
            time.sleep(0.002)  # noqa: TID251
            JOBS.inc()


class Handler(BaseHTTPRequestHandler):
    service: Service
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: without it every answer waits 40 ms

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
            return
        with DURATION.time():
            failed = self.service.chaos["errors"] and random.random() < 0.5
            if failed:
                self.service.say("error", "TimeoutError: pool exhausted", path=self.path, waited_s=5.0)
            elif self.path == "/jobs":
                self.service.redis.command("LPUSH", QUEUE, json.dumps({"at": time.time()}))  # noqa: TID251
        REQUESTS.labels("GET", "500" if failed else "200").inc()
        self._answer(500 if failed else 200, b"sorry\n" if failed else b"ok\n")

    def do_POST(self) -> None:
        _, _, what, switch = self.path.split("/")
        self.service.chaos[what] = switch == "on"
        self._answer(200, b"done\n")
        self.service.say("info", f"chaos: {what} {switch}")
        if self.service.chaos["crash"]:
            self.service.say("fatal", "panic: index out of range")
            os._exit(1)

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The access log is the metrics."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--redis", default=os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))
    parser.add_argument("--log", type=Path, default=Path("service.log"))
    arguments = parser.parse_args()
    Handler.service = Service(connect(arguments.redis), arguments.log)
    threading.Thread(target=Handler.service.work, daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    Handler.service.say("info", "service started", port=server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    main()
