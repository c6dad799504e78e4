"""What a login costs: ``python -m pytest benchmarks/bench_tokens.py --benchmark-only``.

Clients come in batches, are let in, and leave. Two gateways take turns, batch by batch, on one core: one that asks nobody who he is, and
one with four issuers. The columns: CPU of the second for each client (``cpu_us``), of the first (``open_us``), and the share of the open
rate that this makes, in the median of the batches and at its ends (``share``, ``least``, ``most``). ``seen``: the token was verified
before, as in a storm of clients that come back; it must be 0.7 or more. Then new tokens, each verified once, for each algorithm; and
wrong ones.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from attack import forge
from attack.arena import GatewayUnderAttack
from attack.wire import PROTOCOLS, request
from mdstream.bus.embedded import EmbeddedNats

BATCHES = 7
LOGINS = 1_000
"""In a batch."""
AT_ONCE = 32
WARM_UP = 200
SETTLE_S = 0.05
"""Until the gateway has noticed that the last clients left."""
MANY = ("--max-handshakes", "100000")

Tokens = Callable[[], Iterator[str | None]]


@pytest.fixture(scope="module")
def nats() -> Iterator[EmbeddedNats]:
    server = asyncio.run(EmbeddedNats.start())
    yield server
    asyncio.run(server.stop())


def log_in(port: int, requests: list[bytes], status: bytes) -> None:
    left = iter(requests)
    while some := list(islice(left, AT_ONCE)):
        wires = [socket.create_connection(("127.0.0.1", port)) for _ in some]
        for wire, hello in zip(wires, some, strict=True):
            wire.sendall(hello)
        for wire in wires:
            answer = wire.recv(4096)
            assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
        for wire in wires:
            wire.close()


def hello(token: str | None) -> bytes:
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    return request(Sec_WebSocket_Protocol=PROTOCOLS["msgpack"], **bearer)


def always(token: str | None) -> Iterator[str | None]:
    while True:
        yield token


def fresh(algorithm: str, signed_by: str = "gateway") -> Iterator[str | None]:
    number = 0
    while True:
        yield forge.token(algorithm, jti=str(number), signed_by=signed_by)
        number += 1


CASES: dict[str, tuple[Tokens, bytes]] = {
    "seen": (lambda: always(forge.token()), b"101"),
    **{algorithm: (lambda algorithm=algorithm: fresh(algorithm), b"101") for algorithm in forge.ISSUERS},
    "wrong signature": (lambda: fresh("EdDSA", "attacker"), b"401"),
    "no token": (lambda: always(None), b"401"),
}


class Door:
    """A gateway and who comes to it."""

    def __init__(self, gateway: GatewayUnderAttack, tokens: Iterator[str | None], status: bytes) -> None:
        os.sched_setaffinity(gateway.pid, {min(os.sched_getaffinity(0))})
        self.gateway = gateway
        self.cpu_us: list[float] = []
        self._tokens = tokens
        self._status = status
        self._come(WARM_UP)

    def measure(self) -> None:
        self.cpu_us.append(self._come(LOGINS) / LOGINS * 1e6)

    def _come(self, count: int) -> float:
        """Seconds of the gateway's CPU, until all have left again."""
        requests = [hello(token) for token in islice(self._tokens, count)]
        before_s = cpu_s(self.gateway.pid)
        log_in(self.gateway.port, requests, self._status)
        time.sleep(SETTLE_S)
        return cpu_s(self.gateway.pid) - before_s


def cpu_s(pid: int) -> float:
    """By the kernel's clock of the process, which counts nanoseconds."""
    return time.clock_gettime((~pid << 3) | 2)


@pytest.mark.parametrize("case", CASES)
def test_logins(benchmark: Any, nats: EmbeddedNats, tmp_path: Path, case: str) -> None:
    tokens, status = CASES[case]
    (tmp_path / "open").mkdir()
    strict = GatewayUnderAttack(nats.url, tmp_path, *forge.configure(tmp_path), *MANY)
    easy = GatewayUnderAttack(nats.url, tmp_path / "open", *MANY)
    doors = Door(strict, tokens(), status), Door(easy, always(None), b"101")

    def take_turns() -> None:
        for _ in range(BATCHES):
            for door in doors:
                door.measure()

    benchmark.pedantic(take_turns, rounds=1)
    shares = sorted(open_us / us for us, open_us in zip(doors[0].cpu_us, doors[1].cpu_us, strict=True))
    benchmark.extra_info |= {
        "cpu_us": round(statistics.median(doors[0].cpu_us), 1),
        "open_us": round(statistics.median(doors[1].cpu_us), 1),
        "share": round(statistics.median(shares), 2),
        "least": round(shares[0], 2),
        "most": round(shares[-1], 2),
    }
    for door in doors:
        door.gateway.stop()
