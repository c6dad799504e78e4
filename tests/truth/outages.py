"""Parts that die, stop, or lose their storage or their clock; each scenario has servers and gateways of its own."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from mdstream.bus import EmbeddedNats
from mdstream.errors import FeedError
from truth import patience
from truth.model import Levels, Truth
from truth.rig import HEARTBEAT_S, LINGER_S, STALE_S, Case, GatewayProcess, case, start_cluster
from truth.scenario import TOLD_S, repeat
from truth.verdict import Bounds
from truth.writers import MIDDLE, RawWriter, SdkWriter, now_us

Scenario = Callable[[Path], Awaitable[None]]
OUTAGES: dict[str, Scenario] = {}
CLUSTER_OUTAGES: dict[str, Scenario] = {}
"""Those of three servers, for the long run."""
HOUR_S = 3600


def outage(scenario: Scenario) -> Scenario:
    OUTAGES[scenario.__name__] = scenario
    return scenario


def cluster_outage(scenario: Scenario) -> Scenario:
    CLUSTER_OUTAGES[scenario.__name__] = scenario
    return scenario


@asynccontextmanager
async def parts(
    temporary: Path, gateways: int = 1, server: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[EmbeddedNats, Case]]:
    """A server, gateways, and a case around them."""
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(await EmbeddedNats.start(**(server or {})))
        made = await started(stack, nats.url, temporary, gateways, **settings)
        yield nats, await stack.enter_async_context(case(nats.url, made))


async def started(
    stack: AsyncExitStack, url: str, temporary: Path, count: int, **settings: Any
) -> list[GatewayProcess]:
    """Gateways that are ready, and end with the stack."""
    gateways = [GatewayProcess(url, temporary, **settings) for _ in range(count)]
    for gateway in gateways:
        stack.push_async_callback(asyncio.to_thread, gateway.kill)
    for gateway in gateways:
        await asyncio.to_thread(gateway.wait_ready)
    return gateways


async def _watched(made: Case, **options: Any) -> SdkWriter:
    """An SDK writer with a live book, read on every gateway."""
    writer = await made.sdk(**options)
    await writer.open()
    async with writer.pumping():
        for gateway in range(len(made.gateways)):
            for format in ("json", "msgpack"):
                await made.read(gateway, format=format)
        await made.current()
    return writer


def _token(made: Case) -> str:
    return "md." + made.name.replace(":", ".")


@outage
async def gateway_is_killed(temporary: Path) -> None:
    """Its clients resume on the one that is started again, which has nothing but the bus: no book goes back."""
    async with parts(temporary) as (_, made):
        writer = await _watched(made)
        async with writer.pumping():
            await asyncio.to_thread(made.gateways[0].kill)
            await asyncio.sleep(0.5)
            made.gateways[0].start()
            await asyncio.to_thread(made.gateways[0].wait_ready)
            await made.current()


@outage
async def gateway_is_killed_and_the_log_has_aged(temporary: Path) -> None:
    """Storage has an older snapshot than the clients: they wait until their number is reached, or is borne out by nothing."""
    async with parts(temporary) as (_, made):
        writer = await _watched(made)
        writer.instrument.snap()
        async with writer.pumping():
            await asyncio.sleep(0.3)
            await asyncio.to_thread(made.gateways[0].kill)
        await writer.publisher.flush()
        jetstream = (await made.nats()).jetstream()
        await jetstream.purge_stream("MD_LOG", subject=f"{_token(made)}.book")
        made.gateways[0].start()
        await asyncio.to_thread(made.gateways[0].wait_ready)
        await asyncio.sleep(1.5)
        writer.instrument.snap()
        async with writer.pumping():
            await made.current()


async def _is_replaced(made: Case, writer: RawWriter) -> None:
    """The gateway is killed; when it starts, a fenced writer's ``ref``, ``status`` and ``snap`` are the stored ones."""
    await asyncio.to_thread(made.gateways[0].kill)
    fenced = RawWriter(await made.nats(), made.name, made.truth, writer.epoch - HOUR_S * 1_000_000)
    await fenced.begin()
    await fenced.live("book", fenced.next())
    await fenced.stored("status", fenced.status_of())
    await fenced.snap()
    made.gateways[0].start()
    await asyncio.to_thread(made.gateways[0].wait_ready)


async def _watched_raw(made: Case) -> RawWriter:
    writer = await made.raw()
    await writer.begin()
    async with writer.pumping():
        for view in ({"format": "json"}, {"format": "msgpack"}, {"channel": "trades"}):
            await made.read(**view)
        await made.current()
        trades = made.readers[-1]
        assert await trades.until(lambda: trades.live), trades.code
        await writer.trade()
        assert await trades.until(lambda: trades.trade is not None), "no trade came"
    return writer


@outage
async def storage_has_the_smaller_epoch(temporary: Path) -> None:
    """Live statuses of the greater epoch bear out what clients resume at: they are not shown the fenced writer's book."""
    async with parts(temporary) as (_, made):
        writer = await _watched_raw(made)
        await (await made.nats()).jetstream().purge_stream("MD_LOG", subject=f"{_token(made)}.book")
        await _is_replaced(made, writer)
        await repeat(writer.status, 4.0)
        for reader in made.readers:
            told = await reader.until(
                lambda reader=reader: (reader.state, reader.code) == ("recovering", "no_ref"), 0.0
            )
            assert told, (reader.state, reader.code)
        await writer.stored("ref", writer.ref_of())
        await writer.snap()
        async with writer.pumping():
            await made.current()


@outage
async def storage_has_the_smaller_epoch_and_the_greater_goes_on(temporary: Path) -> None:
    """Updates of the greater epoch come, and new clients too: nobody is told ``live`` with the fenced writer's book."""
    async with parts(temporary) as (_, made):
        writer = await _watched_raw(made)
        await _is_replaced(made, writer)
        async with writer.pumping():
            await asyncio.sleep(0.5)
            new = await made.read()
            await new.told("no_ref", within_s=2.0)
            await asyncio.sleep(3.0)
            await made.told("no_ref", within_s=0.5)
            await writer.stored("ref", writer.ref_of())
            await writer.snap()
            await made.current()


@outage
async def stranger_writes_over_what_is_stored(temporary: Path) -> None:
    """``ref`` and ``snap`` of two hours ahead, and the writer's market is quiet: a gateway that starts then shows it all the same."""
    async with parts(temporary) as (_, made):
        writer = await _watched(made)
        writer.instrument.snap()
        await writer.publisher.flush()
        await asyncio.to_thread(made.gateways[0].kill)
        stranger = await made.impostor(now_us() + 2 * HOUR_S * 10**6)
        await stranger.jetstream.purge_stream("MD_LOG", subject=f"{_token(made)}.book")
        await stranger.stored("ref", stranger.ref_of(price_exp=-4))
        await stranger.stored("snap", stranger.snap_of())
        made.gateways[0].start()
        await asyncio.to_thread(made.gateways[0].wait_ready)
        writer.instrument.heard()
        made.truth.word()
        await made.current(within_s=2.0)


@outage
async def ref_contradicts_what_a_gateway_read_from_storage(temporary: Path) -> None:
    """It never heard the right scale live, and hears the wrong one first: the stored one that it opened with is the known one."""
    async with parts(temporary) as (_, made):
        writer = await _watched(made)
        twin = await made.impostor(writer.instrument.epoch)
        async with writer.pumping():
            await asyncio.to_thread(made.gateways[0].kill)
            made.gateways[0].start()
            await asyncio.to_thread(made.gateways[0].wait_ready)
            await made.current()
            with made.truth.doubted():
                told = made.tells(
                    "refused", within_s=1.0
                )  # the writer answers at once, so it may be over soon
                await twin.stored("ref", twin.ref_of(price_exp=-3))
                await told
            await twin.stored("ref", twin.ref_of())
            await made.current()
            await made.leave()
            await asyncio.sleep(4 * LINGER_S)
            again = await made.read()
            await again.current()


@outage
async def gateway_is_stopped(temporary: Path) -> None:
    """SIGSTOP: its clients take the link for dead after two heartbeats, and nothing older is shown once it goes on."""
    async with parts(temporary) as (_, made):
        writer = await _watched(made)
        made.bounds = Bounds(made.bounds.silent_s, behind_s=2 * HEARTBEAT_S + 1)
        async with writer.pumping():
            with made.gateways[0].paused():
                await asyncio.sleep(2 * HEARTBEAT_S + 0.5)
            await made.current()


@outage
async def nats_is_killed(temporary: Path) -> None:
    async with parts(temporary) as (server, made):
        writer = await _watched(made)
        async with writer.pumping():
            server.kill()
            await made.told("nats_away", within_s=1.0)
            await asyncio.sleep(1.0)
            await server.restart()
            await made.current()


@outage
async def nats_is_stopped(temporary: Path) -> None:
    """SIGSTOP: to a gateway it is silence, until a ping is not answered."""
    async with parts(temporary) as (server, made):
        writer = await _watched(made)
        made.bounds = Bounds(made.bounds.silent_s, behind_s=STALE_S + 1.0)
        async with writer.pumping():
            server.pause()
            await asyncio.sleep(TOLD_S)
            await made.told(within_s=0.5)
            server.resume_process()
            await made.current()


@outage
async def jetstream_is_mute(temporary: Path) -> None:
    """Two of three servers die, and all parts are on the third: live data goes on, of old and new writers."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(server) for server in await start_cluster()]
        gateways = await started(stack, servers[0].url, temporary, 1)
        made = await stack.enter_async_context(case(servers[0].url, gateways))
        other = await stack.enter_async_context(case(servers[0].url, gateways))
        writer = await _watched(made)
        for server in servers[1:]:
            server.kill()
        async with writer.pumping():
            await asyncio.sleep(0.5)
            await made.current(within_s=1.0)
            await _go_on_without_jetstream(made, writer, other)
            for server in servers[1:]:
                await server.restart()
            await made.current(within_s=20)


async def _go_on_without_jetstream(made: Case, writer: SdkWriter, other: Case) -> None:
    """The writer's connection is cut, and another writer begins."""
    old, new = await made.tap(Truth(made.name)), await other.tap(Truth(other.name))
    other.may_show_nothing = True
    old.first_at.clear()
    began = time.monotonic()
    writer.publisher.bus.client._transport.close()
    newcomer = await other.sdk()
    await newcomer.open()
    await newcomer.pump(0.3)
    async with asyncio.timeout(patience.within(5.0)):
        while not ("book" in old.first_at and "book" in new.first_at):
            await asyncio.sleep(0.01)
    if not patience.times_count():
        return
    # A request to JetStream is given up after 5 s: who waited for it is later than this, and a busy machine is not.
    assert old.first_at["book"] - began < 3.0, "live data waited for JetStream"
    assert new.first_at["book"] - began < 5.0, "a new writer waited for JetStream"


@outage
async def snapshot_is_larger_than_max_payload(temporary: Path) -> None:
    """The publisher says that it cannot store the book, and what a late gateway opens is the book, or is not live."""
    async with parts(temporary, 2, {"max_payload_bytes": 16_384}) as (_, made):
        errors: list[Exception] = []
        writer = await made.sdk(on_error=errors.append)
        await writer.open()
        try:
            for at in range(30):
                _deepen(writer, at)
                await writer.publisher.flush()
        except FeedError as error:
            errors.append(error)
        assert any("max_payload" in str(error) for error in errors), (
            "the publisher took a book that it cannot store"
        )
        await (await made.nats()).jetstream().purge_stream("MD_LOG", subject=f"{_token(made)}.book")
        late = await made.read(1)
        for lots in range(1, 16):
            _change(writer, [MIDDLE - 1, lots], [MIDDLE, lots])
            await asyncio.sleep(0.1)
        small = [MIDDLE - 1, 5], [MIDDLE, 5]
        writer.instrument.replace_ticks(*small)
        writer.market.levels = Levels(*small)
        writer.truth.publish(writer.instrument.epoch, writer.instrument.seq, writer.market.levels)
        async with writer.pumping():
            await late.current()


def _deepen(writer: SdkWriter, at: int) -> None:
    """Sixty levels more on each side, far from the middle."""
    bids = [
        number for ticks in range(8_000 - 60 * at, 7_940 - 60 * at, -1) for number in (ticks, 10**9 + ticks)
    ]
    asks = [
        number for ticks in range(12_000 + 60 * at, 12_060 + 60 * at) for number in (ticks, 10**9 + ticks)
    ]
    _change(writer, bids, asks)


def _change(writer: SdkWriter, bids: list[int], asks: list[int]) -> None:
    writer.instrument.update_ticks(bids, asks)
    writer.market.levels.apply(bids, asks)
    writer.truth.publish(writer.instrument.epoch, writer.instrument.seq, writer.market.levels)


@outage
async def writer_is_replaced(temporary: Path) -> None:
    """A second writer takes over while the first one writes: the greater epoch is shown, from its first update on."""
    async with parts(temporary, 2) as (_, made):
        former = await _watched(made)
        successor = await made.sdk()
        with suppress(FeedError):  # what the former one gets once it hears of the other
            async with former.pumping():
                await successor.open()
        assert successor.instrument.epoch > former.instrument.epoch
        async with successor.pumping():
            await made.current()


@asynccontextmanager
async def clustered(temporary: Path) -> AsyncIterator[tuple[list[EmbeddedNats], Case]]:
    """Three servers; gateways and writers know all of them, and so may be on any."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(server) for server in await start_cluster()]
        url = ",".join(server.url for server in servers)
        gateways = await started(stack, url, temporary, 2)
        yield servers, await stack.enter_async_context(case(url, gateways))


@cluster_outage
async def nodes_are_killed_in_turn(temporary: Path) -> None:
    async with clustered(temporary) as (servers, made):
        writer = await _watched(made)
        # A writer that has lost its node is silence to gateways that have not.
        made.bounds = Bounds(made.bounds.silent_s, behind_s=STALE_S + 1.0)
        async with writer.pumping():
            for server in servers:
                server.kill()
                await asyncio.sleep(2.0)
                await server.restart()
                await asyncio.sleep(3.0)
                await made.current(within_s=20)


@cluster_outage
async def jetstream_has_no_quorum(temporary: Path) -> None:
    """Two of three servers stop, for long enough that the third notices: its connections stay."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(server) for server in await start_cluster()]
        gateways = await started(stack, servers[0].url, temporary, 2)
        made = await stack.enter_async_context(case(servers[0].url, gateways))
        writer = await _watched(made)
        async with writer.pumping():
            for server in servers[1:]:
                server.pause()
                stack.callback(server.resume_process)
            await asyncio.sleep(15.0)
            await made.current(within_s=1.0)
            made.steady(0.0)
            for server in servers[1:]:
                server.resume_process()
            await made.current(within_s=20)


STEP_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long step(void) {
    char text[32] = {0};
    int file = open(getenv("STEP_FILE"), O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    if (read(file, text, 31) < 0) text[0] = 0;
    close(file);
    return atol(text);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    long result = syscall(SYS_clock_gettime, clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += step();
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


class SteppedClock:
    """A library that adds the seconds of a file to the wall clock of the processes that preload it."""

    def __init__(self, directory: Path) -> None:
        self._file, source, library = directory / "step", directory / "step.c", directory / "step.so"
        source.write_text(STEP_SOURCE)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
        self.seconds = 0
        self.set(0)
        self.env = {"LD_PRELOAD": str(library), "STEP_FILE": str(self._file)}

    def set(self, seconds: int) -> None:
        self.seconds = seconds
        self._file.write_text(f"{seconds}\n")

    @staticmethod
    def possible() -> bool:
        return shutil.which("gcc") is not None


@outage
async def wall_clock_is_stepped(temporary: Path) -> None:
    """Of gateway and publisher, an hour back and a minute ahead: nothing changes its pace, nobody is told anything."""
    clock = SteppedClock(temporary)
    async with parts(temporary, env=clock.env, heartbeat_ms=400) as (_, made):
        writer = await _watched(made, clock_us=lambda: now_us() + clock.seconds * 1_000_000)
        paced = await made.read(interval_ms=250)
        idle = await made.read(channel="trades")
        async with writer.pumping():
            await made.current()
            for step in (-HOUR_S, 0, 60):
                clock.set(step)
                before = idle.heartbeats, len(paced.shown)
                await asyncio.sleep(1.6)
                assert await idle.until(lambda before=before: idle.heartbeats - before[0] >= 2, 0.0), (
                    f"{idle.heartbeats - before[0]} heartbeats at {step} s"
                )
                assert await paced.until(lambda before=before: len(paced.shown) - before[1] >= 3, 0.0), (
                    f"{len(paced.shown) - before[1]} updates at {step} s"
                )
            await made.current()
        assert not any(reader.closes for reader in made.readers)
        made.steady(0.0)
        for _ in range(9):
            writer.instrument.heard()
            made.truth.word()
            clock.set(-clock.seconds)
            await asyncio.sleep(0.2)
        made.steady(0.0)
