"""When the first message of a TLS client is whole."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from mdstream.gateway.tls_hello import MOST, PER_TURN, Hellos, missing


def hello() -> bytes:
    """What Python's own client sends first."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(coming, going, server_hostname="a.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return going.read()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection; of others, the kernel does not say when enough has come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    ours.setblocking(False)
    return ours, theirs


def record(piece: bytes) -> bytes:
    return b"\x16\x03\x01" + len(piece).to_bytes(2) + piece


def test_a_whole_message_and_what_follows_it() -> None:
    assert missing(hello()) == 0
    assert missing(hello() + b"more") == 0


def test_each_part_of_a_message_lacks_something() -> None:
    whole = hello()
    for size in range(len(whole)):
        lacks = missing(whole[:size])
        assert 0 < lacks <= len(whole) - size
    assert missing(whole[:5]) == len(whole) - 5


def test_a_message_in_a_few_records() -> None:
    message = hello()[5:]
    pieces = record(message[:2]) + record(message[2:50]) + record(message[50:])
    assert missing(pieces) == 0
    assert missing(pieces[:-1]) == 1
    assert missing(pieces[:7]) == 5


def test_what_is_no_tls_is_for_openssl_to_answer() -> None:
    assert missing(b"GET / HTTP/1.1\r\n") == 0
    assert missing(record(b"\x01\x00\x10\x00") + b"GET") == 0


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\xff\xff",
        record(b"\x01\x02\x00\x00" + bytes(8_000)) + b"\x16\x03\x01" + (MOST - 8_000).to_bytes(2),
        record(b"\x01") * 4,
        record(b"") * 4,
    ],
)
def test_a_message_that_is_too_long_or_in_too_many_pieces_is_refused(data: bytes) -> None:
    with pytest.raises(ConnectionError, match="its first message of TLS"):
        missing(data)


@pytest.mark.process
def test_those_that_waited_begin_a_few_in_a_turn(run) -> None:
    async def scenario() -> None:
        loop, hellos, whole = asyncio.get_running_loop(), Hellos(), hello()
        pairs = [tcp_pair() for _ in range(5 * PER_TURN)]
        for _, theirs in pairs:
            theirs.sendall(whole[:-1])
        turns: list[int] = []
        turn = 0

        def count() -> None:
            nonlocal turn
            turn += 1
            counting.append(loop.call_soon(count))

        counting = [loop.call_soon(count)]

        async def one(ours: socket.socket) -> None:
            await hellos.wait(ours)
            turns.append(turn)
            assert ours.recv(1 << 16) == whole

        waiting = [loop.create_task(one(ours)) for ours, _ in pairs]
        await asyncio.sleep(0)
        assert turns == []
        for _, theirs in pairs:
            theirs.sendall(whole[-1:])
        await asyncio.gather(*waiting)
        counting[-1].cancel()
        assert max(turns.count(each) for each in turns) <= PER_TURN
        for pair in pairs:
            for each in pair:
                each.close()

    run(scenario())


@pytest.mark.process
def test_a_whole_message_waits_for_nobody_and_an_end_is_told(run) -> None:
    async def scenario() -> None:
        hellos = Hellos()
        ours, theirs = tcp_pair()
        with ours, theirs:
            theirs.sendall(hello())
            waiting = hellos.wait(ours)
            with pytest.raises(StopIteration):
                waiting.send(None)
        ours, theirs = tcp_pair()
        with ours:
            theirs.sendall(hello()[:50])
            ending = asyncio.ensure_future(hellos.wait(ours))
            await asyncio.sleep(0)
            theirs.close()
            with pytest.raises(ConnectionError, match="ended in its TLS handshake"):
                await ending

    run(scenario())
