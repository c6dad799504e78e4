"""IP addresses as bytes: four for IPv4, also where it comes mapped into IPv6, sixteen for IPv6, none where it is not known."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

from mdstream._core.entry.networks import NetworkTable

UNKNOWN: Final = b""
_MAPPED = 10 * b"\x00" + 2 * b"\xff"
_SITE_BYTES = 8


def unmapped(address: bytes) -> bytes:
    return address[12:] if len(address) == 16 and address.startswith(_MAPPED) else address


def parse_address(text: str) -> bytes | None:
    """``203.0.113.7`` or ``2001:db8::1``, without a zone; None for anything else."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return unmapped(socket.inet_pton(family, text))
    except (OSError, ValueError):  # ValueError: a zero character, or what has no bytes
        return None


def shown_address(address: bytes) -> str:
    """For people; a site reads ``2001:db8:1:2::/64``."""
    if len(address) == _SITE_BYTES:
        return f"{socket.inet_ntop(socket.AF_INET6, address + bytes(8))}/64"
    if len(address) in (4, 16):
        return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
    return "an unknown address"


def parse_network(text: str) -> str:
    """``10.0.0.0/8`` or one address, in its usual spelling. Raises ValueError that says what is wrong."""
    network = ipaddress.ip_network(text)
    if network.version == 6 and (inner := network.network_address.ipv4_mapped) and network.prefixlen >= 96:
        return str(ipaddress.ip_network((inner, network.prefixlen - 96)))
    return str(network)


class Networks(NetworkTable):
    """A few networks, as ``parse_network`` spells them; ``address in networks`` for an address as bytes."""

    def __init__(self, networks: Iterable[str]) -> None:
        found = [ipaddress.ip_network(text) for text in networks]
        super().__init__([(each.network_address.packed, each.prefixlen) for each in found])
