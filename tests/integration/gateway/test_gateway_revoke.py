"""How sessions end because of who they belong to, and how they go on: a real NATS, two gateways."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import Any

import pytest

from mdstream.bus import connect, control
from mdstream.client import Policy
from mdstream.client import connect as connect_client
from mdstream.codes import CloseCode
from mdstream.errors import ConnectionLost, HandshakeRefused
from support.tokens import CLAIMS, sign


def token(subject: str = "alice", *, lasts_s: float = 600, **more: Any) -> str:
    now_s = time.time()
    return sign({**CLAIMS, "sub": subject, "exp": now_s + lasts_s, "iat": now_s, **more}).decode()


def bearer(*arguments: Any, **more: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(*arguments, **more)}"}


async def status(port: int, request: bytes) -> int:
    """Of the answer to an upgrade request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return int((await reader.readuntil(b"\r\n")).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()


async def revoke(url: str, kind: str, name: str, **more: Any) -> None:
    async with await connect(url) as bus:
        await control.ensure(bus)
        await control.revoke(bus, control.Revoke(kind, name, time.time_ns() // 1000, **more))


async def known(*gateways: Any) -> None:
    while not all(each._control.known for each in gateways):
        await asyncio.sleep(0.01)


TELLING = {"heartbeat_ms": 200}
"""A token of a second is told of at once, and lasts for the leeway of 30 s."""
QUICK = Policy(backoff_base_s=0.01, backoff_cap_s=0.05)
ENDING = {**TELLING, "auth_leeway_ms": 0}


def test_a_session_ends_with_its_token_and_is_told_before(run, gateway, ws, nats_server, key) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,), **ENDING) as server:
            client = await ws.open(server.port, **bearer(lasts_s=2))
            expiring = await client.until("token_expiring")
            assert abs(expiring["expires"] - time.time_ns() / 1000) < 2e6
            assert await client.closed() == CloseCode.TOKEN_EXPIRED

    run(scenario())


def test_auth_renews_without_interruption(run, gateway, ws, feed, nats_server, key) -> None:
    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:BTC-USD") as raw,
            gateway(nats_server.url, auth_key_file=(key,), **TELLING) as server,
        ):
            await raw.announce([1, 1], [2, 1])
            client = await ws.open(server.port, **bearer(lasts_s=1))
            client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:BTC-USD"]})
            await client.until("snapshot")
            await client.until("token_expiring")
            for wrong in ("x", token("bob"), token(lasts_s=-100)):
                client.send({"op": "auth", "id": 1, "token": wrong})
                error = await client.until("error")
                assert (error["id"], error["code"]) == (1, "unauthorized")
                assert error["message"] == "the token is not valid for this session"
            client.send({"op": "auth", "id": 2, "token": token(lasts_s=60)})
            answer = await client.until("authenticated", id=2)
            assert answer["expires"] > time.time_ns() / 1000 + 50e6
            seq = await raw.book([1, 2], [])
            assert (await client.until("delta"))["last"] == seq
            client.send({"op": "auth", "id": 3, "token": token(lasts_s=60, md={"grants": []})})
            assert (await client.until("unsubscribed"))["reason"] == "not_entitled"

    run(scenario())


@pytest.mark.parametrize("kind", ["subject", "session", "key", "token"])
def test_a_revocation_ends_sessions_on_all_gateways(
    run, gateway, ws, upgrade, nats_server, key, kind
) -> None:
    async def scenario() -> None:
        options = {"auth_key_file": (key,)}
        async with gateway(nats_server.url, **options) as one, gateway(nats_server.url, **options) as two:
            await known(one, two)
            mine = bearer(jti="mine")
            clients = [await ws.open(each.port, **mine) for each in (one, two)]
            welcomes = [await client.recv() for client in clients]
            other = await ws.open(one.port, **bearer("bob", jti="other"))
            await other.recv()
            identity = next(iter(one._sessions)).context.identity
            name = {
                "subject": "alice",
                "token": "mine",
                "key": identity.key_id,
                "session": welcomes[0]["session"],
            }
            await revoke(nats_server.url, kind, name[kind])
            assert await clients[0].closed() == CloseCode.TOKEN_EXPIRED
            if kind == "session":
                clients[1].send({"op": "ping"})
                await clients[1].until("pong")
                await ws.open(one.port, **mine)
                return
            assert await clients[1].closed() == CloseCode.TOKEN_EXPIRED
            assert await status(one.port, upgrade(**mine)) == 401  # it has left the cache
            if kind == "key":
                assert await other.closed() == CloseCode.TOKEN_EXPIRED
                return
            other.send({"op": "ping"})
            await other.until("pong")
            later = {"iat": time.time() + 1}
            assert await status(one.port, upgrade(**bearer("bob"))) == 101
            await ws.open(one.port, **bearer(jti="fresh", **later))  # alice, issued after the revocation

    run(scenario())


def test_a_gateway_that_starts_later_knows_and_a_lifted_one_holds_no_longer(
    run, gateway, ws, upgrade, nats_server, key
) -> None:
    async def scenario() -> None:
        await revoke(nats_server.url, "subject", "alice")
        await revoke(nats_server.url, "subject", "bob", until_us=1)
        async with gateway(nats_server.url, auth_key_file=(key,)) as server:
            await known(server)
            past = {"iat": time.time() - 10}
            assert await status(server.port, upgrade(**bearer(**past))) == 401
            await ws.open(server.port, **bearer("bob", **past))
            await revoke(nats_server.url, "subject", "alice", lifted=True)
            while await status(server.port, upgrade(**bearer(**past))) == 401:
                await asyncio.sleep(0.01)

    run(scenario())


def test_while_nats_is_away_new_clients_and_fresh_tokens_wait_if_so_configured(
    run, gateway, ws, http, upgrade, nats_server, key
) -> None:
    async def scenario() -> None:
        options = {"auth_key_file": (key,), "auth_revocations_unknown": "closed"}
        async with gateway(nats_server.url, **options) as server:
            await known(server)
            assert await status(server.port, upgrade(**bearer())) == 101
            client = await ws.open(server.port, **bearer())
            nats_server.kill()
            while server._control.known:
                await asyncio.sleep(0.01)
            answer = await http(server.port, upgrade(**bearer()))
            assert answer.status == 503 and "retry-after" in answer.headers
            fresh = bearer()["Authorization"].removeprefix("Bearer ")
            client.send({"op": "auth", "id": 1, "token": fresh})
            assert (await client.until("error"))["code"] == "unavailable"
            await nats_server.restart()
            while await status(server.port, upgrade(**bearer())) != 101:
                await asyncio.sleep(0.05)
            client.send({"op": "auth", "id": 2, "token": fresh})
            await client.until("authenticated")

    run(scenario())


def test_one_session_of_a_subject_on_all_gateways(run, gateway, ws, nats_server, key, monkeypatch) -> None:
    # A later session has the greater name: who is the older does not depend on when its news arrives.
    names = count()
    monkeypatch.setattr("mdstream._core.entry.welcome.secrets.token_hex", lambda _: f"{next(names):016x}")

    async def scenario() -> None:
        options = {"auth_key_file": (key,), "auth_single_session": True}
        async with gateway(nats_server.url, **options) as one, gateway(nats_server.url, **options) as two:
            await known(one, two)
            first = await ws.open(one.port, **bearer())
            await first.recv()
            other = await ws.open(one.port, **bearer("bob"))
            second = await ws.open(one.port, **bearer())
            assert await first.closed() == CloseCode.REPLACED
            one._sessions.single._now_s = lambda: time.monotonic() + 60  # the second one is old
            third = await ws.open(two.port, **bearer())
            assert await second.closed() == CloseCode.REPLACED
            for client in (third, other):
                client.send({"op": "ping"})
                await client.until("pong")

    run(scenario())


def test_a_client_with_two_lines_has_a_session_on_each(
    run, gateway, ws, http, upgrade, nats_server, key
) -> None:
    async def scenario() -> None:
        options = {"auth_key_file": (key,), "auth_single_session": True}
        async with gateway(nats_server.url, **options) as one, gateway(nats_server.url, **options) as two:
            await known(one, two)
            for server in (one, two):
                server._sessions.single._now_s = lambda: time.monotonic() + 60  # all that is open is old
            two_lines = {"lines": 2, "policy": QUICK, "token": token()}
            async with connect_client([one.url, two.url], **two_lines) as client:
                while {line.state for line in client.lines} != {"open"}:
                    await asyncio.sleep(0.01)
                later = await ws.open(one.port, path="/v1/stream?line=2", **bearer())
                while client.lines[1].stats.reconnects == 0:
                    await asyncio.sleep(0.01)
                assert client.lines[0].stats.reconnects == 0
                assert await later.closed() == CloseCode.REPLACED, "the client's line comes back"
            answer = await http(one.port, upgrade("/v1/stream?line=3", **bearer()))
            assert answer.status == 400 and b"line must be 1 or 2" in answer.body

    run(scenario())


def test_the_client_renews_its_token(run, gateway, feed, nats_server, key) -> None:
    async def scenario() -> None:
        given: list[str] = []

        async def fresh() -> str:
            given.append(token(lasts_s=1 if not given else 60))
            return given[-1]

        async with (
            feed(nats_server.url, "SIM:BTC-USD") as raw,
            gateway(nats_server.url, auth_key_file=(key,), **TELLING) as server,
        ):
            await raw.announce([1, 1], [2, 1])
            async with connect_client(server.url, token=fresh) as client:
                book = await client.book("SIM:BTC-USD")
                while (
                    next(iter(server._sessions)).context.identity.expires_us < time.time_ns() // 1000 + 30e6
                ):
                    await asyncio.sleep(0.01)
                assert (len(given), client.stats.reconnects, book.state) == (2, 0, "live")

    run(scenario())


def test_a_client_without_another_token_is_closed_for_good(run, gateway, nats_server, key) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,), **ENDING) as server:
            client = await connect_client(server.url, token=token(lasts_s=2))
            with pytest.raises(ConnectionLost) as lost:
                await client.wait_closed()
            assert lost.value.code == CloseCode.TOKEN_EXPIRED
            same = token(lasts_s=2)
            client = await connect_client(server.url, token=lambda: same)
            with pytest.raises((ConnectionLost, HandshakeRefused)):
                await client.wait_closed()
            for url in (server.url, f"{server.url}?reject=close"):
                with pytest.raises((HandshakeRefused, ConnectionLost)):
                    await connect_client(url, token="wrong")

    run(scenario())


def test_who_may_see_nothing_is_let_in_and_sees_nothing(run, gateway, ws, nats_server, key) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,)) as server:
            client = await ws.open(server.port, **bearer(md={"grants": []}))
            client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:BTC-USD"]})
            assert (await client.until("error"))["code"] == "not_entitled"

    run(scenario())
