"""Pages in a real Chromium: which may connect, and what they see of a wrong token."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mdstream.gateway import Gateway, GatewayConfig
from support.chromium import CHROMIUM
from support.tokens import CLAIMS, public_pem, sign

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
OPTIONS = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking"

PAGE = """<!doctype html><script>
const attempts = %s;
const attempt = ([url, protocols]) => new Promise((done) => {
  const ws = new WebSocket(url, protocols);
  let first = null;
  ws.onmessage = ({ data }) => { first = JSON.parse(data).type; if (first === "welcome") { ws.close(); done("welcome"); } };
  ws.onclose = ({ code }) => done(`${first ?? "nothing"} ${code}`);
});
Promise.all(attempts.map(attempt)).then((said) => fetch(`/said?said=${encodeURIComponent(JSON.stringify(said))}`));
</script>"""


@asynccontextmanager
async def pages(page: bytes) -> AsyncIterator[tuple[int, asyncio.Future[list[str]]]]:
    """Serves one page on loopback; what the page says comes as the future's result."""
    said: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = urlsplit(head.split()[1].decode())
        if target.path == "/said" and not said.done():
            said.set_result(json.loads(parse_qs(target.query)["said"][0]))
        body = page if target.path == "/" else b""
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        )
        writer.write(head % len(body) + body)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], said
    finally:
        server.close()


async def tried(host: str, attempts: list[Any], profile: Path) -> list[str]:
    """What a page at this host name says of its attempts to connect."""
    assert CHROMIUM is not None
    async with pages((PAGE % json.dumps(attempts)).encode()) as (port, said):
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *OPTIONS.split(),
            f"--user-data-dir={profile}",
            f"http://{host}:{port}/",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            return await said
        finally:
            process.kill()
            await process.wait()


@asynccontextmanager
async def gateway(url: str, **options: Any) -> AsyncIterator[Gateway]:
    found = Gateway(GatewayConfig(nats=(url,), port=0, admin_port=0, **options))
    await found.start()
    try:
        yield found
    finally:
        await found.stop(at_once=True)


def test_a_page_of_another_site_cannot_connect(
    run: Callable[..., Any], nats_server: Any, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with (
            gateway(nats_server.url) as strict,
            gateway(nats_server.url, origin_allow=("http://127.0.0.1:*",)) as open_,
        ):
            attempts = [[each.url, ["mdstream.v1.json"]] for each in (strict, open_)]
            assert await tried("127.0.0.1", attempts, tmp_path / "one") == ["nothing 1006", "welcome"]
            assert await tried("localhost", attempts, tmp_path / "two") == ["nothing 1006", "nothing 1006"]
            assert strict._server.refused_total[403] == 2

    run(scenario(), deadline_s=90)


def test_a_page_brings_its_token_as_a_subprotocol(
    run: Callable[..., Any], nats_server: Any, tmp_path: Path
) -> None:
    async def scenario() -> None:
        key = tmp_path / "key.pub"
        key.write_bytes(public_pem("EdDSA"))
        good = sign({**CLAIMS, "exp": time.time() + 600}).decode()
        async with gateway(nats_server.url, auth_key_file=(key,), origin_allow=("*",)) as server:
            attempts = [
                [server.url, ["mdstream.v1.json", f"bearer.{good}"]],
                [server.url, ["mdstream.v1.json", "bearer.a.b.c"]],
                [f"{server.url}?reject=close", ["mdstream.v1.json", "bearer.a.b.c"]],
            ]
            said = await tried("127.0.0.1", attempts, tmp_path / "profile")
            assert said == ["welcome", "nothing 1006", "error 4401"]

    run(scenario(), deadline_s=90)
