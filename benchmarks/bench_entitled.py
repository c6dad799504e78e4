"""What it costs to judge a subscribe: ``python -m pytest benchmarks/bench_entitled.py``.

A round judges ``NAMES`` instruments, of which the claim allows half. The parameter is what the claim holds: as
many patterns as fit into a token of 8 KiB in the last three. ``ns`` is the time of one judgement; ``claim_us`` that of reading a claim
which no other user has.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from mdstream.auth.entitlements import Entitlements

NAMES = 10_000
ROUNDS = 5

CLAIMS: dict[str, list[str]] = {
    "one venue": ["SIM:*"],
    "ten beginnings": [f"SIM:{letter}*" for letter in "ABCDEFGHIJ"],
    "500 instruments": [f"SIM:I{n}" for n in range(500)],
    "500 ends": [f"SIM:*{n}" for n in range(500)],
    "500 venues": [f"V{n}:*" for n in range(500)],
}


def claim_of(patterns: list[str], depth: int = 20) -> dict[str, Any]:
    return {"grants": [{"channels": ["book"], "instruments": patterns, "depth": depth}]}


@pytest.mark.parametrize("patterns", CLAIMS.values(), ids=CLAIMS.keys())
def test_judge(benchmark: Any, patterns: list[str]) -> None:
    entitlements = Entitlements.from_claim(claim_of(patterns))
    names = [pattern.replace("*", "A") for pattern in patterns] + [
        f"OTHER:X{n}" for n in range(len(patterns))
    ]
    wanted = [names[n % len(names)] for n in range(NAMES)]

    def judge() -> None:
        for name in wanted:
            entitlements.delay_ms("book", name, 20, 0)

    benchmark.pedantic(judge, rounds=ROUNDS, warmup_rounds=1)
    began_s, claims = time.perf_counter(), [claim_of(patterns, depth) for depth in range(100, 120)]
    kept = [Entitlements.from_claim(claim) for claim in claims]
    took_s = time.perf_counter() - began_s
    benchmark.extra_info["ns"] = round(benchmark.stats.stats.min / NAMES * 1e9)
    benchmark.extra_info["claim_us"] = round(took_s / len(kept) * 1e6)
    assert entitlements.delay_ms("book", names[0], 20, 0) == 0
