"""A scripted gateway over real sockets, which also does what a real one never does."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import picows
from picows import WSListener, WSMsgType, WSUpgradeResponse, WSUpgradeResponseWithListener

from mdstream.client import Policy, connect

QUICK = Policy(backoff_base_s=0.01, backoff_cap_s=0.05)
WELCOME = {
    "type": "welcome",
    "version": 1,
    "node": "n",
    "session": "s",
    "time": 1,
    "heartbeat_ms": 15_000,
    "limits": {},
}


class Session(WSListener):
    """One client, on the gateway's side."""

    def __init__(self, gateway: ScriptedGateway, request: Any, name: str) -> None:
        super().__init__()
        self.gateway = gateway
        self.name = name
        self.token = request.headers.get("Authorization")
        self.commands: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport
        if self.gateway.welcome is not None:
            self.say(self.gateway.welcome)
        self.gateway.sessions.put_nowait(self)
        self.gateway.met.append(self)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
            return
        payload = frame.get_payload_as_bytes()
        assert frame.msg_type == self.kind
        self.commands.put_nowait(json.loads(payload) if self.name == "json" else msgpack.unpackb(payload))

    def on_ws_disconnected(self, transport: Any) -> None:
        if not self.gone.done():
            received = transport.close_handshake and transport.close_handshake.recv
            self.gone.set_result(int(received.code) if received else 1006)

    def encode(self, *messages: Any) -> bytes:
        if self.name == "json":
            (message,) = messages
            return json.dumps(message).encode()
        return b"".join(map(msgpack.packb, messages))

    @property
    def kind(self) -> WSMsgType:
        return WSMsgType.TEXT if self.name == "json" else WSMsgType.BINARY

    def say(self, *messages: Any) -> None:
        self.transport.send(self.kind, self.encode(*messages))

    def snapshot(self, seq: int, *, epoch: int = 1) -> Any:
        crc = zlib.crc32(b"100:5:101:6")
        if self.name == "msgpack":
            return [2, 7, epoch, seq, 1, [100, 5], [101, 6], crc, "subscribe"]
        bids, asks = [["1.00", "0.005"]], [["1.01", "0.006"]]
        return {
            "type": "snapshot",
            "sub": 7,
            "epoch": epoch,
            "seq": seq,
            "ts": 1,
            "bids": bids,
            "asks": asks,
            "crc": crc,
            "reason": "subscribe",
        }

    def delta(self, first: int, last: int, lots: int) -> Any:
        """Sets the size of the best bid to ``lots``."""
        crc = zlib.crc32(f"100:{lots}:101:6".encode())
        if self.name == "msgpack":
            return [1, 7, first, last, 1, [100, lots], [], crc]
        bids = [["1.00", f"0.{lots:03}"]]
        return {
            "type": "delta",
            "sub": 7,
            "first": first,
            "last": last,
            "ts": 1,
            "bids": bids,
            "asks": [],
            "crc": crc,
        }

    async def agree(self, *, resumed: bool = False) -> dict[str, Any]:
        """Waits for a ``subscribe`` and accepts it."""
        command = await self.commands.get()
        assert command["op"] == "subscribe"
        self.say(
            {
                "type": "subscribed",
                "id": command["id"],
                "sub": 7,
                "channel": command["channel"],
                "instrument": command["instruments"][0],
                "price_exp": -2,
                "size_exp": -3,
                "resumed": resumed,
            }
        )
        return command

    def close(self, code: int, reason: bytes = b"") -> None:
        payload = code.to_bytes(2, "big") + reason
        self.transport.send(WSMsgType.CLOSE, payload)


class ScriptedGateway:
    """Accepts clients and gives their sessions to the test; ``refuse`` answers upgrades instead.

    It answers with ``chooses`` and ``extensions``, even if the client did not offer them.
    """

    def __init__(self) -> None:
        self.sessions: asyncio.Queue[Session] = asyncio.Queue()
        self.met: list[Session] = []
        self.welcome: dict[str, Any] | None = WELCOME
        self.refuse: WSUpgradeResponse | None = None
        self.url = ""
        self.offered = ""
        self.chooses: str | None = None
        self.extensions: str | None = None
        self.extensions_offered: str | None = None

    def take(self, request: Any) -> Any:
        if self.refuse is not None:
            response, self.refuse = self.refuse, None
            return WSUpgradeResponseWithListener(response, None)
        self.offered = request.headers["Sec-WebSocket-Protocol"]
        self.extensions_offered = request.headers.get("Sec-WebSocket-Extensions")
        headers = {"Sec-WebSocket-Protocol": self.chooses or self.offered}
        if self.extensions is not None:
            headers["Sec-WebSocket-Extensions"] = self.extensions
        response = WSUpgradeResponse.create_101_response(headers)
        return WSUpgradeResponseWithListener(
            response, Session(self, request, self.offered.rpartition(".")[2])
        )

    async def session(self) -> Session:
        return await self.sessions.get()


@asynccontextmanager
async def scripted() -> AsyncIterator[ScriptedGateway]:
    gateway = ScriptedGateway()
    server = await picows.ws_create_server(gateway.take, "127.0.0.1", 0)
    gateway.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/stream"
    try:
        yield gateway
    finally:
        server.close()
        for session in gateway.met:
            session.transport.disconnect(graceful=False)
            await session.gone
        await server.wait_closed()


@asynccontextmanager
async def live_book(gateway: ScriptedGateway, name: str = "msgpack", **options: Any) -> AsyncIterator[Any]:
    """A client with a book that is live at number 5, and its session."""
    async with connect(gateway.url, format=name, policy=QUICK, **options) as client:
        opening = asyncio.ensure_future(client.book("SIM:BTC-USD"))
        session = await gateway.session()
        await session.agree()
        session.say(session.snapshot(5))
        yield client, session, await opening


def until(register: Callable[..., Any], wanted: Callable[[Any], bool]) -> asyncio.Future[Any]:
    """The first matching value that an observer receives."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    register(lambda value: None if future.done() or not wanted(value) else future.set_result(value))
    return future
