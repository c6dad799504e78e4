"""Credentials in the handshake: where a token may come from, what a wrong one is told, and that all wrong ones are told the same."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mdstream.codes import CloseCode
from mdstream.errors import ConfigError
from mdstream.gateway import Gateway, GatewayConfig
from support.tokens import CLAIMS, EVERYTHING, by_hand, public_pem, sign

ORIGIN = "https://app.example.com"


def token(*, lasts_s: float = 600, subject: str = "alice", **more: Any) -> str:
    now_s = int(time.time())
    return sign({**CLAIMS, "sub": subject, "exp": now_s + lasts_s, "iat": now_s, **more}).decode()


def refused(answer: Any) -> tuple[int, bytes, dict[str, str]]:
    return (
        answer.status,
        answer.body,
        {name: value for name, value in answer.headers.items() if name != "date"},
    )


def test_a_token_opens_by_header_subprotocol_and_query(run, gateway, ws, nats_server, key) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,), auth_query_token=True) as server:
            for format in ("json", "msgpack"):
                client = await ws.open(server.port, format, Authorization=f"Bearer {token()}")
                assert (await client.recv())["type"] == "welcome"
                name = f"mdstream.v1.{format}"
                for offer in (f"{name}, bearer.{token()}", f"bearer.{token()},{name}"):
                    client = await ws.open(server.port, format, Sec_WebSocket_Protocol=offer)
                    assert client.response.headers["sec-websocket-protocol"] == name
                    assert (await client.recv())["type"] == "welcome"
            client = await ws.open(server.port, path=f"/v1/stream?x=1&token={token()}")
            assert (await client.recv())["type"] == "welcome"

    run(scenario())


def test_the_header_counts_before_the_subprotocol_and_that_before_the_query(
    run, gateway, ws, http, upgrade, nats_server, key
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,), auth_query_token=True) as server:
            good, bad = token(), "bad"
            cases = {
                (good, bad, bad): 101,
                (bad, good, good): 401,
                (None, good, bad): 101,
                (None, bad, good): 401,
                (None, None, good): 101,
            }
            for (header, protocol, query), status in cases.items():
                path = "/v1/stream" + (f"?token={query}" if query else "")
                fields = {
                    "Authorization": header and f"Bearer {header}",
                    "Sec_WebSocket_Protocol": "mdstream.v1.json"
                    + (f", bearer.{protocol}" if protocol else ""),
                }
                if status == 101:
                    await ws.open(server.port, path=path, **fields)
                else:
                    assert (await http(server.port, upgrade(path, **fields))).status == 401

    run(scenario())


def test_every_wrong_credential_is_told_the_same(
    run, gateway, http, upgrade, nats_server, key, caplog
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,)) as server:
            wrong = [
                None,
                "Bearer ",
                "Basic YTpi",
                "Bearer nonsense",
                f"Bearer {token(lasts_s=-100)}",
                f"Bearer {token(aud='other')}",
                f"Bearer {token(exp=0)}",
                f"Bearer {sign(CLAIMS, 'EdDSA', Ed25519PrivateKey.generate()).decode()}",
                f"Bearer {by_hand({'alg': 'none'}, CLAIMS, signature=b'').decode()}",
                f"Bearer {by_hand({'alg': 'HS256'}, CLAIMS, public_pem('EdDSA')).decode()}",
                "Bearer " + "A" * 9000,
            ]
            answers = [
                refused(await http(server.port, upgrade(Authorization=each, X_Odd=odd)))
                for each in wrong
                for odd in (None, "é")  # the usual and the unusual way
            ]
            assert all(answer == answers[0] for answer in answers)
            status, body, headers = answers[0]
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert len(body) < 100
            query = await http(server.port, upgrade(f"/v1/stream?token={token()}"))  # off unless configured
            assert refused(query) == answers[0]
            assert len(server._sessions) == 0
            assert (
                sum(
                    count for (what, _), count in server.audit.refusals_total.items() if what == "credentials"
                )
                == 2 * len(wrong) + 1
            )

    run(scenario())
    assert "nonsense" not in caplog.text and "eyJ" not in caplog.text


def test_a_page_is_told_by_a_close_code(run, gateway, ws, nats_server, key) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,)) as server:
            for format in ("json", "msgpack"):
                client = await ws.open(server.port, format, path="/v1/stream?reject=close")
                error = await client.recv()
                assert (error["type"], error["code"]) == ("error", "unauthorized")
                assert await client.closed() == CloseCode.TOKEN_EXPIRED
            good = await ws.open(
                server.port, path="/v1/stream?reject=close", Authorization=f"Bearer {token()}"
            )
            assert (await good.recv())["type"] == "welcome"
            assert server._sessions.opened_total == 1

    run(scenario())


def test_a_page_of_elsewhere_is_403_before_any_credential(
    run, gateway, ws, http, upgrade, nats_server, key
) -> None:
    async def scenario() -> None:
        options = {"auth_key_file": (key,), "origin_allow": (ORIGIN, "https://*.example.org")}
        async with gateway(nats_server.url, **options) as server:
            for origin in (
                "https://evil.example",
                "null",
                "https://example.org",
                f"{ORIGIN}.evil.example",
                "x",
            ):
                for more in ({}, {"X_Odd": "é"}):
                    answer = await http(
                        server.port, upgrade(Origin=origin, Authorization=f"Bearer {token()}", **more)
                    )
                    assert answer.status == 403, origin
            for origin in (ORIGIN, "https://a.b.example.org", None):
                await ws.open(server.port, Origin=origin, Authorization=f"Bearer {token()}")

    run(scenario())


def test_without_credentials_pages_of_this_machine_alone_may_connect(
    run, gateway, ws, http, upgrade, nats_server
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            here = f"127.0.0.1:{server.port}"
            await ws.open(server.port, Host=here, Origin=f"http://{here}")
            for host, origin in (
                (here, "http://evil.example"),
                (here, "http://127.0.0.1:1"),
                (f"evil.example:{server.port}", f"http://evil.example:{server.port}"),  # DNS rebinding
            ):
                assert (await http(server.port, upgrade(Host=host, Origin=origin))).status == 403

    run(scenario())


def test_frames_that_come_before_the_answer_wait_for_it(run, gateway, ws, nats_server, key, upgrade) -> None:
    """Such a client is too early, but what it says is neither lost nor taken for another request."""

    async def scenario() -> None:
        async with gateway(nats_server.url, auth_key_file=(key,)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            ping = b"\x81\x8d\x00\x00\x00\x00" + b'{"op":"ping"}'
            writer.write(upgrade(Authorization=f"Bearer {token()}") + ping)
            await reader.readuntil(b'"type":"pong"')
            writer.close()

    run(scenario())


def test_strangers_are_not_served_by_accident() -> None:
    with pytest.raises(ConfigError, match="--auth none"):
        Gateway(GatewayConfig(host="0.0.0.0"))
    with pytest.raises(ConfigError, match="remove one"):
        GatewayConfig(auth="none", auth_secret="x" * 32)


def test_anonymous_clients_only_if_configured(run, gateway, ws, http, upgrade, nats_server, key) -> None:
    async def scenario() -> None:
        from mdstream.auth.entitlements import Entitlements

        anonymous = Entitlements.from_claim(EVERYTHING)
        async with gateway(nats_server.url, auth_key_file=(key,), auth_anonymous=anonymous) as server:
            await ws.open(server.port)
            assert (await http(server.port, upgrade(Authorization="Bearer x.y.z"))).status == 401

    run(scenario())
