"""Where a probe connects to: names resolved by us, so that the time is known and addresses of the machine's own kind
(link-local, cloud metadata) are refused after resolving, whatever a name or a redirect says."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Literal

from obskit_collectors.probes_found import Cause, Found, ProbeError

Address = IPv4Address | IPv6Address
Family = Literal["any", "4", "6"]
_FAMILIES: Final[dict[Family, socket.AddressFamily]] = {
    "any": socket.AF_UNSPEC,
    "4": socket.AF_INET,
    "6": socket.AF_INET6,
}
_METADATA: Final = tuple(
    map(ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "192.0.0.192/32"))
)
"""Link-local, and where clouds (AWS over IPv6, Alibaba, Oracle) keep a machine's credentials outside of it."""

Lookup = Callable[[str, socket.AddressFamily], Awaitable[Sequence[str]]]


async def system_lookup(host: str, family: socket.AddressFamily) -> Sequence[str]:
    """The resolver of this machine, in its order (RFC 6724)."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM)
    return [str(row[4][0]) for row in found]


@dataclass(frozen=True, slots=True)
class Resolver:
    """Turns a host into addresses that may be asked. `lookup` is the machine's own but for tests."""

    link_local: bool = False
    lookup: Lookup = system_lookup

    async def resolve(self, host: str, family: Family, found: Found, kind: str) -> list[Address]:
        """The addresses, in the resolver's order; ProbeError when there is none, or none that may be asked."""
        with found.phase(kind, "resolve"):
            try:
                texts = await self.lookup(host, _FAMILIES[family])
            except (OSError, UnicodeError) as error:
                words = getattr(error, "strerror", None) or "not a host name"
                raise ProbeError(Cause.RESOLVE, f"{host}: cannot be resolved: {words}") from None
        addresses = [ip_address(text.partition("%")[0]) for text in dict.fromkeys(texts)]
        allowed = [address for address in addresses if self.link_local or not is_metadata(address)]
        if not addresses:
            raise ProbeError(Cause.RESOLVE, f"{host}: has no address")
        if not allowed:
            raise ProbeError(Cause.ADDRESS, f"{host}: {addresses[0]} is link-local or a cloud's metadata service")
        return allowed


def is_metadata(address: Address) -> bool:
    """Whether an address is where a machine tells its secrets to itself; also when IPv4 is written as IPv6."""
    plain = getattr(address, "ipv4_mapped", None) or address
    return any(plain in network for network in _METADATA if network.version == plain.version)


def note_address(address: Address, found: Found) -> None:
    """The readings about the address that answered."""
    found.add("probe_ip_protocol", address.version)
    found.add("probe_ip_addr_hash", fnv32a(address.packed))


def fnv32a(data: bytes) -> int:
    """The hash that blackbox_exporter gives an address: it tells a change of address, not the address."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value
