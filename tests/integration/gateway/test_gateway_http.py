"""What HTTP requests are answered, on both ports."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from mdstream.gateway.handshake import SUBPROTOCOLS


def test_refusals_before_the_upgrade(run, nats_server, gateway, http, upgrade, caplog) -> None:
    cases = [
        (upgrade("/"), 404),
        (upgrade("/v1/streams"), 404),
        (upgrade(Sec_WebSocket_Protocol="chat"), 400),
        (upgrade(Sec_WebSocket_Version="12"), 400),
        (upgrade(Sec_WebSocket_Version=None), 400),
        (upgrade(Sec_WebSocket_Key="short"), 400),
        (upgrade(Sec_WebSocket_Key=None), 400),
        (upgrade(Upgrade="h2c"), 400),
        (upgrade(Connection="close"), 400),
        (upgrade(Host=None), 400),
        (b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST /v1/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 400),
        (b"GET /v1/stream HTTP/1.0\r\nHost: x\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ]

    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            for raw, status in cases:
                response = await http(server.port, raw)
                assert response.status == status, raw
                assert response.body, "a refusal says why"

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert caplog.records == []


def test_health_checks_of_every_kind_on_both_ports(run, nats_server, gateway, http) -> None:
    """HAProxy's `option httpchk` sends `OPTIONS / HTTP/1.0`; probes send HEAD, or GET in HTTP/1.0."""
    on_admin = {
        b"OPTIONS / HTTP/1.0\r\n\r\n": 200,
        b"GET /readyz HTTP/1.0\r\n\r\n": 200,
        b"HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n": 200,
        b"HEAD /healthz HTTP/1.0\r\n\r\n": 200,
        b"GET http://x/readyz HTTP/1.1\r\nHost: x\r\n\r\n": 200,
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n": 200,
        b"HEAD /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n": 404,
        b"DELETE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n": 405,
    }
    on_public = {
        b"OPTIONS / HTTP/1.0\r\n\r\n": 200,
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n": 200,
        b"HEAD / HTTP/1.0\r\n\r\n": 404,
        b"GET / HTTP/1.0\r\n\r\n": 404,
        b"HEAD /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n": 400,
        b"GET /v1/stream HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n": 400,
    }

    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            for port, requests in ((server.admin_port, on_admin), (server.port, on_public)):
                for raw, status in requests.items():
                    response = await http(port, raw)
                    assert response.status == status, raw
                    assert int(response.headers["content-length"]) > 0
                    assert (response.body == b"") == raw.startswith(b"HEAD"), raw
            refused = await http(server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b'refused_total{status="200"}' not in refused.body

    run(scenario())


@pytest.mark.parametrize("name", SUBPROTOCOLS)
def test_the_subprotocol_is_echoed_and_a_token_is_not(name, run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            client = await ws.open(
                server.port, name.split(".")[-1], Sec_WebSocket_Protocol=f"bearer.secret, {name}"
            )
            assert client.response.headers["sec-websocket-protocol"] == name
            assert (await client.recv())["type"] == "welcome"
            plain = await ws.open(server.port, Sec_WebSocket_Protocol=None)
            assert "sec-websocket-protocol" not in plain.response.headers
            assert (await plain.recv())["type"] == "welcome"

    run(scenario())


def test_a_browsers_connection_header_is_understood(run, nats_server, gateway, ws) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            client = await ws.open(server.port, Connection="keep-alive, Upgrade")
            assert (await client.recv())["type"] == "welcome"

    run(scenario())


def test_a_full_gateway_answers_503_with_retry_after(run, nats_server, gateway, ws, http, upgrade) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, max_connections=1) as server:
            first = await ws.open(server.port)
            await first.recv()
            response = await http(server.port, upgrade())
            assert response.status == 503
            assert int(response.headers["retry-after"]) > 0
            first.send_frame(8, b"\x03\xe8")
            assert await first.closed() == 1000
            while (await http(server.port, upgrade(Sec_WebSocket_Key=None))).status == 503:
                await asyncio.sleep(0.01)

    run(scenario())


def test_one_who_never_asks_for_the_upgrade_is_dropped_without_a_trace(
    run, nats_server, gateway, caplog
) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url, handshake_ms=100) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /v1/stream HT")
            assert await reader.read() == b""
            writer.close()

    with caplog.at_level(logging.WARNING, logger="mdstream"):
        run(scenario())
    assert caplog.records == []


def test_admin_pages(run, nats_server, gateway, ws, feed, http) -> None:
    async def scenario() -> None:
        async with feed(nats_server.url, "SIM:A") as pub, gateway(nats_server.url) as server:
            await pub.announce([1000, 5], [1001, 7])
            client = await ws.open(server.port)
            client.send({"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]}, {"op": "nope"})
            await client.until("snapshot")
            await pub.book([1000, 6], [])
            await client.until("delta")
            pages = {}
            for path in ("healthz", "readyz", "metrics", "nothing"):
                raw = f"GET /{path}?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
                pages[path] = await http(server.admin_port, raw)
            assert {path: page.status for path, page in pages.items()} == {
                "healthz": 200,
                "readyz": 200,
                "metrics": 200,
                "nothing": 404,
            }
            assert pages["metrics"].headers["content-type"].startswith("text/plain; version=")
            text = pages["metrics"].body.decode()
            for line in (
                "mdstream_connections 1.0",
                "mdstream_subscriptions 1.0",
                "mdstream_nats_connected 1.0",
                'mdstream_commands_total{op="subscribe"} 1.0',
                'mdstream_errors_total{code="unknown_op"} 1.0',
                'mdstream_instruments{state="live"} 1.0',
                "mdstream_snapshots_total 1.0",
            ):
                assert line in text
            assert re.search(r'mdstream_instrument_data_age_seconds\{instrument="SIM:A"\} \d', text)
            buckets = re.findall(r'mdstream_latency_seconds_bucket\{le="([^"]+)"\} (\S+)', text)
            assert buckets[-1][0] == "+Inf" and float(buckets[-1][1]) >= 1
            assert [float(count) for _, count in buckets] == sorted(float(count) for _, count in buckets)
            assert "mdstream_latency_seconds_sum" in text and "mdstream_flush_seconds_count" in text

    run(scenario())


def test_metrics_and_their_documentation_agree(run, nats_server, gateway, http, request) -> None:
    documented = (request.config.rootpath / "docs/operations.md").read_text(encoding="utf-8")

    async def scenario() -> str:
        async with gateway(nats_server.url) as server:
            page = await http(server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return page.body.decode()

    names = set(re.findall(r"^# TYPE (mdstream_\w+)", run(scenario()), re.MULTILINE))
    assert names
    shortened = {
        "mdstream_connections_refused_total": "_refused_total",
        "mdstream_connections_closed_total": "_closed_total",
    }
    missing = [
        name for name in names if f"`{name}" not in documented and shortened.get(name, name) not in documented
    ]
    assert missing == []


def test_a_page_of_a_stranger_learns_nothing_by_a_name_of_its_own(run, nats_server, gateway, http) -> None:
    """DNS rebinding: a browser here asks our admin port in the name of a site elsewhere."""

    async def scenario() -> None:
        async with gateway(nats_server.url, admin_hosts=("metrics.example",)) as server:
            for path in ("metrics", "refused", "nothing"):
                for lines in (
                    "GET /{} HTTP/1.1\r\nHost: evil.example:8081",
                    "GET /{} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
                    "GET http://evil.example/{} HTTP/1.1\r\nHost: localhost",
                ):
                    answer = await http(server.admin_port, f"{lines.format(path)}\r\n\r\n".encode())
                    assert answer.status == 403
                    assert b"mdstream_" not in answer.body
            ready = await http(server.admin_port, b"GET /readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            assert (ready.status, ready.body) == (200, b"ready\n")
            for host in ("metrics.example:9", "127.0.0.1", "[::1]:1", "localhost"):
                raw = f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
                page = await http(server.admin_port, raw)
                assert page.status == 200
            assert b'mdstream_refusals_total{reason="host",what="admin"} 9.0' in page.body

    run(scenario())


def test_every_answer_of_both_ports_has_the_security_headers(run, nats_server, gateway, http) -> None:
    async def scenario() -> None:
        async with gateway(nats_server.url) as server:
            for port, raw in (
                (server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"),
                (server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
                (server.admin_port, b"nonsense\r\n\r\n"),
                (server.port, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"),
                (server.port, b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n"),
            ):
                headers = (await http(port, raw)).headers
                assert headers["x-content-type-options"] == "nosniff", raw
                assert "frame-ancestors 'none'" in headers["content-security-policy"]
                assert headers["cache-control"] == "no-store"
                assert headers["referrer-policy"] == "no-referrer"
                assert "server" not in headers

    run(scenario())
