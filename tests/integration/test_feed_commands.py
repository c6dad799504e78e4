"""The feed handlers' commands as processes: what they publish, how they end, and what they say when NATS is not there."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgpack
import pytest

from mdstream import bus
from mdstream._core.orderbook.book import Book
from mdstream.bus import MD_STATE, EmbeddedNats
from support.bus_recorder import unpack

Run = Callable[[Coroutine[Any, Any, Any]], Any]
ROOT = Path(__file__).parents[2]


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "mdstream.cli", "feed", name, *arguments]


async def start(name: str, *arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *command(name, *arguments), cwd=ROOT, stdout=pipe, stderr=pipe
    )


def ended(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command that ends by itself."""
    return subprocess.run(
        command(name, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )


async def logged(reader: bus.Bus, subject: str) -> list[Any]:
    """The values that are stored of a stream."""
    return [value async for payload in reader.log(subject) for value in unpack(payload)]


async def book_of_the_log(reader: bus.Bus, symbol: str) -> Book:
    book = Book(symbol)
    for _, epoch, first, last, ts, bids, asks in await logged(reader, f"md.SIM.{symbol}.book"):
        if book.epoch != epoch:
            book.reset(epoch)
        assert first == book.seq + 1
        book.apply(first, last, ts, bids, asks)
    return book


def test_the_simulated_venue_publishes_whole_books_until_its_time_is_over(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        process = await start(
            "sim", "--nats", nats_server.url, "--instruments", "A-B,C-D", "--rate", "20000", "--for", "500ms"
        )
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        async with await bus.connect(nats_server.url) as reader:
            for symbol in ("A-B", "C-D"):
                snap = await reader.last(MD_STATE, f"md.SIM.{symbol}.snap")
                assert snap is not None
                while (book := await book_of_the_log(reader, symbol)).view() != tuple(
                    msgpack.unpackb(snap)[4:]
                ):
                    await asyncio.sleep(0.01)  # the log is stored a moment after it was published
                assert book.seq > 100
                trades = await logged(reader, f"md.SIM.{symbol}.trade")
                assert [value[2] for value in trades] == list(range(1, len(trades) + 1))

    run(scenario())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_handler_cleanly_and_its_instruments_are_down(
    run: Run, nats_server: EmbeddedNats, number: signal.Signals
) -> None:
    async def scenario() -> None:
        async with await bus.connect(nats_server.url) as reader:
            alive = asyncio.Event()
            await reader.subscribe("md.SIM.A-B.trade", lambda *_: alive.set())
            process = await start("sim", "--nats", nats_server.url, "--instruments", "A-B")
            await alive.wait()
            process.send_signal(number)
            _, errors = await process.communicate()
            assert process.returncode == 0, errors.decode()
            assert b"Traceback" not in errors
            status = await reader.last(MD_STATE, "md.SIM.A-B.status")
            assert status is not None
            assert msgpack.unpackb(status)[3] == "feed_down"

    run(scenario())


def test_no_nats_is_one_line_and_an_exit_code() -> None:
    done = ended("sim", "--nats", "nats://127.0.0.1:9")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "nats://127.0.0.1:9" in done.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("sim", ["--rate", "2000000"], "1 … 1,000,000"),
        ("sim", ["--instruments", "A,A"], "twice"),
        ("binance", [], "--symbols"),
        ("kraken", [], "--pairs"),
        ("sim", ["--nats", "http://x"], "nats://host:4222"),
    ],
)
def test_wrong_usage_is_told_and_has_its_exit_code(name: str, arguments: list[str], message: str) -> None:
    done = ended(name, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def recording(path: Path) -> Path:
    """A venue's session: diffs around a snapshot, a gap, a second snapshot that mends it, trades."""

    def diff(first: int, final: int, size: str) -> dict[str, Any]:
        bids = [["1.50", size]]
        return {
            "e": "depthUpdate",
            "E": 1700000000000 + final,
            "s": "ABCXYZ",
            "U": first,
            "u": final,
            "b": bids,
            "a": [],
        }

    trade = {
        "e": "trade",
        "E": 1700000000009,
        "s": "ABCXYZ",
        "t": 3,
        "p": "1.60",
        "q": "1",
        "T": 1,
        "m": False,
    }
    snapshot = {"lastUpdateId": 3, "bids": [["1.50", "1"], ["1.40", "2"]], "asks": [["1.60", "3"]]}
    messages = [diff(1, 2, "9"), snapshot, diff(3, 4, "8"), trade, diff(5, 6, "7"), diff(9, 9, "6")]
    messages += [snapshot | {"lastUpdateId": 9, "bids": [["1.50", "6"]]}, diff(10, 11, "5.5")]
    path.write_text("".join(f"{number} {json.dumps(message)}\n" for number, message in enumerate(messages)))
    return path


def test_a_replayed_recording_marks_its_gap_and_ends_with_the_venues_book(
    run: Run, nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with await bus.connect(nats_server.url) as reader:
            states: list[str] = []
            await reader.subscribe(
                "md.BINANCE.ABCXYZ.status",
                lambda _s, _r, payload, _h: states.append(msgpack.unpackb(payload)[3]),
            )
            await reader.flush()
            path = recording(tmp_path / "recording")
            process = await start(
                "binance", "--nats", nats_server.url, "--replay", str(path), "--speed", "max"
            )
            told, errors = await process.communicate()
            assert process.returncode == 0, errors.decode()
            assert told.decode() == "BINANCE:ABCXYZ: 5 book updates, 1 trades, 0 refused\n"
            await reader.flush()
            assert states[0] == states[-1] == "feed_down"
            while len(values := await logged(reader, "md.BINANCE.ABCXYZ.book")) < 5:
                await asyncio.sleep(0.01)  # the log is stored a moment after it was published
            assert [value[4] for value in values] == [
                1700000000003999,
                1700000000004000,
                1700000000006000,
                1700000000010999,
                1700000000011000,
            ]
            snap = await reader.last(MD_STATE, "md.BINANCE.ABCXYZ.snap")
            assert snap is not None
            assert msgpack.unpackb(snap)[4:] == [[15, 55], [16, 30]]

    run(scenario())


def test_a_recording_that_ends_in_a_gap_says_so(run: Run, nats_server: EmbeddedNats, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = recording(tmp_path / "recording")
        lines = path.read_text().splitlines(True)
        snapshots = [number for number, line in enumerate(lines) if "lastUpdateId" in line]
        path.write_text("".join(line for number, line in enumerate(lines) if number not in snapshots[1:]))
        process = await start("binance", "--nats", nats_server.url, "--replay", str(path), "--speed", "max")
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert b"are missing; there is no book until the next snapshot" in errors

    run(scenario())


def test_a_recording_without_a_snapshot_is_an_error(
    run: Run, nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    async def scenario() -> None:
        path = recording(tmp_path / "recording")
        path.write_text(
            "".join(line for line in path.read_text().splitlines(True) if "lastUpdateId" not in line)
        )
        process = await start("binance", "--nats", nats_server.url, "--replay", str(path))
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert b"no snapshot" in errors

    run(scenario())
