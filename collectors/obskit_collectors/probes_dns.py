"""One attempt at DNS: ask for a record and hold the answers against what is wanted.

A and AAAA of the machine's own resolver need nothing; other types and other servers need dnspython (the extra dns-srv).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Final

from obskit.clock import Clock
from obskit.model.patterns import anchored
from obskit_collectors.probes_addresses import system_lookup
from obskit_collectors.probes_found import Cause, Found, ProbeError
from obskit_collectors.probes_settings import DnsProbe

_SHOWN: Final = 5


class DnsProber:
    """Asks for one record."""

    def __init__(self, probe: DnsProbe, clock: Clock, timeout_s: float) -> None:
        self._probe = probe
        self._clock = clock
        self._timeout_s = timeout_s

    async def __call__(self, found: Found) -> None:
        """Readings go into `found`; ProbeError says what is wrong."""
        asked = f"{self._probe.query} {self._probe.type}"
        found.add("probe_dns_query_succeeded", 0.0)
        with found.phase("dns", "request"):
            answers = await (self._by_system() if self._plain else self._by_library())
        found.readings = [reading for reading in found.readings if reading[0] != "probe_dns_query_succeeded"]
        found.add("probe_dns_query_succeeded", 1.0)
        found.add("probe_dns_answer_rrs", len(answers))
        if not answers:
            raise ProbeError(Cause.ANSWER, f"{asked}: no answer")
        for pattern in self._probe.answers:
            if not any(anchored(pattern).match(answer) for answer in answers):
                shown = ", ".join(answers[:_SHOWN])
                raise ProbeError(Cause.ANSWER, f"{asked}: no answer matches {pattern}: {shown}")

    @property
    def _plain(self) -> bool:
        """Whether the machine's resolver can tell: it knows addresses only, and /etc/hosts beside DNS."""
        return self._probe.type in ("A", "AAAA") and not self._probe.server

    async def _by_system(self) -> Sequence[str]:
        family = socket.AF_INET if self._probe.type == "A" else socket.AF_INET6
        try:
            return list(dict.fromkeys(await system_lookup(self._probe.query, family)))
        except (OSError, UnicodeError) as error:
            words = getattr(error, "strerror", None) or "not a host name"
            raise ProbeError(Cause.RESOLVE, f"{self._probe.query}: cannot be resolved: {words}") from None

    async def _by_library(self) -> Sequence[str]:
        try:
            import dns.asyncresolver  # noqa: PLC0415 - an extra
            import dns.exception  # noqa: PLC0415 - as above
        except ImportError:
            raise ProbeError(Cause.UNSUPPORTED, f"{self._probe.type} records need a package that is missing") from None
        try:
            resolver = self._resolver(dns.asyncresolver.Resolver)
            answer = await resolver.resolve(
                self._probe.query, self._probe.type, lifetime=self._timeout_s, raise_on_no_answer=False
            )
        except dns.exception.Timeout:
            raise ProbeError(Cause.TIMEOUT, f"{self._probe.query}: no answer within {self._timeout_s:g} s") from None
        except (dns.exception.DNSException, OSError, ValueError) as error:
            words = str(error) or type(error).__name__
            raise ProbeError(Cause.RESOLVE, f"{self._probe.query}: cannot be resolved: {words}") from None
        return sorted(map(_text, answer.rrset or ()))  # servers shuffle them

    def _resolver(self, make: Any) -> Any:
        if not self._probe.server:
            return make()
        server = self._probe.server
        host, port = server, "53"
        if server.startswith("[") or server.count(":") == 1:
            host, _, port = server.rpartition(":")
        resolver = make(configure=False)
        resolver.nameservers = [host.strip("[]")]
        resolver.port = int(port)
        return resolver


def _text(record: Any) -> str:
    """A record as a person writes it: TXT without its quotes, its parts joined (RFC 7208, 3.3)."""
    strings = getattr(record, "strings", None)
    return b"".join(strings).decode("utf-8", "replace") if strings is not None else str(record.to_text())
