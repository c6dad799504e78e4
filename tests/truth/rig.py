"""Real parts around a fault: nats-servers, gateways as processes, writers that know the truth, readers that are judged."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client as Nats

from mdstream import feed
from mdstream.bus import BusOptions, EmbeddedNats, StreamOptions, connect
from mdstream.errors import BusError
from support.ports import free_port
from support.program import Program
from truth import patience
from truth.model import Levels, Position, Truth
from truth.reader import Reader, reading
from truth.verdict import TOLERANCE_S, Bounds, Verdict, judge
from truth.writers import RawWriter, SdkWriter, Tap

STALE_S = 1.0
HEARTBEAT_S = 1.0
STATUS_S = 0.3
LINGER_S = 0.1
VIEWS: tuple[dict[str, Any], ...] = (
    {"gateway": 0, "format": "json"},
    {"gateway": 1, "format": "msgpack"},
    {"gateway": 1, "channel": "ticker", "format": "json"},
    {"gateway": 0, "channel": "trades", "format": "msgpack"},
)
_symbols = itertools.count(1)
kept: list[Verdict] = []
"""The verdicts of the cases that came to their end, for a report."""


async def _gathered(work: list[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*work)


class GatewayProcess:
    """``mdstream serve`` on ports that stay the same over a restart."""

    command: tuple[str, ...] = (sys.executable, "-m")

    def __init__(
        self, nats_url: str, temporary: Path, env: dict[str, str] | None = None, **settings: Any
    ) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self._temporary, self._env = temporary, env
        settings = {
            "nats": nats_url, "port": self.port, "admin_port": self.admin_port, "linger_ms": int(LINGER_S * 1000),
            "stale_after_ms": int(STALE_S * 1000), "heartbeat_ms": int(HEARTBEAT_S * 1000),
            "drain_spread_ms": 0, "drain_deadline_ms": 0,
        } | settings  # fmt: skip
        self._arguments = [
            text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", str(value))
        ]
        self.stale_s = settings["stale_after_ms"] / 1000
        self.program: Program
        self.start()

    def start(self) -> None:
        self.program = Program(
            "mdstream.cli",
            "serve",
            *self._arguments,
            temporary=self._temporary,
            env=self._env,
            command=self.command,
        )

    def wait_ready(self) -> None:
        self.program.until_error(r"serving clients at (ws://\S+)")
        self.program.until_error("connected to NATS")

    def kill(self) -> None:
        """As a crash would."""
        self.stop(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        with self.program:
            if self.program.process.poll() is None:
                self.program.end(number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.program.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.program.signal(signal.SIGCONT)


class Delay:
    """The longest time that this process's own loop was late: the machine's share in what looks late."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.02)
            self.longest_s = max(self.longest_s, time.monotonic() - before - 0.02)


class Case:
    """One fault: its instrument, its writers and readers. Everything ends with it."""

    def __init__(
        self, stack: AsyncExitStack, nats_url: str, gateways: list[GatewayProcess], venue: str = "TRUTH"
    ) -> None:
        self.stack, self.nats_url, self.gateways = stack, nats_url, gateways
        self.name = f"{venue}:S{next(_symbols)}-{time.monotonic_ns() % 10**6}"
        self.truth = Truth(self.name)
        self.readers: list[Reader] = []
        self.left: list[Reader] = []
        self.bounds = Bounds(silent_s=gateways[0].stale_s + 1.0)
        self.may_show_nothing = False
        self._reading = AsyncExitStack()
        stack.push_async_callback(self._reading.aclose)
        self.delay = Delay()
        task = asyncio.create_task(self.delay.run())
        stack.callback(task.cancel)

    # ---- writers

    async def sdk(self, **options: Any) -> SdkWriter:
        """A publisher of its own, not yet open."""
        return SdkWriter(await self.publisher(self.name.partition(":")[0], **options), self.truth)

    async def publisher(self, venue: str, **options: Any) -> feed.Publisher:
        options = {"status_interval_s": STATUS_S} | options
        bus = BusOptions(tuple(self.nats_url.split(",")))
        return await self.stack.enter_async_context(feed.connect(bus, venue=venue, **options))

    async def nats(self, url: str | None = None) -> Nats:
        servers = (url or self.nats_url).split(",")
        client = await nats.connect(servers, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
        self.stack.push_async_callback(client.close)
        return client

    async def raw(self, epoch: int | None = None) -> RawWriter:
        """The rightful writer, not yet begun."""
        return RawWriter(await self.nats(), self.name, self.truth, epoch)

    async def impostor(self, epoch: int) -> RawWriter:
        """What it publishes never was."""
        return RawWriter(await self.nats(), self.name, None, epoch)

    async def tap(self, truth: Truth) -> Tap:
        tap = Tap(truth)
        await tap.listen(await self.nats())
        return tap

    # ---- readers

    async def read(
        self,
        gateway: int = 0,
        truth: Truth | None = None,
        seen: tuple[Position, Levels] | None = None,
        **options: Any,
    ) -> Reader:
        """``seen``: the book that it has from elsewhere, and resumes with."""
        reader = Reader(self.gateways[gateway].port, truth or self.truth, **options)
        if seen is not None:
            reader.position, reader.book = seen
        self.readers.append(reader)
        return await self._reading.enter_async_context(reading(reader))

    async def leave(self) -> None:
        """All readers leave; what they were told until then is judged at the end."""
        await self._reading.aclose()
        self.left += self.readers
        self.readers = []

    async def watch(self, *, live: bool = True, truth: Truth | None = None) -> list[Reader]:
        """A reader for each of the views, two of them of the book; with ``live`` the books are live when it returns."""
        readers = [await self.read(truth=truth, **view) for view in VIEWS]
        for reader in readers[:2] if live else ():
            await reader.current()
        return readers[:2]

    async def current(self, within_s: float = 10.0) -> None:
        """Returns when every book is live at the newest."""
        await asyncio.gather(*(each.current(within_s) for each in self.readers if each.channel == "book"))

    async def tapped(self, within_s: float = 5.0) -> None:
        """Returns when the tap has heard of all that the readers were shown; over a cluster it may hear of it later."""
        async with asyncio.timeout(patience.within(within_s)):
            while any((each.position or (0, 0)) > each.truth.newest for each in self._books()):
                await asyncio.sleep(0.01)

    async def told(self, *codes: str, within_s: float = 10.0) -> None:
        """Returns when every book was told so."""
        await asyncio.gather(*(each.told(*codes, within_s=within_s) for each in self._books()))

    def tells(self, *codes: str, within_s: float) -> Coroutine[Any, Any, object]:
        """Call before what they are to be told of, and await it afterwards, when it may be over."""
        books = [(each, len(each.moments)) for each in self._books()]
        return _gathered([each.told(*codes, within_s=within_s, since=since) for each, since in books])

    def _books(self) -> list[Reader]:
        return [each for each in self.readers if each.channel == "book"]

    def aged(self) -> None:
        """The ages that the books were told are those of the venue's last word, within a second."""
        for reader in self.readers:
            moment = reader.moments[-1]
            if reader.channel != "book" or moment.live:
                continue
            word = max(each for each in self.truth.words if each <= moment.at)
            assert moment.age_ms is not None, f"{reader.who}: {moment.code} without an age"
            late_s = abs(moment.age_ms / 1000 - (moment.at - word))
            assert not patience.times_count() or late_s <= 1 + TOLERANCE_S + self.delay.longest_s, (
                f"{reader.who}: told {moment.age_ms} ms, {late_s} s off"
            )

    def steady(self, bound_s: float) -> None:
        """No book was without ``live`` for longer than this, where times count."""
        for verdict in self.verdicts():
            if patience.times_count() and verdict.who.startswith("book"):
                assert verdict.not_live_s <= bound_s + verdict.tolerance_s, (
                    f"{verdict.who}: not live for {verdict.not_live_s:.1f} s"
                )

    # ---- the verdict

    def verdicts(self) -> list[Verdict]:
        tolerance_s = TOLERANCE_S + self.delay.longest_s
        return [judge(reader, self.bounds, tolerance_s) for reader in self.left + self.readers]


@asynccontextmanager
async def case(nats_url: str, gateways: list[GatewayProcess], **options: Any) -> AsyncIterator[Case]:
    """At its end, if nothing else failed, everything that the readers were told must hold."""
    async with AsyncExitStack() as stack:
        made = Case(stack, nats_url, gateways, **options)
        try:
            yield made
        except AssertionError as error:
            kept.extend(verdicts := made.verdicts())
            error.add_note(_told(verdicts))
            raise
        kept.extend(verdicts := made.verdicts())
    faults = _told(verdicts)
    assert not faults, faults
    assert made.may_show_nothing or any(verdict.shown for verdict in verdicts), "nothing was shown to anybody"


def _told(verdicts: list[Verdict]) -> str:
    """What is wrong with what readers were told, with notes; empty if nothing is."""
    faults = [fault for verdict in verdicts for fault in verdict.faults()]
    notes = [f"  {note}" for verdict in verdicts if verdict.faults() for note in verdict.notes]
    return "\n".join(faults + notes)


class Rig:
    """One nats-server (or a cluster of three) and two gateways, for many faults one after another."""

    def __init__(self, temporary: Path, *, cluster: bool = False) -> None:
        self.servers = asyncio.run(start_cluster() if cluster else start_server())
        self.url = ",".join(server.url for server in self.servers)
        self.gateways = [GatewayProcess(self.url, temporary) for _ in range(2)]
        for gateway in self.gateways:
            gateway.wait_ready()

    def case(self, **options: Any) -> Any:
        return case(self.url, self.gateways, **options)

    def stop(self) -> None:
        for gateway in self.gateways:
            gateway.stop()
        for server in self.servers:
            asyncio.run(server.stop())


async def start_server() -> list[EmbeddedNats]:
    return [await EmbeddedNats.start()]


async def start_cluster(
    directories: Sequence[Path | None] = (None, None, None), extra: str = ""
) -> list[EmbeddedNats]:
    """Three servers with both streams on each of them; ``extra`` is for the block ``cluster`` of their configuration."""
    ports = [free_port() for _ in range(3)]
    routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in ports)
    servers = []
    for number, port in enumerate(ports):
        cluster = f'cluster {{ name: truth, listen: "127.0.0.1:{port}", routes: [{routes}]\n{extra} }}'
        servers.append(
            await EmbeddedNats.start(
                data_dir=directories[number],
                port=free_port(),  # it stays its own while the server is down
                password=False,
                extra_config=f"server_name: truth-{number}\n{cluster}",
            )
        )
    options = BusOptions(tuple(server.url for server in servers), streams=StreamOptions(replicas=3))
    async with await connect(options) as bus:
        while True:  # until the three have a leader
            try:
                await bus.ensure_streams()
            except BusError:
                await asyncio.sleep(0.2)
            else:
                return servers
