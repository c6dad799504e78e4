"""A whole gateway: builds the bus, the open instruments, the core, the sessions and the listeners, and connects them by callables."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from mdstream._core.base.clock import wall_time_us as wall_us
from mdstream._core.fanout.flush_scheduler import FlushScheduler
from mdstream._core.fanout.hub import Hub
from mdstream._core.fanout.sender import Sender
from mdstream._core.net.sender_uring import UringSender
from mdstream.auth.revocations import Revocations
from mdstream.bus import Bus, ReaderOptions, Readers
from mdstream.gateway.activity_metrics import ActivityCollector
from mdstream.gateway.activity_writer import ActivityWriter
from mdstream.gateway.admin import Admin, by_instrument, refused_page
from mdstream.gateway.audit import Audit
from mdstream.gateway.auth_metrics import AuthCollector
from mdstream.gateway.auth_setup import make_authenticator
from mdstream.gateway.bus_control import BusControl
from mdstream.gateway.bus_link import BusLink
from mdstream.gateway.candles_page import PATH as CANDLES_PATH
from mdstream.gateway.candles_page import CandlesPage
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.drain import close_all, drain
from mdstream.gateway.event_metrics import EventCollector
from mdstream.gateway.heap import Heap
from mdstream.gateway.inspection import Inspection
from mdstream.gateway.instruments_page import PATH as INSTRUMENTS_PATH
from mdstream.gateway.instruments_page import InstrumentsPage
from mdstream.gateway.limits import Kind, Limits
from mdstream.gateway.metrics import GatewayCollector, Metrics
from mdstream.gateway.open_instruments import OpenInstruments
from mdstream.gateway.overload import Overload
from mdstream.gateway.pauses import GcPauses
from mdstream.gateway.relief import Relief
from mdstream.gateway.reloading import RELOADED
from mdstream.gateway.server import Server
from mdstream.gateway.sessions import Sessions
from mdstream.gateway.sockets import url_of
from mdstream.gateway.status import Parts, Status
from mdstream.gateway.turns import Turns
from mdstream.gateway.ui import Ui
from mdstream.gateway.upkeep import Upkeep
from mdstream.gateway.usage_writer import UsageWriter
from mdstream.gateway.warming import Warming
from mdstream.gateway.worker_link import Pages
from mdstream.gateway.worker_settings import WorkerPlace

log = logging.getLogger("mdstream.gateway")

_SWEEP_S: Final = 1.0
_SHOW_S: Final = 0.2
_LOOK_AT_FILES_S: Final = 2.0
_LOOK_AT_HEAP_S: Final = 10.0
_TICKS_TO_HEARTBEAT: Final = 8
_CLOSE_WAIT_S: Final = 3.0


class Gateway:
    """One gateway: ``start`` it, then ``drain`` or ``stop`` it; each of these once.

    With ``bus`` it uses that connection and leaves it open. Without, it makes its own connection from the configuration, and serves
    clients before NATS is there. (``run.serve`` starts an embedded NATS, this class does not.)
    """

    def __init__(
        self, config: GatewayConfig, bus: Bus | None = None, place: WorkerPlace | None = None
    ) -> None:
        """``place``: it is one worker of several; it accepts clients where ``watch`` says, and has no admin pages of its own."""
        self.config = config
        self._place = place
        self._link = BusLink(config, bus, self._use)
        self._hub = Hub(
            log_capacity=config.log_capacity,
            trade_capacity=config.trade_capacity,
            max_levels=config.max_levels,
            heartbeat_us=config.heartbeat_ms * 1000,
            slow_limit_us=config.slow_limit_ms * 1000,
            sender=_sender() if config.io_uring else None,
            compression_level=config.compression_level,
            compression_threshold_bytes=config.compression_threshold_bytes,
        )
        self._upkeep = Upkeep()
        self.scheduler = FlushScheduler(
            self._hub,
            coalesce_max_us=config.coalesce_max_ms * 1000,
            idle_tick_us=config.heartbeat_ms * 1000 // _TICKS_TO_HEARTBEAT,
            on_tick=self._upkeep.tick,
        )
        turns = Turns(self._hub)
        self._instruments = OpenInstruments(
            config,
            self._hub,
            self.scheduler.flush,
            now_us=monotonic_us,
            wall_us=wall_us,
            wake=turns.wakes.add,
        )
        self.audit = Audit(config.audit_lines_per_second)
        self._revocations = Revocations(wall_us)
        self._authenticator = make_authenticator(config, self._revocations)
        self._limits = Limits(
            config, time.monotonic, tell=self._limited, shared=None if place is None else place.limits
        )
        self._overload = Overload()
        self._usage = UsageWriter(config, lambda: self._link.bus, wall_us) if config.usage_enabled else None
        self._activity = ActivityWriter(config, lambda: self._link.bus, wall_us)
        self._sessions = Sessions(
            config,
            self._hub,
            self._instruments,
            audit=self.audit,
            wall_us=wall_us,
            turns=turns,
            authenticator=self._authenticator,
            revocations=self._revocations,
            unchecked=self._unknown_revocations,
            limits=self._limits,
            load=self._overload,
            usage=self._usage.usage if self._usage is not None else None,
            activity=self._activity.activity,
        )
        self._control = self._make_control()
        self._server = Server(
            config,
            self._hub,
            self._sessions,
            self._limits,
            lambda: self._link.trouble,
            self.audit,
            self._authenticator,
            self._unknown_revocations,
            load=self._overload,
        )
        quotes = self._sessions.subscriptions.overviews.quotes
        self._server.pages.add(INSTRUMENTS_PATH, InstrumentsPage(config, self._instruments, quotes))
        self._server.pages.add(CANDLES_PATH, CandlesPage(config, self._sessions.subscriptions.candle_topics))
        self._warming = Warming(config, self._instruments)
        self._relief = self._make_relief()
        self._pauses = GcPauses()
        collector = GatewayCollector(
            config.node,
            self._hub.stats,
            self._sessions,
            self._server,
            self._instruments,
            lambda: self._link.connected,
            self._pauses,
            self.audit,
            self._limits,
            self._usage,
            self._relief,
        )
        others = (EventCollector(self._sessions), ActivityCollector(self._activity), *self._auth_collectors())
        self._metrics = Metrics(collector, *others)
        self.inspection = self._make_inspection()
        self._admin = Admin(
            config,
            self._metrics.parts,
            self.not_ready,
            lambda: refused_page(self._instruments.refused()),
            self.audit,
            self.inspection,
        )
        self.ticked: Callable[[], object] = _nothing
        """Called at the end of every tick, when everything that was due is sent."""
        self._taking: asyncio.Task[None] | None = None
        self._plan_upkeep()

    @property
    def port(self) -> int:
        """The port for clients, once started."""
        return self._server.port

    @property
    def admin_port(self) -> int:
        return self._admin.port

    @property
    def ui(self) -> Ui | None:
        """The page that it serves; None without ``ui``."""
        return self._server.ui

    @property
    def url(self) -> str:
        """Where clients connect, once started."""
        scheme = "wss" if self.config.tls_cert else "ws"
        return f"{url_of(scheme, self.config.host, self.port)}/v1/stream"

    @property
    def admin_url(self) -> str:
        return url_of("http", self.config.admin_host, self.admin_port)

    def updates(self) -> int:
        """How many messages of topics were encoded so far; it does not grow while no updates arrive."""
        return self._hub.updates

    @property
    def draining(self) -> bool:
        """It sends its clients away."""
        return self._server.draining

    @property
    def clients(self) -> int:
        """How many clients are connected now."""
        return len(self._sessions)

    def not_ready(self) -> str | None:
        """Why a load balancer should send no clients here now; None if it may."""
        if self._server.opening is not None and not self._server.draining:
            return self._link.trouble or self._warming.progress
        return self._server.not_ready() or self._link.trouble

    async def wait_refused(self) -> None:
        """Returns never, unless NATS is there and cannot serve this configuration; then raises ConfigError. Or it cannot listen; then
        raises MdstreamError."""
        tasks = [task for task in (self._link.connecting, self._taking) if task is not None]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
        await asyncio.get_running_loop().create_future()

    async def wait_ready(self) -> None:
        """Returns when NATS was connected for the first time."""
        await self._link.used.wait()

    async def start(self) -> None:
        """As ``begin``; returns when clients are taken. Raises MdstreamError if it cannot listen."""
        await self.begin()
        await self.wait_open()

    async def wait_open(self) -> None:
        """Returns when clients are taken: once the instruments are open that they will ask for, and at the latest after ``warm_ms``. Raises
        MdstreamError if it cannot listen."""
        assert self._taking is not None
        await asyncio.shield(self._taking)

    async def begin(self) -> None:
        """Takes its addresses and begins to connect to NATS. Raises ConfigError, or MdstreamError if it cannot."""
        options = self._link.read_options()
        self.scheduler.start(asyncio.get_running_loop())
        self._pauses.watch()
        self._relief.start()
        if self._usage is not None:
            self._usage.start()
        self._activity.start()
        if self._authenticator is not None:
            self._authenticator.start()
        try:
            if self._place is None:
                await self._admin.start()
            await self._server.start(inherits=self._place is not None)
        except BaseException:
            await self.stop()
            raise
        self._link.begin(options)
        if self._place is None and self.config.warm_ms:
            log.info(
                "clients are taken once NATS and their books are there, in %g s at the latest; probes and metrics at %s",
                self.config.warm_ms / 1000,
                self.admin_url,
            )
        self._taking = asyncio.get_running_loop().create_task(self._take_clients())

    def examine_by(self, examine: Callable[[], object]) -> None:
        """``examine`` is called where commands have left many new objects for the garbage collector."""
        self._sessions.turns.examine = examine

    def watch(self, slots: Iterable[int]) -> None:
        """A worker accepts clients on the sockets of these slots, and on no others."""
        if self._place is not None:
            self._server.watch([each for slot in slots for each in self._place.sockets[slot]])

    def pages(self) -> Pages:
        """What the admin pages show, for whoever shows it."""
        return Pages(b"".join(self._metrics.parts()).decode(), by_instrument(self._instruments.refused()))

    def reload_certificate(self) -> bool:
        """Reads the certificate for clients again; False if there is none. Raises MdstreamError if it cannot be used; the old one
        then stays in use."""
        return self._server.reload_certificate()

    def use_limits(self, settings: GatewayConfig) -> list[str]:
        """Of these settings, limits, proxies and origins count from now on. The names of those that are not what they were."""
        new = {name: getattr(settings, name) for name in RELOADED}
        changed = [name for name, value in new.items() if value != getattr(self.config, name)]
        if changed:
            self.config = replace(self.config, **new)
            self._limits.use(self.config)
            self._server.origins.use(self.config.origin_allow)
            self._sessions.forget_welcomes()
        return changed

    def reload_keys(self) -> bool:
        """Reads the files with keys again; False if nobody is asked who he is. Raises ConfigError for what cannot be used."""
        if self._authenticator is not None:
            self._authenticator.reload()
        return self._authenticator is not None

    async def drain(self) -> None:
        """Sends the clients away within the configured spread and deadline, then stops."""
        self._server.draining = True
        if len(self._sessions):
            log.info("draining %d clients", len(self._sessions))
        await drain(
            self._sessions,
            self._sessions.send_drain,
            self._sessions.__len__,
            spread_ms=self.config.drain_spread_ms,
            deadline_ms=self.config.drain_deadline_ms,
        )
        await self.stop()

    async def stop(self, *, at_once: bool = False) -> None:
        """Closes everything now; ``at_once`` does not wait for the clients' close frames."""
        self._server.draining = True
        close_all(self._sessions)
        self._relief.stop()
        for task in (self._link.connecting, self._taking):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._warming.stop()
        await self._sessions.cancel_openings()
        if not at_once:
            await self._wait_until_closed()
        self._server.close()
        await self._server.end()
        if self._control is not None:
            await self._control.stop()
        if self._authenticator is not None:
            await self._authenticator.stop()
        self._admin.close()
        await self._sessions.subscriptions.candle_topics.close()
        await self._sessions.leave()
        await self._sessions.subscriptions.event_topics.close()
        await self._instruments.close()
        if self._usage is not None:
            await self._usage.stop()
        await self._activity.stop()
        await self._link.close()
        self.scheduler.stop()
        self._pauses.unwatch()

    async def _wait_until_closed(self) -> None:
        """Waits until the clients have answered our close frames, for a few seconds at most."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + _CLOSE_WAIT_S
        while len(self._sessions) and loop.time() < deadline_s:
            await asyncio.sleep(0.01)

    # ---- when clients are taken

    async def _take_clients(self) -> None:
        """A gateway that has just started would show clients nothing yet, and others can."""
        try:
            async with asyncio.timeout(self.config.warm_ms / 1000):
                await self._link.used.wait()
                assert self._link.bus is not None
                await self._warming.warm(self._link.bus)
        except TimeoutError:
            if self.config.warm_ms:
                log.warning("clients are taken now: %s", self._link.trouble or self._warming.progress)
        self._server.take_clients()
        if self._place is None:
            log.info("serving clients at %s, probes and metrics at %s", self.url, self.admin_url)
        if self._link.bus is not None:
            _say_connected(self._link.bus)

    def _make_relief(self) -> Relief:
        return Relief(
            self._hub,
            self._sessions,
            self._instruments,
            self._server.group,
            max_memory_bytes=self.config.max_memory_bytes,
            nats_socket=lambda: self._link.socket,
            overload=self._overload,
        )

    def _make_inspection(self) -> Inspection:
        parts = Parts(
            node=self.config.node,
            stats=self._hub.stats,
            sessions=self._sessions,
            server=self._server,
            instruments=self._instruments,
            relief=self._relief,
            connected=lambda: self._link.connected,
            not_ready=self.not_ready,
        )
        status = Status(parts, wall_us=wall_us, now_s=time.monotonic)
        return Inspection(self._sessions, status, self._server.group, wall_us=wall_us)

    # ---- the bus

    def _use(self, bus: Bus) -> None:
        if self._server.opening is None:
            _say_connected(bus)
        if self._control is not None:
            self._control.use(bus)
        stale_ms = self.config.stale_after_ms
        options = ReaderOptions(stale_after_s=stale_ms / 1000 if stale_ms else None)
        self._sessions.subscriptions.candle_topics.use(bus)
        self._sessions.subscriptions.maps.use(bus)
        self._sessions.subscriptions.event_topics.use(bus)
        if self._authenticator is not None:
            self._sessions.subscriptions.maps.alert_rights.use(bus)
        self._instruments.use(Readers(bus, self.scheduler, options))

    # ---- who may be here

    def _limited(self, scope: str, kind: Kind, key: bytes | str) -> None:
        whose: dict[str, Any] = {"address" if scope == "address" else "subject": key}
        self.audit.limited(scope, kind.removesuffix("_per_second"), **whose)

    def _make_control(self) -> BusControl | None:
        """None where nobody is asked who he is: there is nothing to revoke."""
        if self._authenticator is None:
            return None
        single = self._sessions.single
        elsewhere = None if single is None else single.opened_elsewhere
        api_keys = self._authenticator.api_keys
        control = BusControl(
            self._revocations,
            revoked=self._sessions.lifetimes.revoke,
            opened_elsewhere=elsewhere,
            used_elsewhere=None if api_keys is None else api_keys.used_elsewhere,
        )
        self._sessions.tell_opened = control.tell_opened
        if api_keys is not None:
            api_keys.tell_used = control.tell_used
        return control

    def _auth_collectors(self) -> list[AuthCollector]:
        control = self._control
        if self._authenticator is None or control is None:
            return []
        return [
            AuthCollector(
                self._authenticator,
                self._server.admission,
                self._sessions,
                self._revocations,
                lambda: control.known,
            )
        ]

    def _unknown_revocations(self) -> str | None:
        """Why new clients and fresh tokens must wait; None if they need not."""
        if self.config.auth_revocations_unknown == "open" or self._control is None or self._control.known:
            return None
        return "credentials cannot be checked now: NATS is away"

    # ---- time

    def _plan_upkeep(self) -> None:
        """What else is looked at once the hub has ticked."""
        upkeep = self._upkeep
        upkeep.add(self._server.tick)
        upkeep.add(self._sessions.lifetimes.tick)
        upkeep.add(self._instruments.show_withheld, every_s=_SHOW_S)
        upkeep.add(self._sessions.subscriptions.events.tick, every_s=_SHOW_S)
        for work in (self._instruments.sweep, self._limits.sweep, self._warming.tick, self._sessions.sweep):
            upkeep.add(work, every_s=_SWEEP_S)
        if self._authenticator is not None:
            upkeep.add(self._authenticator.look_at_files, every_s=_LOOK_AT_FILES_S, later=True)
        upkeep.add(Heap().look, every_s=_LOOK_AT_HEAP_S, later=True)
        if self._usage is not None:
            upkeep.add(self._usage.tick)
        upkeep.add(lambda: self.ticked())


def _nothing() -> None:
    """Does nothing after a tick, until somebody sets ``ticked``."""


def monotonic_us() -> int:
    """Integer µs of a clock that never steps: for ages and deadlines."""
    return time.monotonic_ns() // 1000


def _say_connected(bus: Bus) -> None:
    log.info("connected to NATS at %s", bus.options.where)


def _sender() -> Sender | None:
    """A sender that writes to many sockets at once, if the kernel allows it."""
    try:
        return UringSender()
    except OSError as error:
        log.info("%s; clients are written to one by one", error.strerror)
        return None
