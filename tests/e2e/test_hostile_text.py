"""Names, keys, reasons and commands that try to forge a log line, to move the cursor, or to reorder text, through a real NATS."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import msgpack
import pytest

from mdstream.bus import Bus, EmbeddedNats, connect
from mdstream.client import SubscriptionRefused
from mdstream.client import connect as connect_client
from support.program import Program

FORGED = "2026-01-01T00:00:00.000Z error gateway.server: forged"
HOSTILE = f"\x1b[2J\x9b31m\x07\u202e\u2066\u2028\x7f\r\n{FORGED}\n"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|error|critical) [\w.]+: .*")
TRACE = "  | "
SHOWN = (
    ("halted", "watch", "SIM:A"),
    ('"type":"state"', "dump", "SIM:A", "--all"),
    ('"type":"state"', "dump", "SIM:A", "--format", "msgpack"),
    ('"type":"subscribed"', "dump", "SIM:A", "--channel", "trades"),
)
"""What a command has said when it has shown the text, and the command."""

Run = Callable[..., Program]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Run]:
    programs: list[Program] = []

    def start(*arguments: str) -> Program:
        programs.append(Program("mdstream.cli", *arguments, temporary=tmp_path))
        return programs[-1]

    yield start
    for one in programs:
        with one:
            pass


def ref(epoch: int, **more: object) -> dict[str, object]:
    return {"epoch": epoch, "price_exp": -2, "size_exp": -2, "name": HOSTILE, HOSTILE: HOSTILE, **more}


async def publish_all(bus: Bus) -> None:
    """One instrument that can be shown, with hostile text wherever the contract has text; and messages that must be refused."""
    epoch = time.time_ns() // 1000
    now = epoch
    symbol = quote(HOSTILE, safe="")
    values: list[tuple[str, object]] = [
        ("md.SIM.A.ref", ref(epoch)),
        ("md.SIM.A.status", [5, epoch, now, "halted", HOSTILE, 1, 1, now]),
        ("md.SIM.A.snap", [2, epoch, 1, now, [100, 5], [101, 5]]),
        ("md.SIM.A.trade", [3, epoch, 1, now, 100, 1, 1, HOSTILE[:30]]),
        ("md.SIM.BAD.ref", ref(epoch)),
        ("md.SIM.BAD.snap", [2, epoch, 1, now, [100, 5], [101, 5]]),
        ("md.SIM.BAD.status", [5, epoch, now, HOSTILE, HOSTILE, 1, 1, now]),
        ("md.SIM.BAD.ref", ref(epoch, tick=HOSTILE)),
        ("md.SIM.BAD.book", HOSTILE),
        (f"md.SIM.{symbol}.ref", ref(epoch)),
        (f"md.SIM.B{symbol}.snap", [2, epoch, 1, now, [100, 5], [101, 5]]),
        ("md.SIM.A\x1b[31m.ref", ref(epoch)),
        ("md.SIM.A\u202e.ref", ref(epoch)),
        ("md.SIM.A\x9b.book", HOSTILE),
    ]
    for name, value in values:
        await bus.publish(name, msgpack.packb(value))
        await bus.flush()


async def attack(nats: str, gateway: str) -> list[str]:
    """Publishes, asks for hostile instruments, and returns what a client is told of them."""
    said: list[str] = []
    async with await connect(nats) as bus:
        await bus.ensure_streams()
        await publish_all(bus)
        async with connect_client(gateway) as client:
            book, bad = await client.book("SIM:A"), await client.book("SIM:BAD")
            while book.state_reason is None or bad.state_code != "refused":
                await publish_all(bus)
                await asyncio.sleep(0.05)
            for name in ("SIM:a", "SIM:A-", "SIM:A_"):
                with pytest.raises(SubscriptionRefused) as refused:
                    await client.book(name)
                said.append(str(refused.value))
    return said


def assert_harmless(lines: list[str]) -> None:
    assert lines
    for line in lines:
        assert line.isprintable(), line
        assert not line.lstrip().startswith(FORGED), line


def test_no_text_reaches_a_log_or_a_terminal_raw(program: Run, nats_server: EmbeddedNats) -> None:
    gateway = program(
        "serve", "--nats", nats_server.url, "--port", "0", "--admin-port", "0", "--log-level", "debug"
    )
    url = gateway.until_error(r"serving clients at (ws://\S+?),")[1]
    gateway.until_error("connected to NATS")
    told = asyncio.run(attack(nats_server.url, url))
    assert_harmless(told)

    reports = [
        program("check", "--all", "--for", "1s", "--nats", nats_server.url, *more)
        for more in ((), ("--json",))
    ]
    shown = [(pattern, command[0], program(*command, "--url", url)) for pattern, *command in SHOWN]
    for pattern, name, running in shown:
        running.until(pattern)
        running.end(signal.SIGTERM)
        assert_harmless([*running.lines, *running.errors.splitlines()])
        assert name != "dump" or all(isinstance(json.loads(line), dict) for line in running.lines)
    for report in reports:
        assert report.end() == 1
        assert_harmless([*report.lines, *report.errors.splitlines()])

    assert gateway.end(signal.SIGTERM) == 0
    log = gateway.errors.splitlines()
    assert_harmless(log)
    assert any(r"\x1b[2J" in line or r"\x1b[31m" in line for line in log), "the gateway has logged none of it"
    for line in log:
        assert LINE.fullmatch(line) or line.startswith(TRACE), line
