"""``mdstream watch``: the live order book of an instrument in the terminal."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live

from mdstream.cli.client_options import add_connection, add_view, instrument, reachable, run_until_signal
from mdstream.cli.ladder import Scene, line, render
from mdstream.client import (
    DEFAULT_URL,
    Client,
    ConnectionFailed,
    ConnectionState,
    SubscriptionRefused,
    connect,
)
from mdstream.client.protocol import FormatName

EXIT_OK = 0
FRAME_S = 0.1
"""Least time between two pictures."""
IDLE_S = 1.0
"""Time after which one is drawn although nothing changed, and between lines where there is no terminal."""

_EPILOG = """\
examples:
  mdstream watch SIM:BTC-USD
  mdstream watch SIM:BTC-USD --group 100 --depth 20 --interval-ms 0

In a terminal it draws a ladder (q or Ctrl-C ends); elsewhere it prints one line a second. A lost connection is
resumed, and the state shows.

exit codes: 0 ended by its user or its time, 1 cannot connect or refused, 2 wrong usage
"""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What to watch, and how."""

    instrument: str
    url: str = DEFAULT_URL
    depth: int = 20
    group: int = 1
    interval_ms: int = 100
    format: FormatName = "msgpack"
    compression: bool = False
    token: str | None = None
    for_s: float | None = None


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("instrument", type=instrument, metavar="INSTRUMENT", help="as in SIM:BTC-USD")
    add_view(parser, depth=20, interval_ms=100)
    add_connection(parser, format="msgpack")


def run(args: argparse.Namespace) -> int:
    names = WatchOptions.__dataclass_fields__
    options = WatchOptions(**{name: getattr(args, name) for name in names})
    code = run_until_signal(watch(options))
    return EXIT_OK if code > 128 else code


async def watch(options: WatchOptions) -> int:
    """Shows the instrument until its user or ``for_s`` ends it; returns 0.

    Raises ConnectionFailed, HandshakeRefused or SubscriptionRefused when it cannot begin, and ConnectionLost when the
    gateway ends it for good. Later losses are shown and mended.
    """
    try:
        async with connect(
            options.url, format=options.format, compression=options.compression, token=options.token
        ) as client:
            with suppress(TimeoutError):
                async with asyncio.timeout(options.for_s):
                    await _show(client, options)
    except ConnectionFailed as error:
        raise reachable(error) from error
    return EXIT_OK


async def _show(client: Client, options: WatchOptions) -> None:
    """Draws while the subscriptions run; whichever ends first ends both."""
    scene = Scene(options.instrument, client)
    dirty = asyncio.Event()
    client.on_state(lambda _: dirty.set())
    tasks = [
        asyncio.ensure_future(_follow_book(client, options, scene, dirty)),
        asyncio.ensure_future(_follow_trades(client, options, scene, dirty)),
        asyncio.ensure_future(_draw(scene, dirty) if sys.stdout.isatty() else _print_lines(scene)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _follow_book(client: Client, options: WatchOptions, scene: Scene, dirty: asyncio.Event) -> None:
    scene.book = await client.book(
        options.instrument, depth=options.depth, group=options.group, interval_ms=options.interval_ms
    )
    scene.book.on_update(lambda _: dirty.set())
    scene.book.on_state(lambda _: dirty.set())
    dirty.set()
    await scene.book.wait_ended()


async def _follow_trades(client: Client, options: WatchOptions, scene: Scene, dirty: asyncio.Event) -> None:
    """The ladder is worth showing without them, so a refusal is no end."""

    def lose(first: int, last: int) -> None:
        scene.lost_trades += last - first + 1

    with suppress(SubscriptionRefused):
        trades = await client.trades(options.instrument)
        trades.on_trade(scene.trades.append)
        trades.on_trade(lambda _: dirty.set())
        trades.on_lost(lose)
        await trades.wait_ended()
    await asyncio.get_running_loop().create_future()


async def _draw(scene: Scene, dirty: asyncio.Event) -> None:
    """Draws on the alternate screen until a key says that it is enough."""
    console = Console()
    quit_asked = asyncio.Event()

    def press(key: str) -> None:
        if key in "qQ\x1b":
            quit_asked.set()
            dirty.set()

    with Live(console=console, screen=True, auto_refresh=False, transient=True) as live, _keys(press):
        while not quit_asked.is_set():
            live.update(render(scene, console.width, console.height), refresh=True)
            await _changed(dirty)
            await asyncio.sleep(FRAME_S)


async def _changed(dirty: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(IDLE_S):
            await dirty.wait()
    dirty.clear()


async def _print_lines(scene: Scene) -> None:
    while True:
        if scene.book is not None or scene.client.state is not ConnectionState.OPEN:
            print(line(scene), flush=True)
        await asyncio.sleep(IDLE_S)


@contextmanager
def _keys(press: Callable[[str], None]) -> Iterator[None]:
    """Calls ``press`` for each key while inside, if there is a keyboard; puts the terminal back as it was."""
    if not sys.stdin.isatty():
        yield
        return
    loop, keyboard = asyncio.get_running_loop(), sys.stdin.fileno()

    def read() -> None:
        for key in os.read(keyboard, 64).decode(errors="ignore") or "q":
            press(key)

    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        loop.add_reader(keyboard, read)
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
