"""A gateway with several workers as its users see it: one port, one set of limits, one page of metrics, one drain."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mdstream.bus import connect as connect_bus
from mdstream.client import HandshakeRefused, connect
from support.program import Program, alive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several workers need Linux")

QUICK = ("--drain-spread-ms", "200", "--drain-deadline-ms", "3000")


class Workers:
    """A running gateway."""

    def __init__(self, program: Program) -> None:
        self.program = program
        found = program.until_error(
            r"serving clients at (ws://\S+), probes and metrics at (http://\S+) \(2 workers\)"
        )
        self.url, self.admin = found[1], found[2]
        program.until_error("connected to NATS[^\n]*worker=1")
        program.until_error("connected to NATS[^\n]*worker=2")

    def pid(self, number: int) -> int:
        """Of the worker's newest process."""
        return int(re.findall(rf"worker {number} is process (\d+)", self.program.errors)[-1])

    def pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"worker \d is process (\d+)", self.program.errors)]

    async def get(self, path: str) -> tuple[int, str]:
        return await asyncio.to_thread(fetch, self.admin + path)

    async def metric(self, name: str) -> float:
        _, page = await self.get("/metrics")
        return float(next(line.split()[-1] for line in page.splitlines() if line.startswith(name)))

    async def until(self, name: str, value: float) -> None:
        while await self.metric(name) != value:
            await asyncio.sleep(0.05)

    async def until_ready(self) -> None:
        while (await self.get("/readyz"))[0] != 200:
            await asyncio.sleep(0.05)

    async def said(self, pattern: str) -> None:
        await asyncio.to_thread(self.program.until_error, pattern)


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[..., Workers]]:
    running: list[Program] = []

    def begin(*arguments: str) -> Workers:
        temporary = tmp_path / "tmp"
        temporary.mkdir(exist_ok=True)
        program = Program(
            "mdstream.cli",
            "serve",
            "--workers",
            "2",
            "--port",
            "0",
            "--admin-port",
            "0",
            *QUICK,
            *arguments,
            temporary=temporary,
        )
        running.append(program)
        return Workers(program)

    yield begin
    for program in running:
        program.__exit__(None, None, None)
        for pid in (int(pid) for pid in re.findall(r"worker \d is process (\d+)", program.errors)):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


async def on_both(stack: AsyncExitStack, found: Workers, most: int = 64) -> int:
    """Connects until each worker has a client, and returns how many there are: the kernel chooses by the client's port."""
    nodes: set[str] = set()
    for count in range(1, most + 1):
        client = await stack.enter_async_context(connect(found.url))
        nodes.add(client.welcome.node)
        if nodes == {"gw-1", "gw-2"}:
            return count
    raise AssertionError("all connections went to one worker")


def test_it_is_one_gateway(run, nats_server, workers, market, follower) -> None:
    async def scenario() -> None:
        found = workers("--nats", nats_server.url, "--node", "gw")
        await found.until_ready()
        async with AsyncExitStack() as stack:
            count = await on_both(stack, found)
            await found.until("mdstream_connections ", count)
        _, page = await found.get("/metrics")
        for wanted in ('mdstream_info{node="gw"', 'mdstream_worker_ready{worker="2"} 1.0', 'worker="1"'):
            assert wanted in page
        assert page.count("\nmdstream_connections_opened_total ") == 1
        assert (await found.get("/refused"))[1].strip() == "{}"
        async with market(nats_server.url) as sim, follower(found.url, "msgpack") as each:
            await each.subscribe()
            await sim.play(50)
            await sim.touch()
            await each.ends_as(sim)
        assert await asyncio.to_thread(found.program.end, signal.SIGTERM) == 0
        assert not any(map(alive, found.pids()))
        assert "Traceback" not in found.program.errors

    run(scenario(), 90)


def test_a_worker_that_dies_is_started_again_and_others_take_its_connections(
    run, nats_server, workers
) -> None:
    async def scenario() -> None:
        found = workers("--nats", nats_server.url, "--node", "gw")
        os.kill(found.pid(1), signal.SIGKILL)
        await found.said("worker 1 ended with status -9; it is started again at once")
        for _ in range(8):  # of which half are for the worker that is not there
            async with connect(found.url) as client:
                assert client.welcome.node in ("gw-1", "gw-2")
        await found.until('mdstream_worker_ready{worker="1"}', 1)
        assert await found.metric('mdstream_worker_starts_total{worker="1"}') == 2
        await found.until_ready()

    run(scenario(), 90)


def test_the_connections_of_a_worker_that_hangs_go_to_the_others(run, nats_server, workers) -> None:
    async def scenario() -> None:
        found = workers("--nats", nats_server.url, "--node", "gw")
        os.kill(found.pid(2), signal.SIGSTOP)
        await found.until('mdstream_worker_ready{worker="2"}', 0)
        for _ in range(8):
            async with connect(found.url) as client:
                assert client.welcome.node == "gw-1"
        os.kill(found.pid(2), signal.SIGCONT)
        await found.until('mdstream_worker_ready{worker="2"}', 1)

    run(scenario(), 90)


def test_limits_hold_over_all_workers_and_change_at_sighup(run, nats_server, workers, tmp_path) -> None:
    async def scenario() -> None:
        config = tmp_path / "gateway.toml"
        config.write_text("[limits]\nexempt = []\naddress_connections = 5\n")
        found = workers("--nats", nats_server.url, "--node", "gw", "--config", str(config))
        async with AsyncExitStack() as stack:
            await fill(stack, found, 5)
            await raise_limit(found, config)
            await fill(stack, found, 2)

    async def fill(stack: AsyncExitStack, found: Workers, count: int) -> None:
        for _ in range(count):
            await stack.enter_async_context(connect(found.url))
        for _ in range(6):  # whichever worker is asked
            with pytest.raises(HandshakeRefused, match="429"):
                await stack.enter_async_context(connect(found.url))

    async def raise_limit(found: Workers, config: Path) -> None:
        await asyncio.to_thread(config.write_text, "[limits]\nexempt = []\naddress_connections = 7\n")
        found.program.signal(signal.SIGHUP)
        await found.said(r"SIGHUP: the settings limits_address_connections have changed worker=1")
        await found.said(r"SIGHUP: the settings limits_address_connections have changed worker=2")

    run(scenario(), 90)


def test_workers_are_replaced_one_by_one_and_no_client_misses_anything(
    run, nats_server, workers, market, follower
) -> None:
    async def scenario() -> None:
        found = workers("--nats", nats_server.url, "--node", "gw")
        before = found.pids()
        async with (
            market(nats_server.url) as sim,
            follower(found.url, "msgpack") as one,
            follower(found.url, "json") as two,
        ):
            for each in (one, two):
                await each.subscribe()
            await sim.play(20)
            found.program.signal(signal.SIGUSR2)
            replaced = asyncio.ensure_future(found.said("all workers have been restarted"))
            while not replaced.done():
                await sim.play(5)
                await asyncio.sleep(0)
            await sim.touch()
            for each in (one, two):
                await each.ends_as(sim)
                assert each.client.stats.reconnects >= 1
        assert not any(map(alive, before))
        assert await found.metric("mdstream_connections_closed_total") >= 0
        assert (await found.get("/readyz"))[0] == 200

    run(scenario(), 120)


def test_a_second_signal_ends_it_at_once(run, nats_server, workers) -> None:
    async def scenario() -> None:
        found = workers(
            "--nats",
            nats_server.url,
            "--node",
            "gw",
            "--drain-spread-ms",
            "60000",
            "--drain-deadline-ms",
            "60000",
        )
        async with connect(found.url) as client:
            client.on_state(lambda state: None)
            found.program.signal(signal.SIGTERM)
            await found.said("SIGTERM: stopping")
            while (await found.get("/readyz")) != (503, "draining\n"):
                await asyncio.sleep(0.05)
            assert await asyncio.to_thread(found.program.end, signal.SIGTERM) == 0
        assert not any(map(alive, found.pids()))

    run(scenario(), 90)


def test_workers_end_with_their_supervisor(run, nats_server, workers) -> None:
    async def scenario() -> None:
        found = workers("--nats", nats_server.url, "--node", "gw")
        found.program.signal(signal.SIGKILL)
        while any(map(alive, found.pids())):
            await asyncio.sleep(0.05)

    run(scenario(), 90)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--workers", "2", "--delay-ms", "900000"), 2, "MD_LOG must keep 1500 s"),
        (("--workers", "300"), 2, "--workers is 300; it must be a whole number from 0 to 256"),
    ],
)
def test_what_cannot_be_served_ends_it_with_one_reason(
    nats_server, tmp_path, arguments, code, message
) -> None:
    options = ("--nats", nats_server.url, "--port", "0", "--admin-port", "0", *arguments)
    asyncio.run(_make_streams(nats_server.url))
    with Program("mdstream.cli", "serve", *options, temporary=tmp_path) as program:
        assert program.end() == code
        assert message in program.errors
        assert "Traceback" not in program.errors


async def _make_streams(url: str) -> None:
    async with await connect_bus(url) as bus:
        await bus.ensure_streams()


def test_a_port_in_use_is_refused(nats_server, workers, tmp_path) -> None:
    found = workers("--nats", nats_server.url)
    port = found.url.split(":")[2].split("/")[0]
    options = ("--nats", nats_server.url, "--workers", "2", "--port", port, "--admin-port", "0")
    with Program("mdstream.cli", "serve", *options, temporary=tmp_path) as program:
        assert program.end() == 1
        assert f"cannot listen on 127.0.0.1:{port} for clients: address already in use" in program.errors


def test_operators_see_all_workers_as_one_gateway(run, nats_server, workers) -> None:
    async def scenario() -> None:
        found = workers("--nats", nats_server.url, "--node", "gw")
        await found.until_ready()
        async with AsyncExitStack() as stack:
            count = await on_both(stack, found)
            listed = json.loads((await found.get("/v1/sessions"))[1])["sessions"]
            assert len(listed) == count and {row["worker"] for row in listed} == {1, 2}
            shown = json.loads((await found.get("/v1/status"))[1])
            assert shown["counts"]["connections"] == count and shown["node"] == "gw"
            assert [worker["not_ready"] for worker in shown["workers"]] == [None, None]
            last = {row["worker"]: row["session"] for row in listed}
            for session in last.values():
                await trace(found, session)
        assert (await found.get("/v1/trace?session=0123456789abcdef"))[0] == 404

    async def trace(found: Workers, session: str) -> None:
        """Its first line, through the supervisor."""
        reader, writer = await asyncio.open_connection(*found.admin.removeprefix("http://").split(":"))
        writer.write(f"GET /v1/trace?session={session} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert json.loads(await reader.readline())["session"] == session
        writer.close()
        await writer.wait_closed()

    run(scenario(), 90)
