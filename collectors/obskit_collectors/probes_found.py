"""What one attempt of a probe finds: readings under blackbox_exporter's names, and if it failed, the cause and its words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

from obskit.clock import Clock
from obskit.collect import Reading
from obskit.errors import CollectorError


class Cause(Enum):
    """Why a probe failed: the label `cause`, and what a doctor says about it."""

    RESOLVE = ("resolve", "correct the name, or see whether its zone is still delegated")
    ADDRESS = ("address", "set allow_link_local: true if it is meant to be asked")
    CONNECT = ("connect", "start the service, or correct host and port")
    TIMEOUT = ("timeout", "see what is slow, or raise timeout")
    TLS = ("tls", "see whether the port speaks TLS, in a version that is still allowed")
    CERTIFICATE_EXPIRED = ("certificate_expired", "renew the certificate and reload the server")
    CERTIFICATE_NAME = ("certificate_name", "have the name put into the certificate, or correct server_name")
    CERTIFICATE_UNTRUSTED = ("certificate_untrusted", "serve the whole chain, or name the authority in tls.ca_file")
    PROTOCOL = ("protocol", "see whether this port speaks what is asked of it")
    STATUS = ("status", "see the service's log, or name the status under status")
    REDIRECT = ("redirect", "correct the redirect, or set redirects: false")
    HEADER = ("header", "correct the header, or header_matches")
    BODY = ("body", "see what the page says, or correct body_matches and body_not_matches")
    JSON = ("json", "see what the page says, or correct json")
    SLOW = ("slow", "see what is slow, or raise slower_than")
    ANSWER = ("answer", "correct the record, or answers")
    UNSUPPORTED = ("unsupported", "install obskit-toolkit[dns-srv]")

    def __init__(self, slug: str, fix: str) -> None:
        self.slug = slug
        self.fix = fix


_REASONS: Final = {
    Cause.RESOLVE: "network",
    Cause.CONNECT: "network",
    Cause.TIMEOUT: "timeout",
    Cause.ADDRESS: "config",
    Cause.UNSUPPORTED: "config",
}
"""How the books call it. Never `auth`: a page that answers 401 has not refused a token of ours."""


class ProbeError(CollectorError):
    """The probe failed: what is wrong with its target."""

    def __init__(self, cause: Cause, words: str) -> None:
        super().__init__(words, reason=_REASONS.get(cause, "bad_data"))
        self.cause = cause


class Found:
    """Readings of one attempt. Phases add up, because a redirect passes through them again."""

    def __init__(self, clock: Clock) -> None:
        self.readings: list[Reading] = []
        self._clock = clock
        self._phases: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, name: str, value: float, **labels: str) -> None:
        """One reading."""
        self.readings.append((name, labels, value))

    def spent(self, kind: str, phase: str, seconds: float) -> None:
        """Time that went into a phase of `probe_<kind>_duration_seconds`."""
        self._phases[kind][phase] += seconds

    @contextmanager
    def phase(self, kind: str, phase: str) -> Iterator[None]:
        """The time of the block, however it ends."""
        started = self._clock.monotonic()
        try:
            yield
        finally:
            self.spent(kind, phase, self._clock.monotonic() - started)

    def all(self) -> list[Reading]:
        """Everything, phases at the end."""
        return self.readings + [
            (f"probe_{kind}_duration_seconds", {"phase": phase}, seconds)
            for kind, phases in self._phases.items()
            for phase, seconds in phases.items()
        ]
