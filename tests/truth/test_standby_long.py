"""Many take-overs between two feed handlers on a cluster of three: how long they take, what is stored and what clients see.

The figures are in ``reports/standby.json``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mdstream import feed
from mdstream.bus import BusOptions, StreamOptions, connect
from mdstream.feed import LeaseOptions
from mdstream.feed.lease import GO_ON, STOP
from support.bus_recorder import unpack
from truth.redundant import Redundant, redundant
from truth.rig import Rig, start_cluster

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


@pytest.mark.parametrize("unknown", [GO_ON, STOP])
def test_without_a_quorum_the_writer_does_as_it_was_told(run: Callable[..., Any], unknown: str) -> None:
    async def scenario() -> None:
        servers = await start_cluster()
        urls = tuple(server.url for server in servers)
        options = BusOptions(urls, streams=StreamOptions(replicas=3), reconnect_cap_s=0.2)
        heard: list[Any] = []
        async with AsyncExitStack() as stack:
            for server in servers:
                stack.push_async_callback(server.stop)
            reader = await stack.enter_async_context(await connect(servers[0].url))
            await reader.subscribe("md.>", lambda name, _, payload, __: heard.extend(unpack(payload)))
            publishers, instruments = [], []
            for name in ("one", "two"):
                lease = LeaseOptions("main", ttl_s=1.0, unknown=unknown, holder=name)
                publisher = await stack.enter_async_context(feed.connect(options, venue="SIM", lease=lease))
                publishers.append(publisher)
                instruments.append(await publisher.instrument("A", price_exp=0, size_exp=0))
            task = asyncio.create_task(change(instruments))
            stack.callback(task.cancel)
            await heard_until(heard, lambda value: value[0] == 1)
            for server in servers[1:]:
                server.kill()
            if unknown == STOP:
                await heard_until(heard, lambda value: value[0] == 5 and value[3] == "feed_down")
                await asyncio.sleep(2.0)
                count = len(heard)
                await asyncio.sleep(1.0)
                assert len(heard) == count, "it goes on though it was to stop"
            else:
                await asyncio.sleep(5.0)
                await heard_until(heard, lambda value: value[0] == 1)
            assert [each.writes for each in publishers] == [True, False]
            for server in servers[1:]:
                await server.restart()
            await heard_until(heard, lambda value: value[0] == 1)
            await heard_until(heard, lambda value: value[0] == 5 and value[3] == "trading")
            books = [(value[1], value[2]) for value in heard if isinstance(value, list) and value[0] == 1]
            assert len(set(books)) == len(books), "a number was used twice"
            assert sum(each.writes for each in publishers) == 1

    run(scenario(), deadline_s=120, debug=False)


async def change(instruments: list[feed.Instrument]) -> None:
    """Both see the venue's book change, until cancelled."""
    for lots in itertools.count(1):
        for instrument in instruments:
            instrument.replace_ticks([100, lots], [101, 5])
        await asyncio.sleep(0.02)


async def heard_until(heard: list[Any], wanted: Callable[[Any], bool]) -> None:
    """Returns when something that is wanted comes from now on."""
    at = len(heard)
    async with asyncio.timeout(30):
        while not any(isinstance(value, list) and wanted(value) for value in heard[at:]):
            await asyncio.sleep(0.01)
