"""The screen of ``mdstream watch``: a ladder with depth bars, the latest trades, the connection. No I/O: state in, text out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from rich.table import Table
from rich.text import Text

from mdstream.client import Book, Client, ConnectionState, LinedBook, Subscription, SubscriptionState, Trade
from mdstream.client.book import Quote
from mdstream.printable import printable

BID, ASK, DIM = "green", "red", "bright_black"
EIGHTHS = " ▏▎▍▌▋▊▉█"
TRADES_WIDTH = 34
NARROW = 66
"""With fewer columns there is no room for trades."""
FRAME_LINES = 6
"""Lines without levels: title, state, spread, two of figures, and one that the terminal keeps."""

STATE_STYLES = {
    SubscriptionState.LIVE: "bold green",
    SubscriptionState.PENDING: "yellow",
    SubscriptionState.RECOVERING: "bold yellow",
    SubscriptionState.STALE: "bold yellow",
    SubscriptionState.DISCONNECTED: "bold red",
    SubscriptionState.ENDED: "bold red",
}


@dataclass(slots=True)
class Scene:
    """What the screen shows."""

    instrument: str
    client: Client
    book: Book | None = None
    trades: deque[Trade] = field(default_factory=lambda: deque(maxlen=200))
    lost_trades: int = 0
    clock: Callable[[], float] = time.monotonic
    """The event loop's."""


def render(scene: Scene, width: int, height: int) -> Table:
    """The whole screen, ``width`` × at most ``height - 1``."""
    rows = max(1, (height - FRAME_LINES) // 2)
    body = Table.grid(padding=0)
    body.add_column(width=width if width < NARROW else width - TRADES_WIDTH - 2)
    cells: list[Table | Text] = [_ladder(scene, rows, width if width < NARROW else width - TRADES_WIDTH - 2)]
    if width >= NARROW:
        body.add_column(width=2)
        body.add_column(width=TRADES_WIDTH)
        cells += [Text(), _trades(scene, 2 * rows + 1)]
    body.add_row(*cells)
    screen = Table.grid(padding=0)
    screen.add_column(width=width, no_wrap=True)
    for part in (_title(scene, width), _state(scene, width), body, *_figures(scene, width)):
        screen.add_row(part)
    return screen


def line(scene: Scene) -> str:
    """The line that is printed where there is no terminal."""
    book, stats = scene.book, scene.client.stats
    if book is None:
        waits = _waits_for(scene) or "no book yet"
        return printable(f"{datetime.now(UTC):%H:%M:%S} {scene.instrument} {scene.client.state}: {waits}")
    bid, ask = book.best_bid, book.best_ask
    parts = [
        f"{datetime.now(UTC):%H:%M:%S} {scene.instrument} {state_text(book, scene.clock())}",
        f"bid {_side(bid)} ask {_side(ask)} spread {_spread(bid, ask)}",
        f"seq {book.seq} latency {_latency(scene)}",
        f"updates {stats.updates} recoveries {stats.recoveries} reconnects {stats.reconnects}"
        + (_lines(book) if isinstance(book, LinedBook) else ""),
    ]
    if scene.trades:
        last = scene.trades[-1]
        parts.insert(2, f"last {last.price:f} x {last.size:f} {last.side or ''}".rstrip())
    return printable(" | ".join(parts))


def state_text(subscription: Subscription, now: float) -> str:
    """The state, and in brackets the gateway's code and how long ago the venue was last heard: ``stale (silent, heard 31 s ago)``."""
    if subscription.state_code is None:
        return str(subscription.state)
    age_s = subscription.age_s(now)
    heard = "" if age_s is None else f", heard {age_s:.0f} s ago"
    return printable(f"{subscription.state} ({subscription.state_code}{heard})")


# ---- parts


def _waits_for(scene: Scene) -> str | None:
    """Why there is no book yet, as far as the gateway says."""
    books = (s for s in scene.client.subscriptions if s.request.channel == "book")
    said = next((s.state_reason or s.state_code for s in books), None)
    return None if said is None else printable(said)


def _title(scene: Scene, width: int) -> Text:
    book = scene.book
    text = Text(f" {scene.instrument}", style="bold")
    if book is not None:
        request = book.request
        depth = f"depth {request.depth}" if request.depth else "full depth"
        group = f", {request.group} ticks a row" if request.group > 1 else ""
        every = f", every {request.interval_ms} ms" if request.interval_ms else ", every change"
        text.append(f"  {depth}{group}{every}", style=DIM)
    return _spread_out(text, Text(f"{scene.client.url} ", style=DIM), width)


def _state(scene: Scene, width: int) -> Text:
    client, book = scene.client, scene.book
    if book is None:
        return Text(f" {_waits_for(scene) or 'waiting for the first snapshot'} …", style="yellow")
    text = Text(" ● ", style=STATE_STYLES.get(book.state, "yellow"))
    text.append(state_text(book, scene.clock()), style=STATE_STYLES.get(book.state, "yellow"))
    if book.state is not SubscriptionState.LIVE and book.state_reason:
        text.append(f"  {printable(book.state_reason)}", style="yellow")
    right = Text()
    if client.state is not ConnectionState.OPEN:
        right.append(f"{client.state} ", style="bold yellow")
    elif client.welcome is not None and client.welcome.node:
        right.append(f"{printable(client.welcome.node)} ", style=DIM)
    return _spread_out(text, right, width)


def _ladder(scene: Scene, rows: int, width: int) -> Table:
    grid = Table.grid(padding=0)
    grid.add_column(width=width, no_wrap=True)
    book = scene.book
    bids, asks = ([], []) if book is None else book.levels(rows)
    style = "" if book is None or book.trusted else "dim "
    largest = max((size for _, size in [*bids, *asks]), default=Decimal(1))
    columns = _widths([*bids, *asks])
    for i in reversed(range(rows)):
        grid.add_row(_level(asks[i] if i < len(asks) else None, style + ASK, largest, columns, width))
    grid.add_row(_middle(bids[0] if bids else None, asks[0] if asks else None, columns))
    for i in range(rows):
        grid.add_row(_level(bids[i] if i < len(bids) else None, style + BID, largest, columns, width))
    return grid


def _level(level: Quote | None, style: str, largest: Decimal, columns: tuple[int, int], width: int) -> Text:
    if level is None:
        return Text()
    price, size = level
    text = Text(f" {price:>{columns[0]}f}", style=style)
    text.append(f"  {size:>{columns[1]}f} ", style="dim" if style.startswith("dim") else "")
    text.append(_bar(float(size / largest), width - len(text) - 1), style=style)
    return text


def _middle(bid: Quote | None, ask: Quote | None, columns: tuple[int, int]) -> Text:
    if bid is None or ask is None:
        return Text(" " + "─" * sum(columns), style=DIM)
    spread, mid = ask[0] - bid[0], (ask[0] + bid[0]) / 2
    half = _decimals(mid) - _decimals(spread)
    text = Text(f" {mid:>{columns[0] + half}f}", style="bold")
    text.append(f" {'' if half else ' '}spread {spread:f}", style=DIM)
    if mid > 0:
        text.append(f" ({spread / mid * 10_000:.2f} bp)", style=DIM)
    return text


def _trades(scene: Scene, rows: int) -> Table:
    grid = Table.grid(padding=0)
    grid.add_column(width=TRADES_WIDTH, no_wrap=True)
    shown = list(scene.trades)[:-rows:-1]
    price_width = max((len(f"{trade.price:f}") for trade in shown), default=8)
    size_width = TRADES_WIDTH - len("00:00:00") - price_width - 3
    grid.add_row(Text(f"{'UTC':8}  {'price':>{price_width}} {'size':>{size_width}}", style=DIM))
    for trade in shown:
        text = Text(_clock(trade.ts_us), style=DIM)
        text.append(
            f"  {trade.price:>{price_width}f}", style={"buy": BID, "sell": ASK}.get(trade.side or "", "")
        )
        text.append(f" {_fitted(trade.size, size_width):>{size_width}}", style="default")
        grid.add_row(text)
    return grid


def _figures(scene: Scene, width: int) -> tuple[Text, Text]:
    stats, book = scene.client.stats, scene.book
    first = Text(f" seq {book.seq if book else '-'}", style="")
    first.append(f"  latency {_latency(scene)}")
    first.append(f"  updates {stats.updates}  {stats.bytes / 1024:.0f} KiB", style=DIM)
    problems = f" gaps {stats.gaps}  recoveries {stats.recoveries}  checksum errors {stats.crc_errors}"
    second = Text(f"{problems}  reconnects {stats.reconnects}", style=DIM)
    if isinstance(book, LinedBook):
        second.append(_lines(book), style=DIM)
    if scene.lost_trades:
        second.append(f"  trades lost {scene.lost_trades}", style="yellow")
    return first, _spread_out(second, Text("q quits ", style=DIM), width)


# ---- pieces


def _bar(share: float, width: int) -> str:
    if width < 1:
        return ""
    eighths = max(1, round(min(share, 1.0) * width * 8))
    full, part = divmod(eighths, 8)
    return EIGHTHS[8] * full + (EIGHTHS[part] if part else "")


def _widths(levels: list[Quote]) -> tuple[int, int]:
    price = max((len(f"{price:f}") for price, _ in levels), default=10)
    size = max((len(f"{size:f}") for _, size in levels), default=10)
    return price, size


def _decimals(number: Decimal) -> int:
    return len(f"{number:f}".partition(".")[2])


def _fitted(number: Decimal, width: int) -> str:
    """The number with as many of its decimals as fit."""
    text = f"{number:f}"
    excess = len(text) - width
    decimals = len(text.partition(".")[2])
    return text if excess <= 0 else f"{number:.{max(0, decimals - excess)}f}"


def _spread_out(left: Text, right: Text, width: int) -> Text:
    """Both on one line, ``right`` at its end; without ``right`` if there is no room."""
    gap = width - left.cell_len - right.cell_len
    if gap < 1:
        left.truncate(width)
        return left
    return Text.assemble(left, " " * gap, right)


def _lines(book: LinedBook) -> str:
    """How often each line was first; the one that is ahead has a mark: ``  first: ▸line 1 812, line 2 44``."""
    shares = (f"{'▸' if each.ahead else ''}line {each.line + 1} {each.first}" for each in book.lines)
    return f"  first: {', '.join(shares)}"


def _latency(scene: Scene) -> str:
    stats = scene.client.stats
    if stats.latency_last_ms is None or stats.latency_avg_ms is None:
        return "-"
    return f"{stats.latency_last_ms:.1f} ms (avg {stats.latency_avg_ms:.1f})"


def _side(quote: Quote | None) -> str:
    return "-" if quote is None else f"{quote[0]:f} x {quote[1]:f}"


def _spread(bid: Quote | None, ask: Quote | None) -> str:
    return "-" if bid is None or ask is None else f"{ask[0] - bid[0]:f}"


def _clock(ts_us: int) -> str:
    return f"{datetime.fromtimestamp(ts_us / 1_000_000, UTC):%H:%M:%S}"
