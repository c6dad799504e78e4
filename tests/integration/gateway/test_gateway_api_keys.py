"""API keys, from the file that ``mdstream token`` writes to a session, with the Python client and by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdstream.auth.client_key import ClientKey
from mdstream.cli.main import main
from mdstream.client import ConnectionFailed, HandshakeRefused, SubscriptionRefused, connect
from mdstream.client.transport_picows import PicowsDial

TARGET = "/v1/stream"


@pytest.fixture(params=["EdDSA", "HS256"])
def key(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> tuple[ClientKey, Path]:
    """The two halves of a key for desk-3, which may see SIM:BTC-USD alone."""
    monkeypatch.chdir(tmp_path)
    words = ["token", "--new-api-key", "bot", "--subject", "desk-3", "--instruments", "SIM:BTC*"]
    assert main([*words, "--algorithm", request.param]) == 0
    path = tmp_path / "api-keys.toml"
    path.write_text(capsys.readouterr().out)
    return ClientKey.read(tmp_path / "bot.apikey"), path


async def known(*gateways: Any) -> None:
    while not all(gateway._control.known for gateway in gateways):
        await asyncio.sleep(0.01)


def test_the_client_signs_each_connection_and_sees_what_its_key_allows(
    run: Callable[..., Any], gateway: Any, feed: Any, nats_server: Any, key: tuple[ClientKey, Path]
) -> None:
    own, file = key

    async def scenario() -> None:
        async with (
            feed(nats_server.url, "SIM:BTC-USD") as raw,
            gateway(nats_server.url, auth_api_keys_file=file) as server,
        ):
            await raw.announce([1, 1], [2, 1])
            async with connect(f"{server.url}?x=1", api_key=own) as client:
                book = await client.book("SIM:BTC-USD")
                assert book.bids.tolist() == [[1, 1]]
                with pytest.raises(SubscriptionRefused) as refused:
                    await client.book("SIM:ETH-USD")
                assert refused.value.code == "not_entitled"
                for session in server._sessions:
                    session.close(1012)
                while client.stats.reconnects == 0 or client.welcome is None:
                    await asyncio.sleep(0.01)
            assert server.audit.logins_total == {"api_key": 2}

    run(scenario())


def test_a_key_that_the_gateway_does_not_know_is_refused_with_a_hint(
    run: Callable[..., Any], gateway: Any, nats_server: Any, key: tuple[ClientKey, Path]
) -> None:
    other = ClientKey("else", key[0].sign)

    async def scenario() -> None:
        async with gateway(nats_server.url, auth_api_keys_file=key[1]) as server:
            with pytest.raises(HandshakeRefused, match="401.*does the gateway know the API key") as refused:
                await connect(server.url, api_key=other)
            assert refused.value.status == 401
            with pytest.raises(HandshakeRefused, match="brought neither a token nor an API key"):
                await connect(server.url)
            with pytest.raises(ValueError, match="not both"):
                connect(server.url, api_key=other, token="x")

    run(scenario())


def test_a_signed_request_is_good_once_on_all_gateways(
    run: Callable[..., Any],
    gateway: Any,
    http: Any,
    upgrade: Any,
    nats_server: Any,
    key: tuple[ClientKey, Path],
) -> None:
    async def scenario() -> None:
        options = {"auth_api_keys_file": key[1]}
        async with gateway(nats_server.url, **options) as one, gateway(nats_server.url, **options) as two:
            await known(one, two)
            signed = key[0].headers(host="md.example", target=TARGET, time_ms=time.time_ns() // 1_000_000)
            request = upgrade(
                TARGET, Host="md.example", **{k.replace("-", "_"): v for k, v in signed.items()}
            )
            remembered = two._authenticator.api_keys._nonces
            reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
            writer.write(request)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 101")
            while len(remembered) == 0:
                await asyncio.sleep(0.01)
            for server in (two, one):
                assert (await http(server.port, request)).status == 401
            assert two.audit.refusals_total == {("credentials", "replayed"): 1}
            writer.close()

    run(scenario())


def test_a_redirect_does_not_carry_a_credential_elsewhere(
    run: Callable[..., Any], key: tuple[ClientKey, Path]
) -> None:
    async def scenario() -> None:
        asked: list[bytes] = []

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            port = writer.get_extra_info("sockname")[1]
            place = f"ws://127.0.0.1:{port}/elsewhere"
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()

        server = await asyncio.start_server(redirect, "127.0.0.1", 0)
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{TARGET}"
        for options in ({"token": "abc"}, {"api_key": key[0]}):
            with pytest.raises((HandshakeRefused, ConnectionFailed), match="302"):
                await connect(url, **options)
        assert [each.split()[1] for each in asked] == [b"/v1/stream"] * 2
        server.close()

    run(scenario())


def test_the_host_that_is_signed_is_the_host_that_is_sent(run: Callable[..., Any], key: Any) -> None:
    async def scenario() -> None:
        heads: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HandshakeRefused):
            await connect(f"ws://user:pass@127.0.0.1:{port}{TARGET}?a=b", dial=PicowsDial(api_key=key[0]))
        assert heads[0].lower().count(b"\r\nhost: ") == 1
        assert f"\r\nHost: 127.0.0.1:{port}\r\n".encode() in heads[0]
        server.close()

    run(scenario())
