"""``make truth``: every fault many times on a cluster of three, outages of it, and recorded markets with faults at random places."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from truth.faults import FAULTS
from truth.outages import CLUSTER_OUTAGES, OUTAGES
from truth.recorded import PATHS, RECORDINGS, play
from truth.rig import Rig

pytestmark = pytest.mark.complete

ROUNDS = 5
SEED = 20_261_129


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("truth"), cluster=True)
    yield made
    made.stop()


@pytest.mark.parametrize("name", FAULTS)
def test_fault_on_a_cluster(name: str, run: Callable[..., Any], rig: Rig) -> None:
    async def scenario() -> None:
        chance = random.Random(f"{SEED} {name}")
        for _ in range(ROUNDS):
            async with rig.case() as case:
                await FAULTS[name](case)
            await asyncio.sleep(chance.random() / 2)

    run(scenario(), deadline_s=30 * ROUNDS, debug=False)


@pytest.mark.parametrize("name", OUTAGES | CLUSTER_OUTAGES)
def test_outage(name: str, run: Callable[..., Any], tmp_path: Path) -> None:
    run((OUTAGES | CLUSTER_OUTAGES)[name](tmp_path), deadline_s=120, debug=False)


@pytest.mark.parametrize("market", RECORDINGS)
def test_recorded_market(market: str, run: Callable[..., Any], tmp_path: Path) -> None:
    if not PATHS[market].exists():
        pytest.skip(f"no recorded data at {PATHS[market]} (MDSTREAM_DATA)")
    recording = RECORDINGS[market]()
    rig = Rig(tmp_path)

    async def scenario() -> None:
        async with rig.case(venue=recording.venue) as case:
            done = await play(recording, case, SEED)
            assert sum(done.values()) == 200

    try:
        run(scenario(), deadline_s=900, debug=False)
    finally:
        rig.stop()
