"""`ip("...")`: addresses, CIDR blocks and `first-last` ranges, asked of a line or of a label value."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_IPV4: Final = re.compile(r"(?<![0-9])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9])")
_IPV6_RUN: Final = re.compile(r"[0-9a-fA-F:]{2,}")
_IPV6_LENGTH: Final = 39


class AddressRange:
    """The addresses from `first` to `last`, both included, of one family."""

    def __init__(self, first: IPv4Address | IPv6Address, last: IPv4Address | IPv6Address) -> None:
        if first.version != last.version or int(first) > int(last):
            raise ValueError("the range does not run upwards within one family of addresses")
        self._family, self._first, self._last = first.version, int(first), int(last)

    def holds(self, address: str) -> bool:
        """Whether the address is in the range; ValueError when it is no address."""
        from ipaddress import ip_address  # noqa: PLC0415 - few queries need it

        parsed = ip_address(address)
        return parsed.version == self._family and self._first <= int(parsed) <= self._last

    def occurs_in(self, line: str) -> bool:
        """Whether an address of the range stands anywhere in the line."""
        found = _IPV4.findall(line) if self._family == 4 else _ipv6_candidates(line)
        return any(_true(self.holds, address) for address in found)


@lru_cache(maxsize=256)
def parse_range(text: str) -> AddressRange:
    """`10.0.0.0/8`, `192.168.0.1`, `10.0.0.1-10.0.0.9`, or the same with IPv6; ValueError otherwise."""
    from ipaddress import ip_address, ip_network  # noqa: PLC0415 - few queries need it

    try:
        if "-" in text:
            first, _, last = text.partition("-")
            return AddressRange(ip_address(first), ip_address(last))
        network = ip_network(text, strict=False)
        return AddressRange(network[0], network[-1])
    except ValueError:
        raise ValueError("ip: invalid pattern") from None


def _ipv6_candidates(line: str) -> list[str]:
    """Runs of hexadecimal digits and colons that may be an address; a lone colon at an end belongs to the text."""
    found = []
    for run in _IPV6_RUN.findall(line):
        if run.count(":") < 2 or len(run) > _IPV6_LENGTH + 2:
            continue
        begin = 1 if run[0] == ":" and run[1] != ":" else 0
        end = len(run) - (1 if run[-1] == ":" and run[-2] != ":" else 0)
        found.append(run[begin:end])
    return found


def _true(holds: Callable[[str], bool], address: str) -> bool:
    try:
        return holds(address)
    except ValueError:
        return False
