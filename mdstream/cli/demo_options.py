"""The options of ``mdstream demo``."""

from __future__ import annotations

import argparse
import socket
from dataclasses import dataclass

from mdstream.gateway.config import default_of
from mdstream.model import InstrumentId

VENUE = "SIM"
LEAST_RATE, GREATEST_RATE = 1, 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """Ports are text; None is the gateway's default port, or a free one if that is taken."""

    symbols: tuple[str, ...]
    rate: float
    seed: int
    nats: str
    host: str
    port: str | None
    admin_port: str | None
    for_s: float | None
    lines: bool
    open: bool = False

    @property
    def instruments(self) -> list[str]:
        return [f"{VENUE}:{symbol}" for symbol in self.symbols]


def symbols(text: str) -> tuple[str, ...]:
    """Symbols from ``A,B,…``, each once."""
    found = tuple(part for part in (piece.strip() for piece in text.split(",")) if part)
    if not found:
        raise argparse.ArgumentTypeError("no instrument was named")
    if len(set(found)) != len(found):
        raise argparse.ArgumentTypeError(f"{text!r} names an instrument twice")
    for symbol in found:
        try:
            InstrumentId.parse(f"{VENUE}:{symbol}")
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return found


def rate(text: str) -> float:
    """Level changes per second."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        value = 0.0
    if not LEAST_RATE <= value <= GREATEST_RATE:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a number of level changes per second from {LEAST_RATE} to {GREATEST_RATE:,}"
        )
    return value


def default_port(name: str, host: str) -> str:
    """The gateway's default port, or ``0`` (any free port) if it is taken."""
    port = default_of(name)
    assert isinstance(port, int)
    return str(port if _is_free(host, port) else 0)


def _is_free(host: str, port: int) -> bool:
    """Whether the port can be listened on now. The gateway refuses a host that is wrong."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        return True
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True
