"""``mdstream demo``: NATS, a simulated market, candles, alerts, a gateway and a live view, in one command."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import signal
import webbrowser
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import uvloop

from mdstream.bus import EmbeddedNats
from mdstream.bus.options import without_secrets
from mdstream.children import Child, Log, start_module
from mdstream.cli import demo_text
from mdstream.cli.client_options import duration_s, has_screen, natural
from mdstream.cli.demo_gateway import DemoGateway
from mdstream.cli.demo_keys import DemoKeys
from mdstream.cli.demo_options import VENUE, DemoOptions, default_port, rate, symbols
from mdstream.cli.demo_view import DemoView
from mdstream.client import connect
from mdstream.errors import HandshakeRefused, MdstreamError
from mdstream.gateway.config import GatewayConfig, default_of, load
from mdstream.gateway.ui import FOLDER
from mdstream.logs import LineFormatter, handle_loop_exception
from mdstream.tasks import until_first

READING_S = 4.0
READING_PAGE_S = 12.0
"""How long the addresses stay on a terminal before the live view takes the screen."""
NATS_LOOK_S = 0.25
DRAIN_MS = 1_000
"""How long the gateway waits for its clients to leave."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = demo_text.EPILOG
    add = parser.add_argument
    add(
        "--for", dest="for_s", metavar="TIME", type=duration_s, help="end after this time: 500ms, 10s, 5m, 1h"
    )
    add("--lines", action="store_true", help="print a line per second, also in a terminal")
    add("--open", action="store_true", help="open the trading page in a browser")
    add = parser.add_argument_group("the simulated market, venue SIM").add_argument
    add(
        "--instruments",
        dest="symbols",
        metavar="A,B,…",
        type=symbols,
        default="BTC-USD,ETH-USD,SOL-USD,XRP-USD,EUR-USD",
        help="symbols; the live view shows the first (default: %(default)s)",
    )
    add(
        "--rate",
        metavar="N",
        type=rate,
        default=2_000.0,
        help="level changes per second over all instruments, 1 to 1,000,000 (default: 2,000)",
    )
    add("--seed", metavar="N", type=natural, default=1, help="same seed, same prices and sizes (default: 1)")
    add = parser.add_argument_group("where").add_argument
    add("--nats", metavar="URL|embedded", default="embedded", help="a NATS server (default: start one)")
    add("--host", metavar="ADDRESS", default=default_of("host"), help="for clients (default: %(default)s)")
    add("--port", metavar="N", help=f"port for clients (default: {default_of('port')}, or a free port)")
    add(
        "--admin-port",
        metavar="N",
        help=f"port of /healthz, /readyz and /metrics (default: {default_of('admin_port')}, or a free port)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the demo until --for is over, the user leaves the view, or a signal arrives; returns 0."""
    options = DemoOptions(**{name: getattr(args, name) for name in DemoOptions.__dataclass_fields__})
    with Log() as log:
        return uvloop.run(_until_signal(demo(options, log)))


async def demo(options: DemoOptions, log: Log) -> int:
    """Starts all processes, shows the instruments, stops the processes in reverse order, and returns 0.

    Raises ConfigError, or MdstreamError if a process cannot start or ends by itself; the others are then stopped.
    ``log`` receives the output of the processes.
    """
    with DemoKeys.made() as keys:
        return await _demo(options, _gateway_config(options, keys), keys, log)


async def _demo(options: DemoOptions, config: GatewayConfig, keys: DemoKeys, log: Log) -> int:
    on_screen = has_screen() and not options.lines
    _log_to(log.handler() if on_screen else logging.StreamHandler())
    asyncio.get_running_loop().set_exception_handler(handle_loop_exception)
    print(demo_text.STARTING, flush=True)
    try:
        async with AsyncExitStack() as stack:
            await _run(options, config, keys, log, on_screen, stack)
    except MdstreamError as error:
        raise MdstreamError(f"{error}{log.said()}") from None
    return 0


async def _run(
    options: DemoOptions,
    config: GatewayConfig,
    keys: DemoKeys,
    log: Log,
    on_screen: bool,
    stack: AsyncExitStack,
) -> None:
    nats = await _start_nats(options, stack)
    url = options.nats if nats is None else nats.url
    others = options.nats if nats is None else nats.file_url
    shown = without_secrets(others) if nats is None else f"{nats.where}  (give publishers --nats {others})"
    served = DemoGateway(dataclasses.replace(config, nats=tuple(url.split(","))), keys.token)
    await served.start()
    stack.push_async_callback(served.drain)
    gateway = served.now
    simulation = await _start_simulation(options, others, log)
    stack.push_async_callback(simulation.stop)
    candles = await _start("the writer of candles", ["candles", "--nats", others], log)
    stack.push_async_callback(candles.stop)
    alerts = await _start("the watcher of alerts", ["alerts", "--nats", others], log)
    stack.push_async_callback(alerts.stop)
    ends: list[Callable[[], Coroutine[Any, Any, None]]] = [simulation.ended, candles.ended, alerts.ended]
    if nats is not None:
        ends.append(lambda: _ended(nats))
    ends.append(served.ended)
    client = await stack.enter_async_context(connect(gateway.url, token=keys.token))
    stack.callback(print, demo_text.STOPPING, flush=True)
    view = DemoView(client, served)
    await until_first(view.open(options.instruments), *(end() for end in ends))
    print(demo_text.banner(options, gateway, shown, keys, on_screen=on_screen), flush=True)
    print(demo_text.refused(await _wrong_token(gateway.url)), flush=True)
    if options.open and gateway.ui is not None:
        webbrowser.open(demo_text.page_url(options, gateway, keys))
    show = _show_screen(options, view, served, keys) if on_screen else view.print_lines()
    await until_first(_at_most(show, options.for_s), *(end() for end in ends))


# ---- processes


async def _wrong_token(url: str) -> str:
    """What a client with a token of another key is told."""
    try:
        await connect(url, token=DemoKeys.foreign_token())
    except HandshakeRefused as error:
        return str(error)
    raise MdstreamError("the gateway let a client in whose token is wrong")


def _gateway_config(options: DemoOptions, keys: DemoKeys) -> GatewayConfig:
    """The gateway's configuration, from the command line alone: environment variables do not count. Raises ConfigError."""
    flags = {
        "nats": options.nats,
        "host": options.host,
        "port": options.port or default_port("port", options.host),
        "admin_port": options.admin_port or default_port("admin_port", "127.0.0.1"),
        "auth_key_file": str(keys.public),
        "auth_query_token": "on",
        "origin_allow": "http://localhost:*,http://127.0.0.1:*",
        "ui": "on" if (FOLDER / "index.html").is_file() else "off",
        "drain_spread_ms": "0",
        "drain_deadline_ms": str(DRAIN_MS),
    }
    return load(environ={}, flags=flags)


async def _start_nats(options: DemoOptions, stack: AsyncExitStack) -> EmbeddedNats | None:
    """Our own server, if the options ask for it."""
    if options.nats != "embedded":
        return None
    return await stack.enter_async_context(await EmbeddedNats.start())


async def _start_simulation(options: DemoOptions, nats_url: str, log: Log) -> Child:
    arguments = [
        *("feed", "sim"),
        *("--nats", nats_url),
        *("--venue", VENUE),
        *("--instruments", ",".join(options.symbols)),
        *("--rate", str(options.rate)),
        *("--seed", str(options.seed)),
    ]
    return await _start("the simulated market", arguments, log)


async def _start(what: str, arguments: list[str], log: Log) -> Child:
    """A command of ours, in a session of its own: Ctrl-C in the terminal must not reach it."""
    streams: dict[str, Any] = {"stdin": asyncio.subprocess.DEVNULL, "stdout": log, "stderr": log}
    process = await start_module("mdstream.cli", arguments, **streams, start_new_session=True)
    return Child(process, what)


async def _ended(nats: EmbeddedNats) -> None:
    while nats.running:
        await asyncio.sleep(NATS_LOOK_S)
    tail = nats.log_tail().replace("\n", "\n  ")
    raise MdstreamError(f"nats-server ended; its log ends:\n  {tail}")


async def _show_screen(options: DemoOptions, view: DemoView, served: DemoGateway, keys: DemoKeys) -> None:
    """Lines for a few seconds, then the ladder, which a separate process draws so that it does not delay the gateway."""
    gateway = served.now
    await _at_most(view.print_lines(), READING_S if gateway.ui is None else READING_PAGE_S)
    arguments = ["watch", options.instruments[0], "--url", gateway.url, "--token-file", str(keys.token_file)]
    watch = Child(await start_module("mdstream.cli", arguments), "the live view")
    try:
        await watch.wait()
    finally:
        await watch.stop()
    if watch.status:
        raise MdstreamError(f"the live view ended with status {watch.status}")


# ---- the run


async def _at_most(work: Coroutine[Any, Any, None], seconds: float | None) -> None:
    """Ends the work after some seconds; None is never."""
    try:
        async with asyncio.timeout(seconds) as limit:
            await work
    except TimeoutError:
        if not limit.expired():
            raise


async def _until_signal(work: Coroutine[Any, Any, int]) -> int:
    """The first SIGINT, SIGTERM or SIGHUP ends the work and counts as success. Later ones change nothing: stopping is bounded."""
    task = asyncio.ensure_future(work)
    asked = asyncio.Event()

    def stop() -> None:
        if not asked.is_set():
            asked.set()
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    with suppress(asyncio.CancelledError):
        return await task
    return 0 if asked.is_set() else 1


def _log_to(handler: logging.Handler) -> None:
    """Logs warnings and errors only."""
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("nats").setLevel(logging.CRITICAL)
