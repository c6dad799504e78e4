"""nats-py's client with the compiled tap and without it, over a transport that a test feeds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from nats import errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport, WebSocketTransport

from mdstream.bus import BusOptions, _client
from mdstream.bus._client import TapClient
from mdstream.errors import ConfigError

SUBJECT = b"md.SIM.A.book"


def client(compiled: bool = True) -> TapClient:
    return TapClient(require_tls=False, backoff_base_s=0.1, backoff_cap_s=1, compiled=compiled)


class Socket(asyncio.Transport):
    """Gives its protocol what a test says was read."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None
        self.closed = False

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def read(self, data: bytes) -> None:
        if not isinstance(self.protocol, asyncio.BufferedProtocol):
            self.protocol.data_received(data)
        else:
            self.protocol.get_buffer(-1)[: len(data)] = data
            self.protocol.buffer_updated(len(data))


def connection() -> tuple[Socket, TcpTransport]:
    """A connection as nats-py makes one."""
    socket, transport = Socket(), TcpTransport()
    reader = transport._io_reader = asyncio.StreamReader()
    socket.protocol = asyncio.StreamReaderProtocol(reader)
    socket.protocol.connection_made(socket)
    transport._io_writer = asyncio.StreamWriter(socket, socket.protocol, reader, asyncio.get_running_loop())
    return socket, transport


class Session:
    """A client that is given bytes; notes what its own methods are called with."""

    def __init__(self, compiled: bool) -> None:
        self.client = client(compiled)
        self.calls: list[tuple[Any, ...]] = []
        self.tapped: list[tuple[Any, ...]] = []
        self.client._taps[1] = lambda *message: self.tapped.append(message)
        for name in (
            "_process_ping",
            "_process_pong",
            "_process_info",
            "_process_err",
            "_process_op_err",
            "_error_cb",
        ):
            setattr(self.client, name, self._note(name))

    def _note(self, name: str) -> Callable[..., Coroutine[Any, Any, None]]:
        async def noted(*arguments: Any) -> None:
            self.calls.append((name, *arguments))
            if name == "_process_op_err":
                self.client._status = Client.RECONNECTING

        return noted

    def read(self, *pieces: bytes) -> None:
        """What one connection brings, the first piece before the read loop starts."""
        asyncio.run(self._read(pieces))

    async def _read(self, pieces: tuple[bytes, ...]) -> None:
        socket, self.client._transport = connection()
        self.client._status = Client.CONNECTED
        socket.read(pieces[0])
        loop = self.client._reading_task = asyncio.create_task(self.client._read_loop())
        for piece in (*pieces[1:], b""):
            await _idle()
            if piece:
                socket.read(piece)
        self.client._status = Client.CLOSED
        socket.close()
        loop.cancel()
        await loop


async def _idle() -> None:
    """Lets all tasks run until each waits for something to read."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture(params=[True, False], ids=["compiled", "plain"])
def session(request: pytest.FixtureRequest) -> Session:
    return Session(request.param)


def test_the_clients_own_methods_are_called(session: Session) -> None:
    session.read(b"PING\r\nPO", b"NG\r\n+OK\r\nINFO {\"ldm\":true}\r\n-ERR 'Slow Consumer'\r\n")
    assert session.calls == [
        ("_process_ping",),
        ("_process_pong",),
        ("_process_info", {"ldm": True}),
        ("_process_err", "'slow consumer'"),
    ]


def test_tapped_messages_are_handed_over_and_counted(session: Session) -> None:
    session.read(b"MSG md.SIM.A.book 1 3\r\nabc\r\nHMSG md.SIM.A.book 1 r 12 14\r\nNATS/1.0\r\n\r\nde\r\n")
    assert session.tapped == [(SUBJECT, b"", b"abc", None), (SUBJECT, b"r", b"de", b"NATS/1.0\r\n\r\n")]
    assert (session.client.stats["in_msgs"], session.client.stats["in_bytes"]) == (2, 5)


def test_other_messages_are_nats_pys(session: Session) -> None:
    session.read(b"", b"MSG a 2 3\r\nabc\r\nMSG md.SIM.A.book 1 3\r\nabc\r\n")
    assert len(session.tapped) == 1
    assert (session.client.stats["in_msgs"], session.client.stats["in_bytes"]) == (2, 6)


def test_what_is_tapped_takes_no_queue_of_its_own() -> None:
    """It would take 3 kB for each subject, and there are ten thousand."""

    async def scenario() -> None:
        made = client()
        first, second = await made.tap("a", lambda *_: None), await made.tap("b", lambda *_: None)
        assert first._pending_queue is second._pending_queue

    asyncio.run(scenario())


def test_a_handler_that_raises_is_told_of_and_the_rest_goes_on(session: Session) -> None:
    fault = ZeroDivisionError("a bug")

    def broken(*message: Any) -> None:
        raise fault

    session.client._taps[2] = broken
    session.read(b"MSG a 2 1\r\nx\r\nPING\r\n")
    assert sorted(session.calls) == [("_error_cb", fault), ("_process_ping",)]


def test_a_new_connection_starts_without_half_a_message_of_the_last(session: Session) -> None:
    session.read(b"MSG a 1 100\r\nhalf")
    session.client._ps.reset()  # as nats-py does when it reconnects
    session.read(b"PING\r\n")
    assert session.calls == [("_process_ping",)]


@pytest.mark.parametrize(
    "data", [b"HELLO\r\n", b"INFO {\r\n", b"INFO []\r\n", b"MSG a x 99\r\n", b"-ERR \r\n"]
)
def test_what_is_not_nats_ends_the_connection(session: Session, data: bytes) -> None:
    session.client._process_info = Client._process_info.__get__(session.client)  # type: ignore[method-assign]
    session.read(b"MSG md.SIM.A.book 1 3\r\nabc\r\n" + data)
    assert [name for name, *_ in session.calls].count("_process_op_err") == 1
    assert session.client.stats["in_msgs"] == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HELLO\r\n", "nats: unknown operation b'HELLO'"),
        (b"MSG a 1 99999999999\r\n", "nats: bad number in message line b'MSG a 1 99999999999'"),
        (b"X" * (2 << 20), "nats: no end of line within 1048576 bytes"),
    ],
)
def test_the_tap_says_what_is_not_nats(data: bytes, reason: str) -> None:
    session = Session(compiled=True)
    session.read(b"PING\r\n", *(data[at : at + 65536] for at in range(0, len(data), 65536)))
    names = [name for name, *_ in session.calls]
    assert names == ["_process_ping", "_error_cb", "_process_op_err"]
    assert str(session.calls[names.index("_error_cb")][1]) == reason
    assert isinstance(session.calls[names.index("_process_op_err")][1], errors.ProtocolError)


# ---- which way


def test_the_option_picks_the_way(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.read(b"PING\r\n")
    assert (session.client._tap is not None) is session.client._compiled
    monkeypatch.delenv("MDSTREAM_NATS_PARSER", raising=False)
    assert BusOptions().parser == "compiled"
    monkeypatch.setenv("MDSTREAM_NATS_PARSER", "plain")
    assert BusOptions().parser == "plain"
    monkeypatch.setenv("MDSTREAM_NATS_PARSER", "quick")
    with pytest.raises(ConfigError, match="parser is 'quick'; it must be one of compiled, plain"):
        BusOptions()


def _without_streams(socket: Socket, client: TapClient) -> None:
    client._transport = TcpTransport()


def _without_buffer(socket: Socket, client: TapClient) -> None:
    del client._transport._io_reader._buffer  # type: ignore[union-attr]


def _another_protocol(socket: Socket, client: TapClient) -> None:
    socket.protocol = asyncio.Protocol()


def _other_counters(socket: Socket, client: TapClient) -> None:
    client.stats = {}


def _websocket(socket: Socket, client: TapClient) -> None:
    client._transport = WebSocketTransport.__new__(WebSocketTransport)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without_streams, "its connection does not use asyncio's streams"),
        (_without_buffer, "the stream's buffer is elsewhere"),
        (_another_protocol, "its connection has another protocol"),
        (_other_counters, "its counters have other names"),
        (_websocket, "NATS over WebSocket: nats-py reads"),
    ],
)
def test_what_the_tap_does_not_know_is_read_plainly_and_said_once(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Socket, TapClient], None],
    reason: str,
) -> None:
    monkeypatch.setattr(_client, "_warned", set())

    async def connect_twice() -> None:
        for _ in range(2):
            tapped = client()
            socket, transport = connection()
            tapped._transport = transport
            change(socket, tapped)
            await tapped._tap_connection()
            socket.close()
            assert tapped._tap is None and not isinstance(socket.protocol, asyncio.BufferedProtocol)

    with caplog.at_level(logging.WARNING):
        asyncio.run(connect_twice())
    (record,) = caplog.records
    assert reason in record.getMessage()
