"""Two feed handlers as processes, of which one writes: what clients notice when it is stopped, killed, or falls asleep."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from truth.redundant import redundant
from truth.rig import Rig


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("standby"))
    yield made
    made.stop()


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGUSR1])
def test_a_hand_over_costs_clients_nothing(
    run: Callable[..., Any], rig: Rig, tmp_path: Path, order: signal.Signals
) -> None:
    async def scenario() -> None:
        async with rig.case() as case, redundant(case, tmp_path) as pair:
            writer, epoch = pair.writer, pair.bus.epoch
            assert writer is not None
            snapshots = [reader.snapshots for reader in case.readers]
            if order is signal.SIGTERM:
                await pair.end(writer, order)
            else:
                pair.program(writer).signal(order)
            await pair.until(lambda: pair.writer == 1 - writer)
            count = len(pair.bus.updates)
            await pair.until(lambda: len(pair.bus.updates) > count + 50 and pair.bus.trades)
            await case.tapped()
            assert pair.bus.epoch == epoch
            numbers = [number for _, _, number in pair.bus.updates]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert [reader.snapshots for reader in case.readers] == snapshots
            assert pair.states_since_ready() == {"live"}
            told = pair.trades_told()
            assert told == list(range(told[0], told[0] + len(told)))
            assert pair.books_that_never_were() == []

    run(scenario(), deadline_s=60, debug=False)


def test_a_killed_writer_is_replaced_in_a_new_epoch(
    run: Callable[..., Any], rig: Rig, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.case() as case, redundant(case, tmp_path) as pair:
            writer, epoch = pair.writer, pair.bus.epoch
            assert writer is not None
            await pair.end(writer, signal.SIGKILL)
            await pair.until(lambda: pair.bus.epoch > epoch)
            count = len(pair.bus.updates)
            await pair.until(lambda: len(pair.bus.updates) > count + 50 and pair.bus.trades)
            await case.current()
            await case.tapped()
            assert pair.bus.old_ones_stored() == []
            assert pair.books_that_never_were() == []
            told = pair.trades_told()
            assert told == list(range(told[0], told[0] + len(told))), "trades are lost, or published twice"

    run(scenario(), deadline_s=60, debug=False)


def test_a_writer_who_wakes_up_writes_nothing_over_its_successor(
    run: Callable[..., Any], rig: Rig, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.case() as case, redundant(case, tmp_path, ttl="500ms") as pair:
            for _ in range(3):
                await pair.put_to_sleep_and_wake()
            await case.current()
            await case.tapped()
            assert pair.bus.old_ones_stored() == []
            assert pair.books_that_never_were() == []

    run(scenario(), deadline_s=60, debug=False)
