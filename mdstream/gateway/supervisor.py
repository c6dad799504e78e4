"""A gateway of several workers: keeps them running, gives each its listening sockets, and shows them as one on the admin pages.

A worker is a whole gateway in a process of its own: it reads NATS by itself and serves the clients that the kernel gives it. No market
data goes through the supervisor, so it is never in a client's way.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from mdstream.errors import ConfigError, MdstreamError
from mdstream.gateway.admin import Admin, show_refused
from mdstream.gateway.audit import Audit
from mdstream.gateway.auth_setup import warning
from mdstream.gateway.budget import Budget
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.http_messages import read_request_line, split_head
from mdstream.gateway.kept_page import PAGES_AT_ONCE, PAGES_PER_SECOND
from mdstream.gateway.reloading import waiting
from mdstream.gateway.shared_limits import SharedLimits, create
from mdstream.gateway.signals import Signals
from mdstream.gateway.sockets import bind, listen, url_of, why
from mdstream.gateway.worker_inspection import WorkerInspection
from mdstream.gateway.worker_metrics import WorkerMetrics, merge_refused
from mdstream.gateway.worker_process import WorkerProcess
from mdstream.gateway.worker_settings import Start, limits_of, not_default, part_of
from mdstream.gateway.worker_slots import Restarts, assign, not_ready

log = logging.getLogger("mdstream.gateway.supervisor")

TICK_S: Final = 0.5
PAGES_S: Final = 2.0
"""Time for the workers to say what the admin pages show; of one that does not, the last is shown."""
READY_S: Final = 60.0
"""Time for a new worker to become ready when workers are restarted one by one."""
HANDOVER_S: Final = 0.5
"""Between a new worker's first connection and the drain of the old one, whose half-open connections become sessions."""
LATE_S: Final = 5.0
"""How long after its deadline a worker that drains is killed."""
_SPARE_COLUMNS: Final = 2
FIXED: Final = (
    "workers",
    "host",
    "port",
    "admin_host",
    "admin_port",
    "admin_hosts",
    "backlog",
    "node",
    "nats",
    "nats_port",
    "nats_data_dir",
)
"""Settings that only a new supervisor takes."""
MADE: Final = ("workers", "nats")
"""Settings that are not what the configuration says once it runs: a count, the address of an embedded server."""


async def supervise(signals: Signals, config: GatewayConfig, read_again: Callable[[], GatewayConfig]) -> None:
    """Serves with ``config.workers`` workers until it is asked to stop. Raises ConfigError, or MdstreamError if it cannot."""
    if (said := warning(config)) is not None:
        log.warning("%s", said)
    supervisor = Supervisor(config, read_again)
    loop = asyncio.get_running_loop()
    asked = asyncio.ensure_future(signals.asked.wait())
    insisted = asyncio.ensure_future(signals.insisted.wait())
    try:
        await supervisor.start()
        loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
        loop.add_signal_handler(signal.SIGUSR2, supervisor.restart_workers)
        await asyncio.wait((asked, supervisor.failed), return_when=asyncio.FIRST_COMPLETED)
        if not supervisor.failed.done():
            draining = asyncio.ensure_future(supervisor.drain())
            await asyncio.wait((draining, insisted), return_when=asyncio.FIRST_COMPLETED)
            draining.cancel()
    finally:
        asked.cancel()
        insisted.cancel()
        await supervisor.stop()
    if supervisor.failed.done():
        supervisor.failed.result()


class Slot:
    """The place of one worker."""

    def __init__(self, number: int) -> None:
        self.number = number
        """From 1."""
        self.sockets: list[socket.socket] = []
        self.process: WorkerProcess | None = None
        self.restarts = Restarts()
        self.starts_total = 0


class Supervisor:
    """``start`` it, then ``drain`` or ``stop`` it."""

    def __init__(self, config: GatewayConfig, read_again: Callable[[], GatewayConfig]) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Has an error when the gateway cannot serve at all."""
        self._config = config
        self._read_again = read_again
        self._slots = [Slot(number) for number in range(1, config.workers + 1)]
        self._processes: list[WorkerProcess] = []
        columns = config.workers + _SPARE_COLUMNS
        self._columns = list(range(1, columns))
        """Those that no process has; 0 is the supervisor's own."""
        self._secret = secrets.token_bytes(16)
        self._limits_fd = create(columns)
        self._limits = SharedLimits(self._limits_fd, columns, 0, self._secret)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = self._served = self._was_ready = False
        self._rolling: asyncio.Task[None] | None = None
        self._audit = Audit(config.audit_lines_per_second)
        self._metrics = WorkerMetrics(config.node, self._audit)
        self._budget = Budget(PAGES_AT_ONCE, PAGES_PER_SECOND, time.monotonic())
        inspection = WorkerInspection(config.node, self._slots, self._processes, self.not_ready)
        self._admin = Admin(
            config,
            self._metrics_page,
            self.not_ready,
            self._refused_page,
            self._audit,
            inspection,
            before=self._fetch,
        )

    def not_ready(self) -> str | None:
        """Why a load balancer should send no clients here now; None if it may."""
        if self._stopping:
            return "draining"
        reasons = [_why_not(slot.process) for slot in self._slots]
        found = not_ready(reasons, self._was_ready)
        self._was_ready = found is None
        return found

    async def start(self) -> None:
        """Listens and starts the workers. Raises MdstreamError if it cannot."""
        await self._admin.start()
        await self._listen()
        for slot in self._slots:
            self._begin(self._keep(slot))
        self._begin(self._tick())

    async def _listen(self) -> None:
        """Makes the sockets of all slots, on one port that nobody else may have."""
        config = self._config
        port = config.port
        if port:  # with SO_REUSEPORT, another gateway of this user on this port would be no error
            for each in await bind(config.host, port, what="clients"):
                each.close()
        for slot in self._slots:
            slot.sockets = await bind(
                config.host,
                port,
                what="clients",
                send_buffer_bytes=config.send_buffer_bytes,
                notsent_lowat_bytes=config.notsent_lowat_bytes,
                reuse_port=True,
            )
            listen(slot.sockets, config.backlog, what="clients")
            port = slot.sockets[0].getsockname()[1]

    # ---- the life of a worker

    async def _keep(self, slot: Slot) -> None:
        """Starts the worker of a slot, and again whenever it ends."""
        while not self._stopping:
            began_s = time.monotonic()
            said = await self._run(slot)
            if self._stopping:
                return
            delay_s = slot.restarts.delay_s(time.monotonic() - began_s)
            when = f"in {delay_s:g} s" if delay_s else "at once"
            log.error("worker %d %s; it is started again %s", slot.number, said, when)
            self._assign()
            await asyncio.sleep(delay_s)

    async def _run(self, slot: Slot) -> str:
        """Returns how the slot's worker ended, which may be another by then."""
        try:
            process = slot.process = await self._start(slot)
        except OSError as error:
            return f"cannot be started ({why(error)})"
        while not process.ended.is_set():
            await process.ended.wait()
            process = process if slot.process is None else slot.process
        return "hung and was killed" if process.was_killed else f"ended with status {process.status}"

    async def _start(self, slot: Slot) -> WorkerProcess:
        slot.starts_total += 1
        column = self._columns.pop(0)
        sockets = [[each.fileno() for each in other.sockets] for other in self._slots]

        def start(link_fd: int) -> Start:
            return Start(
                number=slot.number,
                link_fd=link_fd,
                socket_fds=sockets,
                limits_fd=self._limits_fd,
                columns=self._config.workers + _SPARE_COLUMNS,
                column=column,
                secret=self._secret,
                settings=not_default(part_of(self._config, self._config.workers, slot.number)),
            )

        process = await WorkerProcess.start(start, [self._limits_fd, *(fd for fds in sockets for fd in fds)])
        log.info("worker %d is process %d", slot.number, process.pid)
        self._processes.append(process)
        self._begin(self._attend(process))
        return process

    async def _attend(self, process: WorkerProcess) -> None:
        """From its start to its end."""
        await process.listen(self._changed)
        self._processes.remove(process)
        self._limits.clear(process.column)
        self._columns.append(process.column)
        self._metrics.ended(process)
        if process.failure is not None and not self.failed.done():
            self._judge(process.number, *process.failure)

    def _judge(self, number: int, text: str, code: int) -> None:
        """A worker cannot serve: where none ever could, or the configuration is wrong, nor can the gateway."""
        log.error("worker %d cannot serve: %s", number, text)
        if code == 2:
            self.failed.set_exception(ConfigError(text))
        elif not self._served:
            self.failed.set_exception(MdstreamError(text))

    def _changed(self) -> None:
        self._assign()
        if not self._served and all(map(_serves, self._slots)):
            self._served = True
            scheme = "wss" if self._config.tls_cert else "ws"
            port = self._slots[0].sockets[0].getsockname()[1]
            log.info(
                "serving clients at %s, probes and metrics at %s (%d workers)",
                f"{url_of(scheme, self._config.host, port)}/v1/stream",
                url_of("http", self._config.admin_host, self._admin.port),
                len(self._slots),
            )

    def _assign(self) -> None:
        """Tells each worker on which sockets to accept."""
        owners = [slot.process for slot in self._slots]
        able = [each for each in self._processes if each.is_able and (each in owners or self._stopping)]
        ready = [each for each in able if each.is_ready]
        assigned = assign(owners, able, ready)
        for process in self._processes:
            process.watch([place for place, worker in enumerate(assigned) if worker is process])

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._audit.tick()
            for process in self._processes:
                process.tick()
            self._assign()

    # ---- signals

    def reload(self) -> None:
        """SIGHUP: keys, certificates and limits are read again, by all workers."""
        limits: dict[str, Any] = {}
        try:
            limits = self._take_limits(self._read_again())
        except MdstreamError as error:
            log.error("SIGHUP: %s; the old settings stay in use", error)
        for process in self._processes:
            process.tell("reload", limits=limits)

    def _take_limits(self, config: GatewayConfig) -> dict[str, Any]:
        """For the workers that there are, and for those that are started later."""
        limits = limits_of(config)
        self._config = dataclasses.replace(self._config, **limits)
        if names := [name for name in waiting(self._config, config) if name not in MADE]:
            log.warning(
                "SIGHUP: %s: changed, which counts once the workers are new (SIGUSR2)", ", ".join(names)
            )
        return limits

    def restart_workers(self) -> None:
        """SIGUSR2: each worker is replaced by a new one, one after the other, with the code and the settings of now."""
        if self._stopping or (self._rolling is not None and not self._rolling.done()):
            log.warning("SIGUSR2: the workers are being restarted already, or stopped")
            return
        try:
            self._config = self._with_fixed(self._read_again())
        except MdstreamError as error:
            log.error("SIGUSR2: %s; no worker is restarted", error)
            return
        self._rolling = self._begin(self._restart_all())

    def _with_fixed(self, config: GatewayConfig) -> GatewayConfig:
        """What the supervisor itself uses stays as it was at its start."""
        fixed = {name: getattr(self._config, name) for name in FIXED}
        return dataclasses.replace(config, **fixed)

    async def _restart_all(self) -> None:
        log.info("SIGUSR2: the workers are restarted one by one")
        try:
            for slot in self._slots:
                if not await self._replace(slot):
                    return
        except OSError as error:
            log.error("a new worker cannot be started: %s; the old ones stay", why(error))
            return
        log.info("all workers have been restarted")

    async def _replace(self, slot: Slot) -> bool:
        """A new worker accepts connections before the old one sends its clients away."""
        new = await self._start(slot)
        if not await self._is_ready(new):
            log.error("the new worker %d does not become ready; the old ones stay", slot.number)
            new.kill()
            return False
        old, slot.process = slot.process, new
        self._assign()
        if old is not None and not old.ended.is_set():
            await asyncio.sleep(HANDOVER_S)
            old.tell("drain")
            await old.end_within(self._config.drain_deadline_ms / 1000 + LATE_S)
        return True

    async def _is_ready(self, process: WorkerProcess) -> bool:
        try:
            async with asyncio.timeout(READY_S):
                while not process.is_ready:
                    if process.ended.is_set():
                        return False
                    await asyncio.sleep(TICK_S / 10)
        except TimeoutError:
            return False
        return True

    # ---- stopping

    async def drain(self) -> None:
        """Has all workers send their clients away; returns when all have ended."""
        self._stopping = True
        for process in self._processes:
            process.tell("drain")
        deadline_s = self._config.drain_deadline_ms / 1000 + LATE_S
        await asyncio.gather(*(process.end_within(deadline_s) for process in self._processes))

    async def stop(self) -> None:
        """Ends what is left, at once."""
        self._stopping = True
        left = list(self._processes)
        for process in left:
            process.tell("stop")
        await asyncio.gather(*(process.end_within(LATE_S) for process in left))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._admin.close()
        for slot in self._slots:
            for each in slot.sockets:
                each.close()

    # ---- the admin pages

    async def _fetch(self, head: bytes) -> None:
        """Asks the workers what the page shows, within the rate at which pages are made."""
        try:
            path = read_request_line(split_head(head)[0]).path
        except ValueError:
            return
        if path not in (b"/metrics", b"/refused") or not self._budget.take(time.monotonic()):
            return
        asking = [asyncio.ensure_future(process.ask_pages()) for process in self._processes]
        if asking:
            _, late = await asyncio.wait(asking, timeout=PAGES_S)
            for each in late:
                each.cancel()

    def _metrics_page(self) -> Iterator[bytes]:
        yield self._metrics.page(self._slots, self._processes)

    def _refused_page(self) -> str:
        return show_refused(merge_refused(each.pages.refused for each in self._processes if each.pages))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _serves(slot: Slot) -> bool:
    return slot.process is not None and slot.process.state.serving


def _why_not(process: WorkerProcess | None) -> str | None:
    if process is None or process.ended.is_set():
        return "a worker has ended"
    if process.is_silent:
        return "a worker hangs"
    return process.state.not_ready if process.state.serving else "starting"
