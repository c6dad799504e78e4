"""A gateway as a process: event loop, signals, file limit, garbage collector, exit code."""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import fcntl
import logging
import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvloop

from mdstream import logs
from mdstream._version import __version__
from mdstream.bus import EmbeddedNats
from mdstream.errors import MdstreamError
from mdstream.gateway.auth_setup import warning
from mdstream.gateway.config import GatewayConfig, describe
from mdstream.gateway.node import Gateway
from mdstream.gateway.pauses import Collecting
from mdstream.gateway.reloading import waiting
from mdstream.gateway.signals import Signals
from mdstream.gateway.supervisor import supervise
from mdstream.gateway.worker_settings import count_workers

log = logging.getLogger("mdstream.gateway")

_RESERVED_FILES = 64
"""Descriptors for everything but clients: NATS, the listeners, the log, probes on the admin port."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""
_LARGE_BLOCK = 524_288


def serve(config: GatewayConfig, read_again: Callable[[], GatewayConfig] | None = None) -> int:
    """Serves until SIGTERM or SIGINT and returns the exit code. Raises ConfigError, or MdstreamError if it cannot run.

    ``read_again`` reads the configuration once more at SIGHUP; it may raise ConfigError.
    """
    config.check_exposure(config.host)
    again = partial(_read_again, config, read_again or (lambda: config))
    for number in (signal.SIGHUP, signal.SIGUSR2):  # until there is something that obeys them
        signal.signal(number, signal.SIG_IGN)
    logs.configure(config.log_level, config.log_format, audit=config.audit_lines_per_second > 0)
    config = dataclasses.replace(config, workers=count_workers(config))
    if config.workers == 1:
        config = prepare(config)
    log.info("mdstream %s, configuration: %s", __version__, describe(config))
    uvloop.run(_serve(config, again))
    log.info("stopped")
    return 0


def _read_again(started: GatewayConfig, read_again: Callable[[], GatewayConfig]) -> GatewayConfig:
    """What the configuration says now. The log names what has changed since the start and must wait."""
    config = read_again()
    if started.workers == 1 and (names := waiting(started, config)):
        log.warning("%s: changed, which counts at the next start", ", ".join(names))
    return config


async def _serve(config: GatewayConfig, read_again: Callable[[], GatewayConfig]) -> None:
    asyncio.get_running_loop().set_exception_handler(logs.handle_loop_exception)
    signals = Signals()
    work = _serve_until if config.workers == 1 else supervise
    if config.nats != ("embedded",):
        await work(signals, config, read_again)
        return
    async with await EmbeddedNats.start(data_dir=config.nats_data_dir, port=config.nats_port) as nats:
        log.info("embedded NATS at %s; publish to it with --nats %s", nats.where, nats.file_url)
        keeping = asyncio.ensure_future(nats.keep_running())
        keeping.add_done_callback(lambda _: signals.asked.set())
        try:
            await work(signals, dataclasses.replace(config, nats=(nats.url,)), read_again)
        finally:
            keeping.cancel()
        if not keeping.cancelled() and keeping.done():
            keeping.result()  # raises: without its NATS server the gateway is of no use


async def _serve_until(
    signals: Signals, config: GatewayConfig, read_again: Callable[[], GatewayConfig]
) -> None:
    gateway = Gateway(config)
    if (said := warning(config)) is not None:
        log.warning("%s", said)

    def begun() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, gateway, read_again)

    await serve_until(signals, gateway, begun)


async def serve_until(signals: Signals, gateway: Gateway, begun: Callable[[], None]) -> None:
    """Serves until it is asked to stop; calls ``begun`` once it has its addresses. Raises ConfigError, or MdstreamError if it cannot."""
    collecting = Collecting(gateway.updates)
    gateway.ticked = collecting.step
    gateway.examine_by(collecting.examine)
    collecting.start()
    try:
        await gateway.begin()
        begun()
        await _stop_when_asked(signals, gateway)
    finally:
        collecting.stop()


def _reload(gateway: Gateway, read_again: Callable[[], GatewayConfig]) -> None:
    """SIGHUP: a certificate was renewed, or keys or limits have changed."""
    reload_files(gateway)
    use_limits(gateway, read_again)


def reload_files(gateway: Gateway) -> None:
    """Reads keys and certificates again."""
    _reload_keys(gateway)
    _reload_certificate(gateway)


def use_limits(gateway: Gateway, read_again: Callable[[], GatewayConfig]) -> None:
    """Takes the limits of the configuration that is read again."""
    try:
        if changed := gateway.use_limits(read_again()):
            log.info("SIGHUP: the settings %s have changed", ", ".join(changed))
    except MdstreamError as error:
        log.error("SIGHUP: %s; the old settings stay in use", error)


def _reload_keys(gateway: Gateway) -> None:
    try:
        if gateway.reload_keys():
            log.info("SIGHUP: the keys of credentials were read again")
    except MdstreamError as error:
        log.error("SIGHUP: %s; what was read before stays in use", error)


def _reload_certificate(gateway: Gateway) -> None:
    try:
        read = gateway.reload_certificate()
    except MdstreamError as error:
        log.error("SIGHUP: %s; new connections get the old certificate", error)
    else:
        log.info(
            "SIGHUP: %s", "the certificate was read again" if read else "there is no tls_cert to read again"
        )


async def _stop_when_asked(signals: Signals, gateway: Gateway) -> None:
    await _wait_until_asked(signals, gateway)
    draining = asyncio.ensure_future(gateway.drain())
    insisted = asyncio.ensure_future(signals.insisted.wait())
    await asyncio.wait((draining, insisted), return_when=asyncio.FIRST_COMPLETED)
    insisted.cancel()
    if not draining.done():
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        await gateway.stop(at_once=True)
    else:
        draining.result()


async def _wait_until_asked(signals: Signals, gateway: Gateway) -> None:
    """Raises ConfigError if NATS cannot serve the configuration."""
    asked, refused = (
        asyncio.ensure_future(signals.asked.wait()),
        asyncio.ensure_future(gateway.wait_refused()),
    )
    done, _ = await asyncio.wait((asked, refused), return_when=asyncio.FIRST_COMPLETED)
    for wait in (asked, refused):
        wait.cancel()
    if asked not in done:
        await gateway.stop(at_once=True)
        refused.result()


def prepare(config: GatewayConfig, listening: int = 0) -> GatewayConfig:
    """Makes this process fit for many clients; returns the configuration with the ``max_connections`` that it can have. ``listening``:
    sockets that it has inherited."""
    _return_large_blocks()
    config = _fit_to_file_limit(config, listening)
    _make_room_for_files(config.max_connections)
    return config


def _fit_to_file_limit(config: GatewayConfig, listening: int = 0) -> GatewayConfig:
    """Raises the limit of open files as far as allowed; lowers ``max_connections`` to what fits, and logs that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    fits = max(hard - _RESERVED_FILES - listening, 1)
    if hard == resource.RLIM_INFINITY or config.max_connections <= fits:
        return config
    log.warning(
        "max_connections is %d, but this process may open %d files: serving at most %d clients; raise `ulimit -n`",
        config.max_connections,
        hard,
        fits,
    )
    return dataclasses.replace(config, max_connections=fits)


def _return_large_blocks() -> None:
    """Has the C library (glibc) give large blocks back to the system as soon as they are freed.

    By default it moves its threshold up to the largest block that was freed. After some deep snapshots for slow clients, their memory
    would then stay in the process for good, between blocks that live on.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, 16 * _LARGE_BLOCK)


def _make_room_for_files(connections: int) -> None:
    """Makes the kernel enlarge its table of our descriptors once, to its final size.

    Otherwise the table doubles as connections come. In a process with threads, Linux waits for all CPUs each time: 5 to 15 ms within
    ``accept``, six times between 256 and 10,000 descriptors.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = connections + _RESERVED_FILES - 1
    if soft != resource.RLIM_INFINITY:
        last = min(last, soft - 1)
    with Path(os.devnull).open("rb") as file:
        os.close(fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, last))
