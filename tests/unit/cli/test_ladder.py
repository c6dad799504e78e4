"""What ``watch`` shows, drawn on a console in memory."""

from __future__ import annotations

import zlib
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from mdstream.cli.ladder import Scene, line, render
from mdstream.client import Book, ConnectionState, Policy, Stats, Trade
from mdstream.client.events import Snapshot, StateChange, Subscribed
from mdstream.client.protocol import Request


@pytest.fixture
def scene():
    link = SimpleNamespace(stats=Stats(), policy=Policy(), random=lambda: 0.0, due=lambda when: None)
    welcome = SimpleNamespace(node="gw-1")
    client = SimpleNamespace(
        stats=link.stats,
        state=ConnectionState.OPEN,
        reason=None,
        welcome=welcome,
        subscriptions=(),
        url="ws://127.0.0.1:8080/v1/stream",
    )
    book = Book(Request("book", "SIM:BTC-USD", 20, 1, 100), link)
    book.accept(Subscribed(7, "book", "SIM:BTC-USD", -2, -3), 0.0)
    bids = [number for i in range(20) for number in (10_000 - i, 1000 * (i + 1))]
    asks = [number for i in range(20) for number in (10_002 + i, 500 * (i + 1))]
    text = ":".join(str(n) for i in range(10) for n in (*bids[2 * i : 2 * i + 2], *asks[2 * i : 2 * i + 2]))
    book.take(Snapshot(7, 1, 42, 1, bids, asks, zlib.crc32(text.encode()), "subscribe"), 0.0)
    assert book.trusted
    return Scene("SIM:BTC-USD", client, book)


def draw(scene, width=80, height=24):
    screen = StringIO()
    Console(width=width, height=height, file=screen, color_system=None).print(render(scene, width, height))
    return [row.rstrip() for row in screen.getvalue().splitlines()]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (60, 14), (40, 8), (20, 5)])
def test_it_fits_the_terminal(scene, width, height):
    rows = draw(scene, width, height)

    assert len(rows) <= max(height - 1, 7)
    assert max(map(len, rows)) <= width


def test_the_ladder_has_asks_above_bids_and_the_spread_between(scene):
    rows = draw(scene)

    middle = next(i for i, row in enumerate(rows) if "spread" in row)
    assert rows[middle - 1].split()[:2] == ["100.02", "0.500"]
    assert rows[middle].split()[:4] == ["100.01", "spread", "0.02", "(2.00"]
    assert rows[middle + 1].split()[:2] == ["100.00", "1.000"]
    assert "█" in rows[middle + 9]


def test_a_middle_between_two_ticks_keeps_its_point_under_theirs(scene):
    scene.book._view.apply(43, 43, 1, [], [10_001, 5])
    scene.book._arrays = None

    middle = next(row for row in draw(scene) if "spread" in row)

    assert middle.startswith(" 100.005 spread 0.01 (1.00 bp)")


def test_it_tells_state_numbers_and_troubles(scene):
    scene.client.stats.note_latency(1.25)
    scene.client.stats.recoveries = 3

    text = "\n".join(draw(scene))

    assert "● live" in text and "gw-1" in text
    assert "seq 42" in text and "latency 1.2 ms" in text
    assert "recoveries 3" in text and "q quits" in text


def test_it_shows_why_a_book_is_not_live(scene):
    scene.book.take_state(StateChange(7, "halted", 1, "volatility"), 0.0)
    assert "● halted  volatility" in "\n".join(draw(scene))

    scene.book.detach("closed with 1006")
    scene.client.state = ConnectionState.RECONNECTING
    text = "\n".join(draw(scene))
    assert "● disconnected  closed with 1006" in text and "reconnecting" in text


def test_it_shows_the_code_and_the_age_now(scene):
    scene.clock = lambda: 105.0
    scene.book.take_state(StateChange(7, "stale", 1, "nothing comes", "silent", 30_400), 100.0)

    assert "● stale (silent, heard 35 s ago)  nothing comes" in "\n".join(draw(scene))
    assert " SIM:BTC-USD stale (silent, heard 35 s ago) | bid 100.00" in line(scene)

    scene.book.take_state(StateChange(7, "recovering", 1, "a number is missing", "gap"), 105.0)
    assert " SIM:BTC-USD recovering (gap) | bid 100.00" in line(scene)


def test_trades_are_newest_first_and_sizes_fit(scene):
    for seq, lots in ((1, 5), (2, 2**53 - 1)):
        scene.trades.append(Trade(1, seq, 3_723_000_000, 10_001, lots, "buy", seq, -2, -3))

    rows = [row for row in draw(scene) if "01:02:03" in row]

    assert [row.split()[-3:] for row in rows] == [
        ["01:02:03", "100.01", "9007199254740.991"],
        ["01:02:03", "100.01", "0.005"],
    ]


def test_before_the_first_snapshot_it_says_so(scene):
    pending, scene.book = scene.book, None

    assert "waiting for the first snapshot" in "\n".join(draw(scene))
    assert "no book yet" in line(scene)

    scene.client.subscriptions = (pending,)
    pending.take_state(StateChange(7, "recovering", 1, "the publisher has sent no book", "no_book"), 0.0)
    assert "the publisher has sent no book" in "\n".join(draw(scene))
    assert "the publisher has sent no book" in line(scene)


def test_one_line_for_where_there_is_no_terminal(scene):
    scene.trades.append(Trade(1, 1, 1, 10_001, 5, None, 1, -2, -3))

    text = line(scene)

    assert (
        " SIM:BTC-USD live | bid 100.00 x 1.000 ask 100.02 x 0.500 spread 0.02 | last 100.01 x 0.005 | seq 42"
        in text
    )


def test_an_empty_book_has_no_best(scene):
    scene.book._clear()

    assert "bid - ask - spread -" in line(scene)
    assert "seq 0" in "\n".join(draw(scene))
