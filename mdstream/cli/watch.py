"""``mdstream watch``: the live order book of an instrument, or the prices of many, in the terminal."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console, RenderableType
from rich.live import Live

from mdstream.cli import ladder, watchlist
from mdstream.cli.client_options import (
    add_connection,
    add_view,
    credentials_of,
    has_screen,
    instrument,
    positive,
    reachable,
    run_until_signal,
)
from mdstream.cli.ladder import Scene
from mdstream.cli.watchlist import Watchlist
from mdstream.client import (
    BoardUpdate,
    Client,
    ConnectionFailed,
    ConnectionState,
    SubscriptionRefused,
    connect,
)
from mdstream.errors import ConfigError
from mdstream.tasks import until_first

EXIT_OK = 0
FRAME_S = 0.1
"""Shortest time between two frames."""
IDLE_S = 1.0
"""Longest time between two frames, and the time between lines where there is no terminal."""

_EPILOG = """\
examples:
  mdstream watch SIM:BTC-USD
  mdstream watch SIM:BTC-USD --group 100 --depth 20 --interval-ms 0
  mdstream watch SIM:BTC-USD --url ws://a:8080/v1/stream,ws://b:8080/v1/stream --lines 2
  mdstream watch --board 'SIM:*,BINANCE:BTC*'

In a terminal it draws a ladder, or with --board a list (q or Ctrl-C ends it). Elsewhere, and with TERM=dumb, it prints a line per second,
of a list one for each row that has changed. When the connection is lost it reconnects and
resumes. The state line says so, and why the data is not live and how old it is.

exit codes: 0 ended by the user or --for, 1 cannot connect or refused, 2 wrong usage
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument(
        "instrument", nargs="?", type=instrument, metavar="INSTRUMENT", help="such as SIM:BTC-USD"
    )
    parser.add_argument(
        "--board",
        type=_patterns,
        metavar="PATTERN,…",
        help="instead: the newest prices of all that match, such as SIM:*, *:BTC-USD or names",
    )
    add_view(parser, depth=20, interval_ms=100)
    add_connection(parser, format="msgpack")
    parser.add_argument(
        "--lines",
        type=positive,
        default=1,
        metavar="N",
        help="gateways to hold at once, and to show what comes first from any; --url has their URLs (default: 1)",
    )


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


def run(args: argparse.Namespace) -> int:
    """Raises ConfigError unless exactly one of the two is asked for."""
    if bool(args.instrument) == bool(args.board):
        raise ConfigError("watch shows one INSTRUMENT, or with --board PATTERN many: give one of them")
    code = run_until_signal(_watch(args))
    return EXIT_OK if code > 128 else code


async def _watch(args: argparse.Namespace) -> int:
    """Shows the instrument until the user or ``--for`` ends it; returns 0.

    Raises ConnectionFailed, HandshakeRefused or SubscriptionRefused if it cannot start, and ConnectionLost if the gateway
    closes the connection for good. The client recovers from other losses, and the view shows them.
    """
    try:
        async with connect(
            args.url,
            format=args.format,
            compression=args.compression,
            lines=args.lines,
            **credentials_of(args),
        ) as client:
            with suppress(TimeoutError):
                async with asyncio.timeout(args.for_s):
                    await (_show_board if args.board else _show_book)(client, args)
    except ValueError as error:
        raise ConfigError(f"{'--board' if args.board else '--lines'}: {error}") from None
    except ConnectionFailed as error:
        raise reachable(error) from error
    return EXIT_OK


async def _show_book(client: Client, args: argparse.Namespace) -> None:
    scene = Scene(args.instrument, client, clock=asyncio.get_running_loop().time)
    dirty = asyncio.Event()
    await until_first(
        _follow_book(client, args, scene, dirty),
        _follow_trades(client, args, scene, dirty),
        _draw(client, dirty, lambda width, height: ladder.render(scene, width, height))
        if has_screen()
        else _print_lines(lambda: _book_lines(scene)),
    )


async def _show_board(client: Client, args: argparse.Namespace) -> None:
    scene = Watchlist(args.board, client, clock=asyncio.get_running_loop().time)
    dirty = asyncio.Event()
    await until_first(
        _follow_board(client, args, scene, dirty),
        _draw(client, dirty, lambda width, height: watchlist.render(scene, width, height))
        if has_screen()
        else _print_lines(lambda: watchlist.lines(scene)),
    )


async def _follow_book(client: Client, args: argparse.Namespace, scene: Scene, dirty: asyncio.Event) -> None:
    scene.book = await client.book(
        args.instrument, depth=args.depth, group=args.group, interval_ms=args.interval_ms
    )
    scene.book.on_update(lambda _: dirty.set())
    scene.book.on_state(lambda _: dirty.set())
    dirty.set()
    await scene.book.wait_ended()


async def _follow_board(
    client: Client, args: argparse.Namespace, scene: Watchlist, dirty: asyncio.Event
) -> None:
    board = await client.board(*args.board, interval_ms=args.interval_ms)

    def note(update: BoardUpdate) -> None:
        scene.note((*(row.instrument for row in update.changed), *update.gone))
        dirty.set()

    board.on_update(note)
    board.on_state(lambda _: dirty.set())
    scene.board = board
    scene.note(tuple(board.rows))
    dirty.set()
    await board.wait_ended()


async def _follow_trades(
    client: Client, args: argparse.Namespace, scene: Scene, dirty: asyncio.Event
) -> None:
    """Never returns: the ladder is useful without trades, so a refusal does not end the view."""

    def lose(first: int, last: int) -> None:
        scene.lost_trades += last - first + 1

    with suppress(SubscriptionRefused):
        trades = await client.trades(args.instrument)
        trades.on_trade(scene.trades.append)
        trades.on_trade(lambda _: dirty.set())
        trades.on_lost(lose)
        await trades.wait_ended()
    await asyncio.get_running_loop().create_future()


async def _draw(client: Client, dirty: asyncio.Event, render: Callable[[int, int], RenderableType]) -> None:
    """Draws on the alternate screen until the user presses q or Escape."""
    client.on_state(lambda _: dirty.set())
    console = Console()
    quit_asked = asyncio.Event()

    def press(key: str) -> None:
        if key in "qQ\x1b":
            quit_asked.set()
            dirty.set()

    with Live(console=console, screen=True, auto_refresh=False, transient=True) as live, _keys(press):
        while not quit_asked.is_set():
            live.update(render(console.width, console.height), refresh=True)
            await _changed(dirty)
            await asyncio.sleep(FRAME_S)


async def _changed(dirty: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(IDLE_S):
            await dirty.wait()
    dirty.clear()


async def _print_lines(lines: Callable[[], Iterable[str]]) -> None:
    while True:
        for line in lines():
            print(line, flush=True)
        await asyncio.sleep(IDLE_S)


def _book_lines(scene: Scene) -> Iterator[str]:
    if scene.book is not None or scene.client.state is not ConnectionState.OPEN:
        yield ladder.line(scene)


@contextmanager
def _keys(press: Callable[[str], None]) -> Iterator[None]:
    """Calls ``press`` for each key inside the block, if stdin is a terminal; restores the terminal afterwards."""
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
