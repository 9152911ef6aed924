from __future__ import annotations

import socket
from pathlib import Path

import pytest

from obskit.watch.systemd import notify, watchdog_s


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_message_arrives_at_the_socket_that_systemd_named(tmp_path: Path, kind: str) -> None:
    name = f"{tmp_path.name}-{id(tmp_path)}"
    address, given = (str(tmp_path / "n"), str(tmp_path / "n")) if kind == "path" else (f"\0{name}", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(5)
        notify("READY=1\nSTATUS=2 collectors, 40 rules", {"NOTIFY_SOCKET": given})
        assert systemd.recv(1000) == b"READY=1\nSTATUS=2 collectors, 40 rules"


@pytest.mark.parametrize("address", [None, "", "/nowhere/at/all", "@nobody-listens-here", "x" * 200])
def test_nobody_who_listens_is_no_error(address: str | None) -> None:
    notify("READY=1", {} if address is None else {"NOTIFY_SOCKET": address})


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, None), ("", None), ("30000000", 15.0), ("1", 5e-7), ("0", None), ("-5", None), ("soon", None)],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(given: str | None, seconds: float | None) -> None:
    assert watchdog_s({} if given is None else {"WATCHDOG_USEC": given}) == seconds
