"""The client over real sockets, against a scripted gateway that also does what a real one never does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from picows import WSCloseCode, WSMsgType, WSUpgradeResponse

from mdstream.client import (
    ConnectionFailed,
    ConnectionLost,
    ConnectionState,
    HandshakeRefused,
    Policy,
    SubscriptionRefused,
    SubscriptionState,
    connect,
)
from support.scripted import QUICK, WELCOME, live_book, scripted, until

BOTH = pytest.mark.parametrize("name", ["json", "msgpack"])


@BOTH
def test_a_book_comes_with_its_snapshot_and_follows(run, name):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway, name) as (_client, session, book):
            assert gateway.offered == f"mdstream.v1.{name}"
            assert (book.seq, book.bids.tolist(), book.asks.tolist()) == (5, [[100, 5]], [[101, 6]])
            stream = book.updates()
            session.say(session.delta(6, 8, 9))
            update = await anext(stream)
            assert (update.first, update.last, update.bids.tolist()) == (6, 8, [[100, 9]])
            assert book.bids.tolist() == [[100, 9]]

    run(scenario())


def test_several_values_in_one_message(run):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway) as (client, session, book):
            done = until(book.on_update, lambda update: update.last == 7)
            session.say(session.delta(6, 6, 8), session.delta(7, 7, 9))
            await done
            assert client.stats.updates == 3

    run(scenario())


@BOTH
def test_fragments_are_joined(run, name):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway, name) as (_client, session, book):
            payload = session.encode(session.delta(6, 6, 8))
            done = until(book.on_update, lambda update: update.last == 6)
            session.transport.send(session.kind, payload[:7], fin=False)
            session.transport.send_ping(b"between")
            session.transport.send(WSMsgType.CONTINUATION, payload[7:9], fin=False)
            session.transport.send(WSMsgType.CONTINUATION, payload[9:])
            await done

    run(scenario())


@BOTH
def test_a_gap_is_recovered(run, name):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway, name) as (client, session, book):
            done = until(book.on_update, lambda update: update.last == 8)
            session.say(session.delta(8, 8, 9))
            command = await session.commands.get()
            assert (command["op"], command["sub"], command["from"]) == ("recover", 7, 6)
            assert not book.trusted
            session.say(session.delta(6, 8, 9))
            await done
            assert book.trusted
            assert (client.stats.gaps, client.stats.recoveries) == (1, 1)

    run(scenario())


@BOTH
@pytest.mark.parametrize("code", [1001, 1012, 4408, None])
def test_after_a_cut_it_reconnects_and_resumes(run, name, code):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway, name) as (client, session, book):
            states: list[SubscriptionState] = []
            book.on_state(states.append)
            if code is None:
                session.transport.disconnect(graceful=False)
            else:
                session.close(code)
            session = await gateway.session()
            live = until(book.on_state, lambda state: state is SubscriptionState.LIVE)
            command = await session.agree(resumed=True)
            assert command["resume"] == {"SIM:BTC-USD": [1, 5]}
            await live
            done = until(book.on_update, lambda update: update.last == 6)
            session.say(session.delta(6, 6, 9))
            await done
            assert states == [
                SubscriptionState.DISCONNECTED,
                SubscriptionState.RECOVERING,
                SubscriptionState.LIVE,
            ]
            assert client.stats.reconnects == 1

    run(scenario())


@pytest.mark.parametrize("code", [1003, 1009, 4400, 4401, 4403])
def test_a_final_close_code_reaches_the_iteration(run, code):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway) as (client, session, book):
            waiting = asyncio.ensure_future(anext(book.updates()))
            session.close(code, b"enough")
            with pytest.raises(ConnectionLost, match=f"{code}: enough") as caught:
                await waiting
            assert caught.value.code == code
            assert client.state is ConnectionState.CLOSED
            with pytest.raises(ConnectionLost):
                await client.wait_closed()
            with pytest.raises(ConnectionLost):
                await client.trades("SIM:BTC-USD")

    run(scenario())


def test_a_fresh_token_is_asked_for_before_each_connection(run):
    async def scenario() -> None:
        tokens = iter(["first", "second"])

        async def token() -> str:
            await asyncio.sleep(0)
            return next(tokens)

        async with scripted() as gateway, live_book(gateway, token=token) as (_client, session, _book):
            assert session.token == "Bearer first"
            session.close(4401)
            assert (await gateway.session()).token == "Bearer second"

    run(scenario())


def test_a_plain_token_is_sent(run):
    async def scenario() -> None:
        async with scripted() as gateway, connect(gateway.url, token="abc"):
            assert (await gateway.session()).token == "Bearer abc"

    run(scenario())


def test_a_failed_token_function_is_reported(run):
    async def scenario() -> None:
        def token() -> str:
            raise LookupError("the vault is shut")

        async with scripted() as gateway, connect(gateway.url, token=token):
            pass

    with pytest.raises(ConnectionFailed, match="the vault is shut"):
        run(scenario())


def test_silence_is_a_dead_connection(run):
    async def scenario() -> None:
        async with scripted() as gateway:
            gateway.welcome = {**WELCOME, "heartbeat_ms": 20}
            async with connect(gateway.url, policy=QUICK) as client:
                first = await gateway.session()
                second = await gateway.session()
                await first.gone
                assert second is not first
                assert client.stats.reconnects >= 1

    run(scenario())


def test_drain_moves_to_another_connection_and_resumes(run):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway) as (_client, session, _book):
            session.say({"type": "drain", "reconnect_after_ms": 10, "deadline_ms": 5000})
            assert await session.gone == 1001
            session = await gateway.session()
            assert (await session.agree(resumed=True))["resume"] == {"SIM:BTC-USD": [1, 5]}

    run(scenario())


@BOTH
def test_a_refused_subscription_says_why_and_leaves_the_connection(run, name):
    async def scenario() -> None:
        async with scripted() as gateway, connect(gateway.url, format=name) as client:
            opening = asyncio.ensure_future(client.book("SIM:NO"))
            session = await gateway.session()
            command = await session.commands.get()
            session.say(
                {
                    "type": "error",
                    "id": command["id"],
                    "code": "unknown_instrument",
                    "message": "no SIM:NO here",
                }
            )
            with pytest.raises(SubscriptionRefused, match="no SIM:NO here") as caught:
                await opening
            assert caught.value.code == "unknown_instrument"
            assert client.state is ConnectionState.OPEN

    run(scenario())


def test_an_invalid_instrument_is_refused_before_sending(run):
    async def scenario() -> None:
        async with scripted() as gateway, connect(gateway.url) as client:
            await client.book("BTC-USD")

    with pytest.raises(ValueError, match="no colon"):
        run(scenario())


def test_giving_up_on_a_book_unsubscribes(run):
    async def scenario() -> None:
        async with scripted() as gateway, connect(gateway.url) as client:
            opening = asyncio.ensure_future(client.book("SIM:BTC-USD"))
            session = await gateway.session()
            await session.agree()
            pong = asyncio.ensure_future(client.ping())
            await session.commands.get()
            opening.cancel()
            command = await session.commands.get()
            assert (command["op"], command["subs"]) == ("unsubscribe", [7])
            pong.cancel()

    run(scenario())


def test_the_same_book_twice_is_one_subscription(run):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway) as (client, session, book):
            again = await client.book("SIM:BTC-USD")
            assert again is book
            await again.close()
            assert book.state is SubscriptionState.LIVE
            await book.close()
            assert (await session.commands.get())["op"] == "unsubscribe"

    run(scenario())


def test_ping_measures_the_round_trip(run):
    async def scenario() -> None:
        async with scripted() as gateway, connect(gateway.url) as client:
            session = await gateway.session()
            ping = asyncio.ensure_future(client.ping())
            command = await session.commands.get()
            session.say({"type": "pong", "id": command["id"], "data": None, "time": 1})
            assert await ping >= 0

            ping = asyncio.ensure_future(client.ping())
            await session.commands.get()
            session.close(1012)
            with pytest.raises(ConnectionFailed, match="1012"):
                await ping

    run(scenario())


def test_nobody_there(run):
    async def scenario() -> None:
        async with scripted() as gateway:
            url = gateway.url
        async with connect(url):
            pass

    with pytest.raises(
        ConnectionFailed, match=r"cannot connect to ws://127.0.0.1:\d+/v1/stream: connection refused"
    ):
        run(scenario())


async def open_where_tls_fails(url: str) -> None:
    """Nothing of it is for the event loop, which would log a traceback."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    with pytest.raises(
        ConnectionFailed, match="cannot connect to wss://.*; without TLS, the URL begins with ws://$"
    ):
        await connect(url)
    assert told == []


def test_tls_where_there_is_none_is_named(run):
    async def scenario() -> None:
        async with scripted() as gateway:
            await open_where_tls_fails(gateway.url.replace("ws:", "wss:"))

    run(scenario())


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x03\x00\x7a\x02"], ids=["at once", "within its answer"])
def test_a_server_that_hangs_up_during_the_tls_handshake(run, said):
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(said)
        writer.close()

    async def scenario() -> None:
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await open_where_tls_fails(f"wss://127.0.0.1:{port}/v1/stream")

    run(scenario())


def test_the_next_of_several_gateways_is_tried(run):
    async def scenario() -> None:
        async with scripted() as gateway:
            gone = gateway.url
        async with scripted() as gateway, connect([gone, gateway.url]) as client:
            await gateway.session()
            assert client.url == gateway.url

    run(scenario())


def test_a_refused_upgrade_gives_status_and_retry_after(run):
    async def scenario() -> None:
        async with scripted() as gateway:
            gateway.refuse = WSUpgradeResponse.create_error_response(503, b"full\n", {"Retry-After": "7"})
            async with connect(gateway.url):
                pass

    with pytest.raises(HandshakeRefused, match="HTTP 503 Service Unavailable: full") as caught:
        run(scenario())
    assert (caught.value.status, caught.value.retry_after_s) == (503, 7.0)


def test_a_persistent_client_survives_a_refusal(run):
    async def scenario() -> None:
        async with scripted() as gateway:
            gateway.refuse = WSUpgradeResponse.create_error_response(503)
            policy = Policy(persist=True, backoff_base_s=0.01)
            async with connect(gateway.url, policy=policy) as client:
                assert client.state is ConnectionState.OPEN

    run(scenario())


def test_a_server_that_is_not_a_websocket(run):
    async def scenario() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        try:
            async with connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/stream"):
                pass
        finally:
            server.close()

    with pytest.raises(ConnectionFailed, match="cannot connect"):
        run(scenario())


def test_a_server_that_never_answers(run):
    async def scenario() -> None:
        held = []
        server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
        try:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/stream"
            async with connect(url, policy=Policy(connect_timeout_s=0.05)):
                pass
        finally:
            for writer in held:
                writer.close()
            server.close()

    with pytest.raises(ConnectionFailed, match=r"no answer within 0.05 s"):
        run(scenario())


def test_a_server_that_hangs_up_during_the_upgrade(run):
    async def scenario() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        try:
            async with connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/stream"):
                pass
        finally:
            server.close()

    with pytest.raises(ConnectionFailed, match=r"cannot connect to .*"):
        run(scenario())


def test_a_gateway_that_chooses_a_subprotocol_of_its_own(run):
    async def scenario() -> None:
        async with scripted() as gateway:
            gateway.chooses = "mdstream.v9.xml"
            async with connect(gateway.url):
                pass

    with pytest.raises(ConnectionFailed, match=r"'mdstream.v9.xml'; 'mdstream.v1.msgpack' was offered"):
        run(scenario())


def test_no_welcome_is_reported(run):
    async def scenario() -> None:
        async with scripted() as gateway:
            gateway.welcome = None
            async with connect(gateway.url, policy=Policy(connect_timeout_s=0.05)):
                pass

    with pytest.raises(ConnectionFailed, match="no welcome"):
        run(scenario())


def test_a_frame_of_the_wrong_type_is_refused(run):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway) as (_client, session, _book):
            session.transport.send(WSMsgType.TEXT, b"{}")
            assert await session.gone == 1003
            await gateway.session()

    run(scenario())


def test_closing_sends_a_close_frame(run):
    async def scenario() -> None:
        async with scripted() as gateway:
            async with live_book(gateway) as (client, session, book):
                pass
            assert await session.gone == WSCloseCode.OK
            assert book.state is SubscriptionState.ENDED
            await client.close()

    run(scenario())


def test_closing_while_it_dials(run):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway) as (client, session, _book):
            dialling = until(client.on_state, lambda state: state is ConnectionState.CONNECTING)
            session.close(1012)
            await dialling
        assert client.state is ConnectionState.CLOSED

    run(scenario())


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "127.0.0.1:8080", "ws:///v1/stream"])
def test_an_invalid_url_is_refused(run, url):
    async def scenario() -> None:
        async with connect(url):
            pass

    with pytest.raises(ValueError, match="gateway URL was"):
        run(scenario())
