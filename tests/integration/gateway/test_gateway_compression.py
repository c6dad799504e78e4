"""permessage-deflate at a real gateway: for clients that offer it, browsers' WebSocket included."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from contextlib import AsyncExitStack

import pytest

from mdstream.client import Book, connect

BIDS = [n for i in range(50) for n in (1000 - i, 5)]
ASKS = [n for i in range(50) for n in (1001 + i, 7)]
OFFER = "permessage-deflate; client_max_window_bits"
ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
BOOK = {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}

# What browsers and Node have in common: the WebSocket of the HTML standard, which negotiates by itself.
BROWSER = """
const socket = new WebSocket(process.argv[1], "mdstream.v1.json");
socket.onopen = () => {
  console.log(JSON.stringify({ type: "open", extensions: socket.extensions }));
  socket.send(JSON.stringify(%s));
};
socket.onmessage = (event) => console.log(event.data);
socket.onclose = (event) => console.log(JSON.stringify({ type: "close", code: event.code }));
process.stdin.on("end", () => socket.close(1000)).resume();
"""
NODE = ["node", "--experimental-websocket", "--no-warnings"]


def node_has_websocket() -> bool:
    asked = [*NODE, "-p", "typeof WebSocket"]
    return (
        shutil.which("node") is not None and b"function" in subprocess.run(asked, capture_output=True).stdout
    )


async def figures(http, server) -> dict[str, float]:
    page = await http(server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    lines = (line for line in page.body.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def reach(book: Book, seq: int) -> None:
    moved = asyncio.Event()
    book.on_update(lambda _: moved.set())
    while book.seq < seq:
        moved.clear()
        await moved.wait()


@pytest.mark.parametrize(
    ("compression", "offer", "answer"), [(True, OFFER, ANSWER), (True, None, None), (False, OFFER, None)]
)
def test_it_is_agreed_on_if_client_and_configuration_want_it(
    compression, offer, answer, run, nats_server, gateway, ws
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, compression=compression) as server:
            client = await ws.open(server.port, Sec_WebSocket_Extensions=offer)
            assert client.response.headers.get("sec-websocket-extensions") == answer
            assert (await client.recv())["type"] == "welcome"

    run(scenario())


def test_offers_that_cannot_be_read_are_refused(run, nats_server, gateway, http, upgrade) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            answer = await http(server.port, upgrade(Sec_WebSocket_Extensions="permessage-deflate; ="))
            assert (answer.status, b"Sec-WebSocket-Extensions" in answer.body) == (400, True)

    run(scenario())


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_clients_of_either_kind_see_one_book_and_a_message_is_compressed_once(
    format, run, nats_server, gateway, feed, http
) -> None:
    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:A") as pub,
            gateway(nats_server.url, compression_threshold_bytes=100) as server,
            AsyncExitStack() as clients,
        ):
            await pub.announce(BIDS, ASKS)
            books = []
            for compression in (True, True, True, False):
                client = await clients.enter_async_context(
                    connect(server.url, format=format, compression=compression)
                )
                books.append(await client.book("SIM:A"))
            before = await figures(http, server)
            for lots in range(1, 11):
                seq = await pub.book([n if i % 2 == 0 else lots for i, n in enumerate(BIDS)], ASKS)
                await asyncio.gather(*(reach(book, seq) for book in books))
            after = await figures(http, server)
            assert all((book.bids == books[3].bids).all() and book.trusted for book in books)
            assert books[0].bids[:, 1].tolist() == [10] * 50

            def rise(name: str) -> float:
                return after[name] - before[name]

            assert rise("mdstream_compressed_messages_total") == 10
            assert rise("mdstream_deliveries_total") >= 40
            plain, packed = (
                rise("mdstream_compression_input_bytes_total"),
                rise("mdstream_compression_output_bytes_total"),
            )
            assert 0 < packed < plain / 2, "each client saves more than half"

    run(scenario())


@pytest.mark.skipif(
    not node_has_websocket(), reason="there is no Node with a WebSocket (20.10 or later) here"
)
def test_a_browsers_websocket_is_compressed_without_asking(run, nats_server, gateway, feed, http) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce(BIDS, ASKS)
            pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
            node = await asyncio.create_subprocess_exec(
                *NODE, "--eval", BROWSER % json.dumps(BOOK), server.url, **pipes
            )

            async def until(type: str) -> dict:
                while (message := json.loads(await node.stdout.readline()))["type"] != type:
                    pass
                return message

            try:
                assert (await until("open"))["extensions"] == ANSWER
                assert len((await until("snapshot"))["bids"]) == 50
                await pub.book([n if i % 2 == 0 else 9 for i, n in enumerate(BIDS)], [])
                assert (await until("delta"))["bids"] == [[f"{n / 100:.2f}", "0.009"] for n in BIDS[::2]]
                compressed = (await figures(http, server))["mdstream_compressed_messages_total"]
                assert compressed == 3, "welcome, snapshot and delta"
                node.stdin.close()
                assert (await until("close"))["code"] == 1000
            finally:
                if node.returncode is None:
                    node.kill()
                await node.wait()

    run(scenario())
