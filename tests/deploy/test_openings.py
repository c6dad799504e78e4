"""Four gateways that open a thousand instruments each at the same moment do not overrun JetStream."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from deploy.conftest import System, until_ready
from mdstream import feed
from mdstream.client import connect
from support.ports import free_port

GATEWAYS, INSTRUMENTS = 4, 1_000
PATIENT = ("--open-timeout-ms", "80000")
"""On a machine whose cores others use too, a client may wait for its thousand longer than the usual 5 s."""
NAMES = [f"S{number}" for number in range(INSTRUMENTS)]
TROUBLE = ("no answer", "Traceback")
"""That JetStream did not answer, for one."""


async def publish(publisher: feed.Publisher) -> None:
    for name in NAMES:
        instrument = await publisher.instrument(name, price_exp=-2, size_exp=-2)
        instrument.replace_ticks([100, 1], [101, 1])
        instrument.update_ticks([100, 2], [])
    await publisher.flush()


async def open_all(client: Any) -> None:
    """Returns when every book is complete; some are still recovered when they open. All are stale soon: nothing moves."""
    books = await asyncio.gather(*(client.book(f"SIM:{name}") for name in NAMES))
    while not all(book.seq == 2 and book.state.value in ("live", "stale") for book in books):
        await asyncio.sleep(0.1)


@pytest.mark.complete
def test_four_gateways_open_a_thousand_instruments_at_once(run, nats_server, system: System, report) -> None:
    async def scenario() -> None:
        nats = f"file:{nats_server.url_path}"
        ports = [(free_port(), free_port()) for _ in range(GATEWAYS)]
        async with AsyncExitStack() as stack:
            publisher = await stack.enter_async_context(feed.connect(nats, venue="SIM"))
            await publish(publisher)
            gateways = [system.gateway(nats, *pair, *PATIENT) for pair in ports]
            clients = []
            for port, admin_port in ports:
                await until_ready(admin_port)
                url = f"ws://127.0.0.1:{port}/v1/stream"
                clients.append(await stack.enter_async_context(connect(url, format="msgpack")))
            began_s = time.monotonic()
            await asyncio.gather(*map(open_all, clients))
            took_s = time.monotonic() - began_s
            report(f"{GATEWAYS} gateways opened {INSTRUMENTS} instruments each in {took_s:.1f} s")
        for each in gateways:
            assert not [what for what in TROUBLE if what in each.errors], each.errors

    run(scenario(), 90, debug=False)
