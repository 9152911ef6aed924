"""One attempt over TCP: a connection, and with `tls` a handshake and a look at the certificate."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence

from obskit.clock import Clock
from obskit_collectors.probes_addresses import Address, Resolver, note_address
from obskit_collectors.probes_certificates import TlsSettings, context_of, note_tls, refused
from obskit_collectors.probes_found import Cause, Found, ProbeError
from obskit_collectors.probes_settings import TcpProbe


class TcpProber:
    """Connects to one port."""

    def __init__(self, probe: TcpProbe, resolver: Resolver, clock: Clock) -> None:
        self._probe = probe
        self._resolver = resolver
        self._clock = clock

    async def __call__(self, found: Found) -> None:
        """Readings go into `found`; ProbeError says what is wrong."""
        started = self._clock.monotonic()
        addresses = await self._resolver.resolve(self._probe.host, self._probe.ip, found, "tcp")
        address, writer = await self._connect(addresses, found)
        try:
            note_address(address, found)
            if self._probe.tls is not None:
                await self._shake_hands(writer, self._probe.tls, address, found)
        finally:
            writer.transport.abort()
        took_ms = (self._clock.monotonic() - started) * 1000
        if self._probe.slower_than is not None and took_ms > self._probe.slower_than:
            raise ProbeError(Cause.SLOW, f"the connection took {took_ms:.0f} ms (limit {self._probe.slower_than} ms)")

    async def _connect(self, addresses: Sequence[Address], found: Found) -> tuple[Address, asyncio.StreamWriter]:
        """The first address that takes a connection."""
        words = ""
        for address in addresses:
            try:
                with found.phase("tcp", "connect"):
                    _, writer = await asyncio.open_connection(str(address), self._probe.port)
            except OSError as error:
                words = os.strerror(error.errno) if error.errno else str(error)
                continue
            return address, writer
        raise ProbeError(Cause.CONNECT, f"{self._probe.address}: cannot connect: {words}")

    async def _shake_hands(
        self, writer: asyncio.StreamWriter, tls: TlsSettings, address: Address, found: Found
    ) -> None:
        context, name = context_of(tls), tls.server_name or self._probe.host
        try:
            with found.phase("tcp", "tls"):
                await writer.start_tls(context, server_hostname=name)
        except ssl.SSLCertVerificationError as error:
            raise await refused(error, name, (address, self._probe.port), found) from None
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ProbeError(Cause.TLS, f"{self._probe.address}: no TLS: {error.args[-1]}") from None
        note_tls(writer.get_extra_info("ssl_object"), found)
