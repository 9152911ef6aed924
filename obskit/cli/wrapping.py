"""Runs a command as if it ran alone, keeping the end of what it prints; and pings in a thread that nobody waits for long."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Final
from uuid import uuid4

KEPT: Final = 10_000
"""Bytes of the output that go with the last ping."""
PATIENCE_S: Final = 5.0
_SETTLE_S: Final = 1.0
"""How long the last output is waited for before the ping. It may never end: a child in the background has it, too."""
_ATTEMPTS: Final = 3
_CHUNK: Final = 65_536
_NOT_FOUND: Final = 127
_NOT_RUN: Final = 126
_BY_SIGNAL: Final = 128
_PASSED_ON: Final = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class Tail:
    """The last bytes of several streams, as they came in."""

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        self._bytes = bytearray()
        self._lock = threading.Lock()

    def add(self, chunk: bytes) -> None:
        """More of it."""
        with self._lock:
            self._bytes += chunk
            del self._bytes[: -self._size]

    def bytes(self) -> bytes:
        """What is kept."""
        with self._lock:
            return bytes(self._bytes)


class Pinger:
    """Sends pings in order. `address` is asked for in its thread, because a config takes a while to read."""

    def __init__(self, address: Callable[[], str], say: Callable[[str], None] | None = None) -> None:
        self._address = address
        self._say = say or _say
        self._pings: queue.Queue[tuple[str, bytes] | None] = queue.Queue()
        self._run = str(uuid4())
        self._thread = threading.Thread(target=self._send_all, daemon=True, name="obskit-heartbeat")

    def start(self) -> None:
        """The command begins."""
        self._pings.put(("/start", b""))
        self._thread.start()

    def end(self, exit_status: int, output: bytes) -> None:
        """The command has ended; returns when that was told, or patience has run out."""
        self._pings.put((f"/{exit_status}", output))
        self._pings.put(None)
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            self._say(f"no answer within {PATIENCE_S:g} s")

    def _send_all(self) -> None:
        try:
            base = self._address().rstrip("/")
        except Exception as error:  # noqa: BLE001 - a config that cannot be read must not cost the job
            self._say(str(error) or type(error).__name__)
            return
        while (ping := self._pings.get()) is not None:
            word, body = ping
            trouble = self._send(f"{base}{word}?rid={self._run}", body)
            if trouble:
                self._say(trouble)

    def _send(self, url: str, body: bytes) -> str:
        """What went wrong. Without the URL: whoever has it can ping."""
        from obskit.outbound import httpx

        trouble = ""
        for _ in range(_ATTEMPTS):
            try:
                response = httpx.post(url, content=body, timeout=PATIENCE_S, headers={"User-Agent": "obskit"})
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                trouble = str(error) or type(error).__name__
                continue
            trouble = "" if response.status_code < 300 else f"answered HTTP {response.status_code}"
            if response.status_code < 500:
                break
        return trouble


def run_wrapped(command: Sequence[str], pinger: Pinger) -> int:
    """Run the command between two pings; its exit code, as a shell would have it."""
    pinger.start()
    tail = Tail()
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603 - asked for
    except OSError as error:
        words = f"{command[0]}: {error.strerror}"
        print(f"obskit: {words}", file=sys.stderr)
        code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUN
        pinger.end(code, words.encode())
        return code
    with _signals_to(process):
        assert process.stdout is not None
        assert process.stderr is not None
        copies = [_copy(process.stdout, sys.stdout, tail), _copy(process.stderr, sys.stderr, tail)]
        returned = process.wait()
        code = returned if returned >= 0 else _BY_SIGNAL - returned
        for copy in copies:
            copy.join(_SETTLE_S)
        pinger.end(code, tail.bytes())
        for copy in copies:
            copy.join()
    return code


def _copy(source: IO[bytes], to: IO[str], tail: Tail) -> threading.Thread:
    """Pass on what comes, unchanged and at once. When nobody reads ours, the command's breaks, too."""
    to.flush()

    def copy() -> None:
        with source:
            while chunk := os.read(source.fileno(), _CHUNK):
                tail.add(chunk)
                try:
                    while chunk:
                        chunk = chunk[os.write(to.fileno(), chunk) :]
                except OSError:
                    return

    thread = threading.Thread(target=copy, name="obskit-copy", daemon=True)
    thread.start()
    return thread


@contextmanager
def _signals_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Signals go to the command, and it decides. A terminal sends its own to both of us already."""
    at_terminal = os.isatty(0)
    before = {number: signal.getsignal(number) for number in _PASSED_ON}

    def pass_on(number: int, _: object) -> None:
        if not (at_terminal and number in (signal.SIGINT, signal.SIGQUIT)):
            process.send_signal(number)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup: the command ignores it, too
            signal.signal(number, pass_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(words: str) -> None:
    print(f"obskit: heartbeat: {words}", file=sys.stderr)
