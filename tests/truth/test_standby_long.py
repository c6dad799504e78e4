"""Many take-overs between two feed handlers on a cluster of three: how long they take, what is stored and what clients see.

The figures are in ``reports/standby.json``.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from truth.redundant import Redundant, redundant
from truth.rig import Rig

pytestmark = pytest.mark.complete

REPORT = Path(__file__).parents[2] / "reports" / "standby.json"
SLEEPS = int(os.environ.get("STANDBY_SLEEPS", "100"))
KILLS = HAND_OVERS = 20


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("standby"), cluster=True)
    yield made
    made.stop()


def report(name: str, seconds: list[float], pair: Redundant, snapshots: list[int]) -> None:
    known = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    known[name] = {
        "n": len(seconds),
        "median_s": round(statistics.median(seconds), 3),
        "worst_s": round(max(seconds), 3),
        "snapshots_per_client": snapshots,
        "old_ones_stored": len(pair.bus.old_ones_stored()),
        "stored_unseen": pair.bus.unseen(),
        "stored": len(pair.bus.stored),
        "books_that_never_were": len(pair.books_that_never_were()),
    }
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(known, indent=1))


def test_sleepers_overwrite_nothing(run: Callable[..., Any], rig: Rig, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.case() as case, redundant(case, tmp_path, ttl="500ms") as pair:
            before = [reader.snapshots for reader in case.readers]
            seconds = [await pair.put_to_sleep_and_wake() for _ in range(SLEEPS)]
            await case.current()
            await case.tapped()
            snapshots = [reader.snapshots - count for reader, count in zip(case.readers, before, strict=True)]
            report("sleep, lease of 0.5 s", seconds, pair, snapshots)
            assert pair.bus.old_ones_stored() == []
            assert pair.books_that_never_were() == []

    run(scenario(), deadline_s=15 * SLEEPS, debug=False)


def test_killed_writers_are_replaced_within_three_seconds(
    run: Callable[..., Any], rig: Rig, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.case() as case, redundant(case, tmp_path) as pair:
            before = [reader.snapshots for reader in case.readers]
            seconds = []
            for _ in range(KILLS):
                writer, epoch = pair.writer, pair.bus.epoch
                assert writer is not None
                killed_at = time.monotonic()
                await pair.end(writer, signal.SIGKILL)
                await pair.until(lambda epoch=epoch: pair.bus.epoch > epoch)
                seconds.append(pair.bus.first_at[pair.bus.epoch] - killed_at)
                pair.start(writer)
                await pair.ready()
            await case.tapped()
            snapshots = [reader.snapshots - count for reader, count in zip(case.readers, before, strict=True)]
            report("kill -9, lease of 2 s", seconds, pair, snapshots)
            assert pair.bus.old_ones_stored() == []
            assert pair.books_that_never_were() == []
            told = pair.trades_told()
            assert told == list(range(told[0], told[0] + len(told))), "trades are lost, or published twice"

    run(scenario(), deadline_s=20 * KILLS, debug=False)


def test_hand_overs_cost_clients_nothing(run: Callable[..., Any], rig: Rig, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with rig.case() as case, redundant(case, tmp_path) as pair:
            before, since = [reader.snapshots for reader in case.readers], len(pair.bus.updates)
            epoch = pair.bus.epoch
            for _ in range(HAND_OVERS):
                writer, count = pair.writer, len(pair.bus.updates)
                assert writer is not None
                followed = pair.program(writer).errors.count("ready to take over")
                pair.program(writer).signal(signal.SIGUSR1)
                await pair.until(lambda writer=writer: pair.writer == 1 - writer)
                await pair.until(lambda count=count: len(pair.bus.updates) > count + 25)
                await pair.until(
                    lambda writer=writer, followed=followed: (
                        pair.program(writer).errors.count("ready to take over") > followed
                    )
                )
            await case.current()
            await case.tapped()
            snapshots = [reader.snapshots - count for reader, count in zip(case.readers, before, strict=True)]
            pauses = sorted(
                (later - earlier for (earlier, *_), (later, *_) in pairwise(pair.bus.updates[since:])),
                reverse=True,
            )[:HAND_OVERS]
            report("hand-over, longest pauses between updates", pauses, pair, snapshots)
            assert pair.bus.epoch == epoch
            assert snapshots == [0] * len(case.readers)
            assert pair.states_since_ready() == {"live"}
            told = pair.trades_told()
            assert told == list(range(told[0], told[0] + len(told)))
            assert pair.books_that_never_were() == []

    run(scenario(), deadline_s=20 * HAND_OVERS, debug=False)
