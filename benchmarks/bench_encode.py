"""Encoders and checksum inside the core: ``python -m pytest benchmarks/bench_encode.py``.

Each round encodes ``MESSAGES`` different messages, so that the branch predictor cannot learn them. The extra column ``ns`` is the
best round's time per message.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from mdstream._bench.encode_loops import Messages
from mdstream._core.base.decimals import format_decimal, parse_levels
from mdstream._core.codec import encode

MESSAGES = 500
FORMATS = {"json": encode.JSON, "msgpack": encode.MSGPACK}
SCALES = {"-2,-8": (-2, -8), "-5,-3": (-5, -3), "-9,-18": (-9, -18)}


def side(chance: random.Random, best: int, step: int, levels: int, deleted: float) -> list[int]:
    """Levels a few ticks apart, with sizes over seven decades; some of them are deleted."""
    flat: list[int] = []
    for _ in range(levels):
        lots = 0 if chance.random() < deleted else int(10 ** chance.uniform(3, 10))
        flat += (best, lots)
        best += step * chance.randrange(1, 9)
    return flat


def messages(levels: int, deleted: float = 0.25) -> list[tuple[list[int], list[int]]]:
    chance = random.Random(levels)
    return [
        (side(chance, 6_412_310, -1, levels, deleted), side(chance, 6_412_320, 1, levels, deleted))
        for _ in range(MESSAGES)
    ]


def measure(benchmark: Any, count: int, work: Callable[..., Any], *arguments: Any) -> None:
    benchmark.pedantic(work, args=arguments, rounds=50, warmup_rounds=3)
    if benchmark.stats is not None:
        benchmark.extra_info["ns"] = round(benchmark.stats.stats.min * 1e9 / count, 1)


@pytest.mark.parametrize("levels", [1, 5, 20])
@pytest.mark.parametrize("format", FORMATS)
def test_delta(benchmark: Any, format: str, levels: int) -> None:
    measure(benchmark, MESSAGES, Messages(messages(levels)).deltas, FORMATS[format], -2, -8, 1)


@pytest.mark.parametrize("scale", SCALES)
def test_delta_json_by_exponents(benchmark: Any, scale: str) -> None:
    measure(benchmark, MESSAGES, Messages(messages(5)).deltas, encode.JSON, *SCALES[scale], 1)


@pytest.mark.parametrize("levels", [20, 500])
@pytest.mark.parametrize("format", FORMATS)
def test_snapshot(benchmark: Any, format: str, levels: int) -> None:
    measure(benchmark, MESSAGES, Messages(messages(levels, deleted=0)).snapshots, FORMATS[format], -2, -8, 1)


def test_checksum(benchmark: Any) -> None:
    measure(benchmark, MESSAGES, Messages(messages(10, deleted=0)).checksums, 1)


def test_parse_levels(benchmark: Any) -> None:
    """Per level, from the strings of a JSON message to ticks and lots."""
    bids, _asks = messages(1_000)[0]
    pairs = [[format_decimal(bids[i], -2), format_decimal(bids[i + 1], -8)] for i in range(0, len(bids), 2)]
    measure(benchmark, len(pairs), parse_levels, pairs, -2, -8)
