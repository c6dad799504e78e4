"""Clients that are wrong on purpose: each is answered as documented, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import logging

import msgpack
import pytest

from mdstream.codes import CloseCode

BOOK = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}

BAD_JSON: dict[str, list[bytes]] = {
    "bad_command": [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'"ping"',
        b"{}",
        b"[" * 1000,
        b'{"op":"ping","op":"ping"}',
        b'{"op":"ping","data":NaN}',
        b'{"op":"ping","data":"\\ud800"}',
        b'{"op":"subscribe"}',
        b'{"op":"ping","nonsense":1}',
    ],
    "unknown_op": [b'{"op":"nope"}', b'{"op":null}', b'{"op":[]}'],
    "unknown_channel": [b'{"op":"subscribe","channel":"x","instruments":["SIM:A"]}'],
    "unknown_instrument": [
        json.dumps({**BOOK, "instruments": [name]}).encode() for name in ("SIM:NONE", "SIM", "")
    ],
    "unknown_sub": [b'{"op":"recover","sub":99,"from":1}', b'{"op":"unsubscribe","subs":[99]}'],
    "bad_value": [
        json.dumps({**BOOK, **fault}).encode()
        for fault in (
            {"depth": 7},
            {"depth": True},
            {"group": 0},
            {"interval_ms": 1},
            {"instruments": []},
            {"instruments": ["SIM:A", "SIM:A"]},
            {"resume": {"SIM:B": [1, 1]}},
            {"id": {}},
        )
    ],
    "unavailable": [b'{"op":"auth","token":"x"}'],
}
BAD_MSGPACK: dict[str, list[bytes]] = {
    "bad_command": [
        b"",
        b"\xc1",
        b"\xc0",
        b"\x90",
        b"\x80",
        b"\x92\x01",
        b"\xa1\xff",
        b"\x91" * 2000,
        b"\xdd\xff\xff\xff\xff",
        b"\xd6\xff\x00\x00\x00\x01",
        msgpack.packb({1: 2}),
        msgpack.packb({"op": "ping", "nonsense": 1}),
    ],
    "unknown_op": [msgpack.packb({"op": b"ping"})],
    "unknown_channel": [msgpack.packb({**BOOK, "channel": 1})],
    "unknown_instrument": [msgpack.packb({**BOOK, "instruments": ["SIM:NONE"]})],
    "unknown_sub": [msgpack.packb({"op": "unsubscribe", "subs": [2**53 - 1]})],
    "bad_value": [
        msgpack.packb({**BOOK, "depth": float("nan")}),
        msgpack.packb({**BOOK, "depth": 2**64 - 1}),
        msgpack.packb({"op": "ping", "data": None, "id": 1.5}),
    ],
    "unavailable": [msgpack.packb({"op": "auth", "token": "x"})],
}


@pytest.mark.parametrize(("format", "faults"), [("json", BAD_JSON), ("msgpack", BAD_MSGPACK)])
def test_a_thousand_bad_commands_are_answered_and_others_are_undisturbed(
    format, faults, run, nats_server, gateway, feed, ws, caplog
) -> None:
    payloads = [(code, payload) for code, some in faults.items() for payload in some]
    wanted = [payloads[i % len(payloads)] for i in range(1000)]

    async def watch(client, last: int) -> list[int]:
        """The numbers that a well-behaved client sees until ``last``."""
        client.send(BOOK)
        seen = [(await client.until("snapshot"))["seq"]]
        while seen[-1] != last:
            delta = await client.until("delta")
            assert delta["first"] == seen[-1] + 1
            seen.append(delta["last"])
        return seen

    async def misbehave(client) -> list[str]:
        codes = []
        for start in range(0, len(wanted), 50):
            for _, payload in wanted[start : start + 50]:
                client.send_raw(payload)
            for _ in wanted[start : start + 50]:
                codes.append((await client.until("error"))["code"])
        client.send({"op": "ping", "id": "still here"})
        assert (await client.until("pong"))["id"] == "still here"
        return codes

    async def scenario() -> None:
        limits = {"max_errors": 1000, "commands_burst": 5000}
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url, **limits) as server:
            await pub.announce([1000, 5], [1001, 7])
            good, bad = await ws.open(server.port, format), await ws.open(server.port, format)
            watching = asyncio.ensure_future(watch(good, 201))
            misbehaving = asyncio.ensure_future(misbehave(bad))
            for size in range(1, 201):
                await pub.book([1000, size], [])
                await asyncio.sleep(0)
            codes = await misbehaving
            # Lookups of instruments that are none are answered later than the rest: compare as counts.
            assert sorted(codes) == sorted(code for code, _ in wanted)
            await watching

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert caplog.records == []


def test_the_error_budget_ends_a_session_with_4400(run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, max_errors=3) as server:
            client = await ws.open(server.port)
            client.send(*[{"op": "nope", "id": i} for i in range(10)])
            ids = [(await client.until("error"))["id"] for _ in range(4)]
            assert ids == [0, 1, 2, 3]
            assert await client.closed() == CloseCode.ERROR_BUDGET

    run(scenario())


def test_the_budget_ends_within_one_msgpack_message(run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, max_errors=3) as server:
            client = await ws.open(server.port, "msgpack")
            client.send_raw(b"\x01" * 60_000)
            for _ in range(4):
                assert (await client.until("error"))["code"] == "bad_command"
            assert await client.closed() == CloseCode.ERROR_BUDGET

    run(scenario())


def test_too_many_commands_are_rate_limited_then_4429(run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        limits = {"commands_burst": 5, "commands_per_second": 1, "max_errors": 2}
        async with gateway(nats_server.url, **limits) as server:
            client = await ws.open(server.port)
            client.send(*[{"op": "ping", "id": i} for i in range(20)])
            for i in range(5):
                assert (await client.until("pong"))["id"] == i
            assert (await client.until("error"))["code"] == "rate_limited"
            assert await client.closed() == CloseCode.RATE_LIMIT

    run(scenario())


@pytest.mark.parametrize(
    ("format", "opcode", "payload", "code"),
    [
        ("json", 2, b'{"op":"ping"}', CloseCode.WRONG_FRAME_TYPE),
        ("msgpack", 1, b"\x80", CloseCode.WRONG_FRAME_TYPE),
        ("json", 1, b'{"op":"\xff"}', CloseCode.NOT_UTF8),
        ("json", 1, b" " * 65_537, CloseCode.TOO_BIG),
        ("msgpack", 2, b"\x00" * 65_537, CloseCode.TOO_BIG),
        ("json", 3, b"", 1002),
        ("json", 8, b"\x03\xe8", CloseCode.NORMAL),
    ],
)
def test_frames_that_end_a_session(
    format, opcode, payload, code, run, nats_server, gateway, ws, caplog
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            client = await ws.open(server.port, format)
            client.send_frame(opcode, payload)
            assert await client.closed() == code

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert caplog.records == []


def test_a_client_that_pings_and_never_reads_is_closed(run, nats_server, gateway, ws, http) -> None:
    async def scenario() -> None:
        limits = {"control_backlog_bytes": 65_536, "commands_burst": 10_000}
        async with gateway(nats_server.url, **limits) as server:
            client = await ws.open(server.port)
            client.stop_reading()
            for _ in range(400):
                client.send({"op": "ping", "data": "x" * 60_000})
                await asyncio.sleep(0)
            while "mdstream_connections 0.0" not in await metrics(http, server):
                await asyncio.sleep(0.01)

    run(scenario())


async def metrics(http, server) -> str:
    response = await http(server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return response.body.decode()
