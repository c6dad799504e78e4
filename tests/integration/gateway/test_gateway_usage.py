"""Who used what: from two gateways through a real NATS server, which goes away in between, to `mdstream usage`."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from mdstream.bus import connect
from mdstream.bus.usage import (
    MINUTE_US,
    Use,
    decode_record,
    encode_record,
    encode_use,
    ensure_usage,
    put_usage,
    read_usage,
)
from support.program import Program
from support.tokens import CLAIMS, sign

BOOK = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}
START = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


class Clock:
    """The wall clock of the gateways' minutes."""

    def __init__(self, *servers: Any) -> None:
        self.minute = int(START.timestamp()) // 60
        self.writers = [server._usage for server in servers]
        for writer in self.writers:
            writer._wall_us = lambda: self.minute * MINUTE_US
            writer.tick()

    async def pass_minutes(self, count: int = 1) -> None:
        for _ in range(count):
            self.minute += 1
            for writer in self.writers:
                writer.tick()
            while any(writer._closed for writer in self.writers):
                await asyncio.sleep(0.005)


def token(subject: str) -> dict[str, str]:
    """The header that says who comes."""
    claims = {**CLAIMS, "sub": subject, "iat": int(time.time()), "exp": int(time.time()) + 600}
    return {"Authorization": f"Bearer {sign(claims).decode()}"}


async def stored(server: Any, uses: int) -> None:
    while server._usage.uses_total["stored"] < uses:
        await asyncio.sleep(0.01)


async def read(url: str) -> list[tuple[int, str, str, int | None]]:
    """Minute since the start, node, subject and depth of all that is stored."""
    async with await connect(url) as bus:
        records = [decode_record(payload) async for payload in read_usage(bus, START)]
    found = [
        ((record.minute - START) // timedelta(minutes=1), record.node, use.subject, use.depth)
        for record in records
        for use in record.uses
    ]
    return sorted(found, key=str)


def test_two_gateways_record_through_an_outage_and_the_sum_counts_each_minute_once(
    run, nats_server, gateway, feed, ws, tmp_path, key
) -> None:
    def summary(*options: str) -> str:
        command = ("usage", "--nats", nats_server.url, "--from", "2026-11-29", "--to", "2026-11-30", *options)
        with Program("mdstream.cli", *command, temporary=tmp_path) as program:
            assert program.end() == 0, program.errors
            return program.said

    async def scenario() -> None:
        options = {"usage_enabled": True, "stale_after_ms": 0, "auth_key_file": (key,)}
        async with (
            feed(nats_server.url, "SIM:A") as sim,
            gateway(nats_server.url, **options | {"node": "gw.1"}) as one,
            gateway(nats_server.url, **options | {"node": "gw 2"}) as two,
        ):
            await sim.announce([1000, 5], [1001, 7])
            clock = Clock(one, two)
            alice = await ws.open(one.port, **token("alice"))
            bob = await ws.open(one.port, **token("bob"))
            elsewhere = await ws.open(two.port, **token("alice"))
            alice.send({**BOOK, "depth": 5})
            bob.send({**BOOK, "channel": "trades"})
            elsewhere.send({**BOOK, "depth": 20})
            sub = (await alice.until("subscribed"))["sub"]
            await bob.until("subscribed")
            await elsewhere.until("subscribed")
            await clock.pass_minutes()
            await stored(one, 2)
            await stored(two, 1)

            nats_server.kill()
            while one._link.connected or two._link.connected:
                await asyncio.sleep(0.01)
            await clock.pass_minutes()
            elsewhere.close()
            while two.clients:
                await asyncio.sleep(0.01)
            alice.send({"op": "unsubscribe", "subs": [sub]})
            await alice.until("unsubscribed")
            await clock.pass_minutes(2)
            await nats_server.restart()
            await stored(one, 7)
            await stored(two, 3)

        found = await read(nats_server.url)
        assert found == [
            *[(0, "gw 2", "alice", 20), (0, "gw.1", "alice", 5), (0, "gw.1", "bob", None)],
            *[(1, "gw 2", "alice", 20), (1, "gw.1", "alice", 5), (1, "gw.1", "bob", None)],
            *[(2, "gw 2", "alice", 20), (2, "gw.1", "alice", 5), (2, "gw.1", "bob", None)],
            (3, "gw.1", "bob", None),
            (4, "gw.1", "bob", None),  # what the gateway said when it stopped
        ]
        rows = list(csv.reader(io.StringIO(await asyncio.to_thread(summary, "--csv"))))
        assert rows == [
            ["subject", "instrument", "delay_ms", "depth", "minutes"],
            ["alice", "SIM:A", "0", "20", "3"],
            ["bob", "SIM:A", "0", "", "5"],
        ]
        minutes = json.loads(await asyncio.to_thread(summary, "--json", "--per", "minute"))
        assert minutes[0] == {
            "minute": "2026-11-29T12:00Z",
            "subject": "alice",
            "instrument": "SIM:A",
            "delay_ms": 0,
            "depth": 20,
            "minutes": 1,
        }
        assert [row["subject"] for row in minutes] == 3 * ["alice"] + 5 * ["bob"]
        table = await asyncio.to_thread(summary, "--per", "day")
        assert "2026-11-29  alice    SIM:A" in table

    run(scenario())


def test_what_waits_for_nats_is_bounded_and_the_loss_is_told(
    run, nats_server, gateway, feed, ws, http, caplog, key
) -> None:
    async def scenario() -> None:
        options = {"usage_enabled": True, "usage_backlog_bytes": 65_536, "stale_after_ms": 0}
        options["auth_key_file"] = (key,)
        async with feed(nats_server.url, "SIM:A") as sim, gateway(nats_server.url, **options) as server:
            await sim.announce([1000, 5], [1001, 7])
            clock = Clock(server)
            client = await ws.open(server.port, **token("alice" + 250 * "x"))
            client.send(BOOK)
            await client.until("subscribed")
            nats_server.kill()
            while server._link.connected:
                await asyncio.sleep(0.01)
            while not server._usage.uses_total["lost"]:
                await clock.pass_minutes()
            assert server._usage.waiting_bytes <= 65_536
            page = (await http(server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")).body
            assert b'mdstream_usage_total{outcome="lost"} 1.0' in page
            assert b"mdstream_usage_waiting_bytes" in page
            assert "1 uses of instruments are lost: NATS takes none" in caplog.text
            await nats_server.restart()

    run(scenario())


def test_the_same_record_is_stored_once_and_nonsense_is_left_out(run, nats_server, tmp_path) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            for _ in range(2):
                await ensure_usage(bus, keep_s=86_400, max_bytes=65_536)
            minute = int(START.timestamp()) // 60
            payload = encode_record("gw", minute, [encode_use(Use("\x1b[31mmallory\n", "SIM:A", 0, 0))])
            for id in ("1", "1", "2"):
                await put_usage(bus, "gw", id, payload)
            await put_usage(bus, "gw", "3", b"nonsense")
            assert len([each async for each in read_usage(bus, START)]) == 3

    run(scenario())
    for options in ((), ("--csv",)):
        command = ("usage", "--nats", nats_server.url, "--from", "2026-11-29", "--to", "2026-11-30", *options)
        with Program("mdstream.cli", *command, temporary=tmp_path) as program:
            assert program.end() == 1
            assert "1 messages are no usage records" in program.errors
            assert r"\x1b[31mmallory\n" in program.said
            assert "\x1b" not in program.said


def test_without_a_stream_it_says_how_to_have_one(nats_server, tmp_path) -> None:
    with Program("mdstream.cli", "usage", "--nats", nats_server.url, temporary=tmp_path) as program:
        assert program.end() == 2
        assert "MD_USAGE cannot be read" in program.errors
        assert "--usage-enabled on" in program.errors
    with Program(
        "mdstream.cli", "usage", "--from", "2026-12-01", "--to", "2026-11-01", temporary=tmp_path
    ) as program:
        assert program.end() == 2
        assert "is not before" in program.errors
