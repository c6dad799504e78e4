"""What a login costs: ``python -m pytest benchmarks/bench_tokens.py --benchmark-only``.

Clients come in batches, are let in, and leave. The columns: the gateway's CPU for each (``cpu_us``), what that makes a second on one core
(``per_s``), and that as a share of logins without any token (``share``). ``seen``: the token was verified before, as in a storm
after a restart of a proxy; it must be 0.7 or more. Then new tokens, each verified once, for each algorithm; and wrong ones.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from attack import forge
from attack.arena import GatewayUnderAttack
from attack.wire import PROTOCOLS, request
from mdstream.bus.embedded import EmbeddedNats

LOGINS = 6_000
AT_ONCE = 32
per_second: dict[str, float] = {}


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


def fresh(algorithm: str) -> Callable[[], list[str | None]]:
    return lambda: [forge.token(algorithm, jti=str(number)) for number in range(LOGINS)]


def by_strangers() -> list[str | None]:
    return [forge.token("EdDSA", jti=str(number), signed_by="attacker") for number in range(LOGINS)]


CASES: dict[str, tuple[Callable[[], list[str | None]], bytes]] = {
    "open": (lambda: [None] * LOGINS, b"101"),
    "seen": (lambda: [forge.token()] * LOGINS, b"101"),
    **{algorithm: (fresh(algorithm), b"101") for algorithm in forge.ISSUERS},
    "wrong signature": (by_strangers, b"401"),
    "no token": (lambda: [None] * LOGINS, b"401"),
}


@pytest.mark.parametrize("case", CASES)
def test_logins(benchmark: Any, nats: EmbeddedNats, tmp_path: Path, case: str) -> None:
    tokens, status = CASES[case]
    arguments = [] if case == "open" else forge.configure(tmp_path)
    gateway = GatewayUnderAttack(nats.url, tmp_path, *arguments, "--max-handshakes", "100000")
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(gateway.pid, {cores[0]})
    requests = [hello(token) for token in tokens()]
    log_in(gateway.port, requests[:1], status)
    before_s = gateway.cpu_s()
    benchmark.pedantic(log_in, args=(gateway.port, requests[1:], status), rounds=1)
    cpu_us = (gateway.cpu_s() - before_s) / (LOGINS - 1) * 1e6
    gateway.stop()
    per_second[case] = 1e6 / cpu_us
    benchmark.extra_info |= {"cpu_us": round(cpu_us, 1), "per_s": round(per_second[case])}
    if "open" in per_second:
        benchmark.extra_info["share"] = round(per_second[case] / per_second["open"], 2)
