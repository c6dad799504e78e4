"""What one client can make a session do and hold: input that waits, frames without content, data that is never read."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mdstream._core.fanout.hub import Hub
from mdstream._core.net.session import Session
from mdstream._core.net.session_group import SessionGroup, SessionLimits
from support.certificates import certificate, needs_openssl
from support.websocket import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawClient,
    Server,
    close_frame,
    frame,
    serving,
)

TRANSPORTS = pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "uvloop"])
NOW = 1_000_000_000
MUCH = b"x" * 8_000_000
"""More than two sockets on one machine hold."""


@pytest.fixture
def hub() -> Hub:
    hub = Hub(heartbeat_us=1_000_000, slow_limit_us=5_000_000)
    hub.tick(NOW)
    return hub


# ---- input


@TRANSPORTS
def test_paused_input_waits_and_comes_in_order(run, hub, compiled):
    async def scenario():
        async with serving(hub, compiled=compiled) as server:
            server.on_message = lambda session, payload: session.pause_input()
            client, session = await server.connect()
            wanted = [str(number).encode() for number in range(1_000)]
            client.send(*[frame(TEXT, payload) for payload in wanted])
            for payload in wanted:
                assert await server.messages.get() == payload
                assert server.messages.empty(), "one at a time"
                session.resume_input()

    run(scenario())


@TRANSPORTS
def test_messages_in_pieces_across_a_pause(run, hub, compiled):
    async def scenario():
        async with serving(hub, compiled=compiled) as server:
            server.on_message = lambda session, payload: session.pause_input()
            client, session = await server.connect()
            data = frame(TEXT, b"first") + frame(TEXT, b"se", fin=False) + frame(CONTINUATION, b"cond")
            client.send(data[:-2])
            assert await server.messages.get() == b"first"
            client.send(data[-2:])
            session.resume_input()
            assert await server.messages.get() == b"second"
            session.resume_input()

    run(scenario())


@TRANSPORTS
def test_a_session_that_closes_while_input_is_paused_sees_the_answer(run, hub, compiled):
    async def scenario():
        async with serving(hub, compiled=compiled) as server:
            server.on_message = lambda session, payload: session.pause_input()
            client, session = await server.connect()
            client.send(frame(TEXT, b"one"), frame(TEXT, b"two"), close_frame(1000))
            assert await server.messages.get() == b"one"
            session.close(4429, "enough")
            assert await client.closed_with() == (4429, "enough")
            assert await server.closes.get() == 4429
            assert server.messages.empty(), "what came before its close frame is not answered any more"
            session.resume_input()

    run(scenario())


def test_a_peer_that_vanishes_while_input_is_paused(run, hub):
    async def scenario():
        async with serving(hub) as server:
            server.on_message = lambda session, payload: session.pause_input()
            client, session = await server.connect()
            client.send(frame(TEXT, b"one"), frame(TEXT, b"two"))
            await server.messages.get()
            reset(client)
            assert await server.closes.get() == 1006
            session.resume_input()
            assert server.messages.empty()

    run(scenario())


@needs_openssl
@TRANSPORTS
def test_paused_input_over_tls(run, hub, tmp_path, compiled):
    cert, key = certificate(tmp_path, "server")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)

    async def scenario():
        async with serving(hub, tls=tls, compiled=compiled) as server:
            server.on_message = lambda session, payload: session.pause_input()
            client, session = await server.connect(tls=ssl.create_default_context(cafile=str(cert)))
            wanted = [bytes((65 + number % 26,)) * 300 for number in range(1_000)]
            client.send(*[frame(TEXT, payload) for payload in wanted])
            for payload in wanted:
                assert await server.messages.get() == payload
                session.resume_input()

    run(scenario())


# ---- frames without content, and bytes of messages


def limited(server: Server) -> list[str]:
    """The kinds that the server is told of."""
    kinds: list[str] = []
    server.on_limited = lambda session, kind: kinds.append(kind)
    return kinds


def test_each_ping_of_the_budget_is_answered_then_the_newest_of_a_read(run, hub):
    async def scenario():
        async with serving(hub, control_frames_burst=3, control_frames_per_second=0) as server:
            kinds = limited(server)
            client, _ = await server.connect()
            client.send(*[frame(PING, bytes((48 + i,))) for i in range(5)], frame(TEXT, b"x"))
            pongs = [await client.frame() for _ in range(4)]
            assert pongs == [(PONG, b"0"), (PONG, b"1"), (PONG, b"2"), (PONG, b"4")]
            assert await server.messages.get() == b"x"
            assert kinds == ["control_frames"]

    run(scenario())


@pytest.mark.parametrize(
    "frames",
    [
        [frame(PING, b"x")] * 7,
        [frame(PONG)] * 7,
        [frame(TEXT, b"", fin=False)] + [frame(CONTINUATION, b"123", fin=False)] * 6,
    ],
    ids=["pings", "pongs", "fragments"],
)
def test_twice_the_budget_ends_with_4429(run, hub, frames):
    async def scenario():
        async with serving(hub, control_frames_burst=3, control_frames_per_second=0) as server:
            client, _ = await server.connect()
            client.send(*frames)
            assert await client.closed_with() == (4429, "too many control frames")
            assert await server.closes.get() == 4429

    run(scenario())


def test_a_frame_that_comes_byte_by_byte_is_no_fragment(run, hub):
    async def scenario():
        async with serving(hub, control_frames_burst=1, control_frames_per_second=0) as server:
            client, session = await server.connect()
            for byte in frame(TEXT, b"slow but whole"):
                heard = session.last_received_us
                hub.tick(heard + 1)
                client.send(bytes((byte,)))
                while session.last_received_us == heard:
                    await asyncio.sleep(0)
            assert await server.messages.get() == b"slow but whole"

    run(scenario())


def test_messages_beyond_the_bytes_of_the_budget_are_not_given_on(run, hub):
    async def scenario():
        async with serving(hub, 1, decoded_bytes_burst=250, decoded_bytes_per_second=0) as server:
            kinds = limited(server)
            client, _ = await server.connect()
            client.send(*[frame(BINARY, b"x" * 100)] * 5, frame(PING))
            assert await client.frame() == (PONG, b"")
            assert server.messages.qsize() == 2
            assert kinds == ["decoded_bytes"] * 3

    run(scenario())


# ---- output that is not read


async def dropped(client: RawClient) -> bool:
    """Whether the connection ends with a reset."""
    client.writer.transport.resume_reading()
    try:
        while await client.reader.read(1 << 20):
            pass
    except ConnectionResetError:
        return True
    return False


def reset(client: RawClient) -> None:
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.leave()


@asynccontextmanager
async def unread(hub: Hub, compiled: bool, **options: Any) -> AsyncIterator[tuple[Server, RawClient, Any]]:
    """A client that does not read, with much on its way to it."""
    async with serving(hub, compiled=compiled, **{"close_timeout_s": 0.05, **options}) as server:
        client, session = await server.connect(limit=4096)
        client.writer.transport.pause_reading()
        session.send_control(MUCH)
        assert session.bytes_pending
        yield server, client, session


@TRANSPORTS
def test_what_a_closed_client_never_reads_is_thrown_away(run, hub, compiled):
    async def scenario():
        async with unread(hub, compiled) as (server, client, session):
            session.close(4408, "too slow")
            assert await server.closes.get() == 4408
            assert await dropped(client)

    run(scenario())


@TRANSPORTS
def test_also_if_it_says_that_it_leaves(run, hub, compiled):
    """It sends its close frame and the end of its stream, and goes on not reading."""

    async def scenario():
        async with unread(hub, compiled) as (server, client, _):
            client.send(close_frame(1000))
            client.writer.write_eof()
            assert await server.closes.get() == 1000
            assert await dropped(client)

    run(scenario())


@TRANSPORTS
def test_one_that_reads_all_is_not_reset(run, hub, compiled):
    async def scenario():
        async with unread(hub, compiled, close_timeout_s=60) as (server, client, session):
            session.close(1012, "draining")
            client.writer.transport.resume_reading()
            opcode, payload = await client.frame()
            assert (opcode, len(payload)) == (TEXT, len(MUCH))
            assert await client.closed_with() == (1012, "draining")
            assert await server.closes.get() == 1012

    run(scenario())


def test_control_beside_a_large_message_is_bounded_by_itself(run, hub):
    async def scenario():
        async with unread(hub, True, control_backlog_bytes=10_000) as (server, _, session):
            for _ in range(90):
                session.send_control(b"y" * 100)
            assert session.open
            for _ in range(20):
                session.send_control(b"y" * 100)
            assert not session.open
            assert await server.closes.get() == 4408

    run(scenario())


def test_what_is_added_while_a_client_reads_arrives_whole(run, hub):
    """Its pending bytes are moved while more come: nothing is lost or repeated."""

    async def scenario():
        async with serving(hub, send_buffer_bytes=4096, control_backlog_bytes=1 << 30) as server:
            client, session = await server.connect(limit=4096)
            sent = 0
            for got in range(2_000):
                while sent < min(got + 200, 2_000):
                    session.send_control(b"%d " % sent + b"z" * 3_000)
                    sent += 1
                assert (await client.message()).split()[0] == b"%d" % got

    run(scenario())


# ---- places


def test_one_that_is_being_closed_takes_nobodys_place(run, hub):
    async def scenario():
        async with serving(hub, max_connections=1) as server:
            _, session = await server.connect()
            assert server.group.connections == 1
            session.close(1012)
            assert server.group.connections == 0
            _, second = await server.connect()
            assert not second.surplus and server.closes.empty()

    run(scenario())


def test_so_many_may_be_closing_then_the_oldest_is_dropped(run, hub):
    async def scenario():
        async with serving(hub, max_connections=4) as server:
            most = 4 // 4 + 16
            for _ in range(most + 4):
                _, session = await server.connect()
                session.close(1012)
            assert server.closes.empty()
            _, session = await server.connect()
            assert await server.closes.get() == 1012
            assert session.open and server.closes.empty()

    run(scenario())


def test_beyond_what_may_wait_for_all_the_one_with_most_is_ended(run, hub):
    async def scenario():
        limits = {"max_unread_bytes": 30_000_000, "stuck_s": 0, "send_buffer_bytes": 16384}
        async with serving(hub, **limits) as server:
            told: list[tuple[object, str]] = []
            server.on_limited = lambda session, kind: told.append((session, kind))
            for size in (18_000_000, 24_000_000):
                client, session = await server.connect(limit=4096)
                client.writer.transport.pause_reading()
                session.send_control(b"x" * size)
                assert server.closes.empty()
            assert await server.closes.get() == 4408
            assert await dropped(client), "the second one"
            assert told == [(session, "unread_bytes")]
            server.group.tick()
            assert 17_000_000 < server.group.unread <= 18_000_000
            assert server.closes.empty()

    run(scenario())


def test_those_that_read_are_not_ended_for_it(run, hub):
    async def scenario():
        limits = {"max_unread_bytes": 1_000_000, "stuck_s": 3600, "send_buffer_bytes": 16384}
        async with serving(hub, **limits) as server:
            client, session = await server.connect()
            session.send_control(MUCH)
            assert len(await client.message()) == len(MUCH)
            assert session.open

    run(scenario())


# ---- many ends at once


def keep_busy(*_: object) -> None:
    """For longer than closing may take in one turn of the loop."""
    until_ns = time.monotonic_ns() + 1_000_000
    while time.monotonic_ns() < until_ns:
        pass


def test_those_that_run_out_of_time_together_are_dropped_in_several_turns(hub):
    gone: list[Session] = []
    turns: list[Callable[[], None]] = []

    def on_gone(session: Session) -> None:
        gone.append(session)
        keep_busy()

    unused: Any = None
    group = SessionGroup(
        hub, on_request=unused, on_open=unused, on_message=unused, on_close=unused, on_gone=on_gone,
        limits=SessionLimits(handshake_s=0),
    )  # fmt: skip
    group.call_soon = turns.append
    sessions = [Session(group) for _ in range(4)]
    group.tick()
    assert gone == sessions[:1]
    sessions[1].drop()
    group.tick()
    assert gone == sessions[:2] and len(turns) == 1, (
        "one of them ended by itself; the others wait for their turn"
    )
    turns.pop()()
    assert gone == sessions[:3]
    turns.pop()()
    assert gone == sessions and not turns and group.half_open == group.connections == 0


def test_a_crowd_that_never_asks_for_anything_is_dropped(run, hub):
    async def scenario():
        async with serving(hub, handshake_s=0.05, max_handshakes=200) as server:
            crowd = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(200)]
            for reader, writer in crowd:
                assert await reader.read() == b""
                writer.close()
            assert server.group.half_open == server.group.connections == 0

    run(scenario())


def test_a_crowd_that_vanishes_is_closed_in_several_turns(run, hub):
    async def scenario():
        async with serving(hub) as server:
            ends = 0
            most_in_a_turn = 0

            def closed(session: object, code: int) -> None:
                nonlocal ends
                ends += 1
                keep_busy()

            def look(before: int) -> None:
                nonlocal most_in_a_turn
                most_in_a_turn = max(most_in_a_turn, ends - before)
                if ends < len(clients):
                    asyncio.get_running_loop().call_soon(look, ends)

            server.ended = closed
            clients = [(await server.connect())[0] for _ in range(50)]
            look(0)
            for client in clients:
                reset(client)
            for _ in clients:
                assert await server.closes.get() == 1006
            assert (ends, most_in_a_turn) == (50, 1)

    run(scenario())
