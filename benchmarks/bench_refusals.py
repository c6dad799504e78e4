"""Whether the time of a 401 tells what is wrong with a token: ``python -m pytest benchmarks/bench_refusals.py --benchmark-only -s``.

Clients with tokens that are wrong in different ways come one after another, in a random order, from the machine that the gateway runs
on: nobody on a network measures as well. For each kind: the median and the 90th percentile of the time from the request to the whole
answer, and how much later its median is than that of a token with a wrong signature, once and as a multiple of the standard error of that
difference (``errors``): beyond 3 somebody who may ask so often can tell the two apart.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from attack import forge
from attack.arena import GatewayUnderAttack
from attack.forge import ISSUERS, keys
from attack.table_tokens import HOUR, now
from attack.wire import request
from mdstream.bus.embedded import EmbeddedNats

EACH = 2_000
WRONG_SIGNATURE = "wrong signature"
KINDS: dict[str, Callable[[int], str | None]] = {
    WRONG_SIGNATURE: lambda n: forge.token(jti=str(n), signed_by="attacker"),
    "tampered claims": lambda n: tampered(n),
    "expired": lambda n: forge.token(jti=str(n), exp=now(-HOUR), iat=now(-2 * HOUR)),
    "not yet": lambda n: forge.token(jti=str(n), nbf=now(HOUR)),
    "wrong audience": lambda n: forge.token(jti=str(n), aud="another"),
    "wrong issuer": lambda n: forge.token(jti=str(n), iss="https://evil.example"),
    "foreign kid": lambda n: forge.token(header={"alg": "EdDSA", "kid": f"not-ours-{n}"}),
    "alg none": lambda n: forge.unsigned(jti=str(n)),
    "HS256 with a public key": lambda n: forge.confused("RS256", keys().pem("RS256")),
    "RS256, wrong signature": lambda n: forge.token("RS256", jti=str(n), signed_by="attacker"),
    "oversized": lambda n: forge.token(jti=str(n), sub="a" * 8_000),
    "no JWT": lambda n: f"nonsense-{n}",
    "no token": lambda n: None,
}


def tampered(number: int) -> str:
    head, _, signature = forge.token(jti=str(number)).split(".")
    return f"{head}.{forge.encoded(forge.claims(sub='admin', jti=str(number)))}.{signature}"


@pytest.fixture(scope="module")
def nats() -> Iterator[EmbeddedNats]:
    server = asyncio.run(EmbeddedNats.start())
    yield server
    asyncio.run(server.stop())


def measure(port: int, hello: bytes) -> tuple[float, bytes]:
    """µs until the whole answer is there, and the answer."""
    with socket.create_connection(("127.0.0.1", port)) as wire:
        began_ns = time.perf_counter_ns()
        wire.sendall(hello)
        answer = b""
        while piece := wire.recv(4096):
            answer += piece
        return (time.perf_counter_ns() - began_ns) / 1e3, answer


def hello(token: str | None) -> bytes:
    return request(**({} if token is None else {"Authorization": f"Bearer {token}"}))


def test_refusals(benchmark: Any, nats: EmbeddedNats, tmp_path: Path) -> None:
    gateway = GatewayUnderAttack(nats.url, tmp_path, *forge.configure(tmp_path))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(gateway.pid, {cores[0]})
    asked = [(kind, hello(make(number))) for number in range(EACH) for kind, make in KINDS.items()]
    random.Random(1).shuffle(asked)
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}

    def ask_all() -> None:
        for kind, raw in asked:
            us, answer = measure(gateway.port, raw)
            assert answer.startswith(b"HTTP/1.1 401 "), answer[:100]
            taken[kind].append(us)

    benchmark.pedantic(ask_all, rounds=1)
    gateway.stop()
    print(table(taken))


def table(taken: dict[str, list[float]]) -> str:
    base = taken[WRONG_SIGNATURE]
    rows = [
        f"{'':28}{'median':>9}{'90 %':>9}{'later':>9}{'errors':>9}   µs, {len(ISSUERS)} issuers, {EACH} each"
    ]
    for kind, times in taken.items():
        later = statistics.median(times) - statistics.median(base)
        error = math.hypot(error_of_median(times), error_of_median(base))
        ninth = statistics.quantiles(times, n=10)[-1]
        rows.append(f"{kind:28}{statistics.median(times):9.1f}{ninth:9.1f}{later:9.1f}{later / error:9.1f}")
    return "\n".join(["", *rows])


def error_of_median(times: list[float]) -> float:
    """By the order statistics that hold it with 68 %: no shape is assumed."""
    ordered, half = sorted(times), len(times) / 2
    reach = math.sqrt(len(times)) / 2
    return max((ordered[round(half + reach)] - ordered[round(half - reach)]) / 2, 0.05)
