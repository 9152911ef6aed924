"""sd_notify: tells systemd, when it asked to know, that we are ready, alive, reloading or stopping.

Protocol: systemd's sd_notify(3). One datagram to the socket in $NOTIFY_SOCKET; without it nothing happens.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(message: str, environment: Mapping[str, str] = os.environ) -> None:
    """Send `READY=1`, `WATCHDOG=1`, `STATUS=…`. Never raises: being watched must not be what breaks us."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(message.encode(), address)
    except OSError:
        return


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """How often to say WATCHDOG=1: half of what systemd allows; None when it does not watch."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() and int(microseconds) > 0 else None
