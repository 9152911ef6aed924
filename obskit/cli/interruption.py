"""How a command ends that prints until somebody has enough: Ctrl-C, or a pipe whose reader has gone (`| head`)."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

INTERRUPTED: Final = 128 + signal.SIGINT
PIPE_CLOSED: Final = 128 + signal.SIGPIPE


@contextmanager
def interruptible() -> Iterator[None]:
    """Both end the command without a word, with the exit code that shells know for them (130, 141)."""
    before = signal.signal(signal.SIGINT, _interrupt)  # asyncio's own would wait for the next await
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the store is closed in peace
        _drop_output()
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        _drop_output()
        raise SystemExit(PIPE_CLOSED) from None
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, before)


def reader_is_gone() -> bool:
    """Whether nobody reads stdout any more: found out before there is something to write."""
    try:
        watched = select.poll()
        watched.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0))
    except (OSError, ValueError):
        return False  # not a file of the system


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _drop_output() -> None:
    """What Python still holds for stdout is not wanted, and must not fail at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
