"""Old and new version of gateway, client and feed handler, in every mix: no client is shown a wrong book.

``make mixes`` runs all; the old tree is that of MDSTREAM_OLD_TREE, built.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from pathlib import Path

import pytest

from deploy.conftest import ROOT, System, until_ready
from deploy.truth_tap import Compared
from support.ports import free_port

OLD = os.environ.get("MDSTREAM_OLD_TREE", "")
NAMES = ("SIM:BTC-USD", "SIM:ETH-USD")
AGES = ("old", "new")
FOLLOW_S = 4.0

pytestmark = [
    pytest.mark.complete,
    pytest.mark.skipif(not OLD, reason="MDSTREAM_OLD_TREE names no built tree of the old version"),
]


def tree(age: str) -> Path:
    return Path(OLD).resolve() if age == "old" else ROOT


@pytest.mark.parametrize(("gateway", "client", "feed"), list(itertools.product(AGES, AGES, AGES)))
def test_a_mix_shows_no_wrong_book(
    run, nats_server, system: System, tapping, report, gateway: str, client: str, feed: str
) -> None:
    """One gateway of that version beside one of the other; the clients change from one to the other and back."""

    async def scenario() -> None:
        nats = f"file:{nats_server.url_path}"
        other = AGES[gateway == "old"]
        ports = [free_port() for _ in range(4)]
        quick = ("--drain-spread-ms", "500", "--drain-deadline-ms", "3000")
        async with tapping(nats_server.url) as tap:
            system.feed(
                nats,
                "--rate",
                "500",
                "--instruments",
                "BTC-USD,ETH-USD",
                "--halts-per-hour",
                "0",
                tree=tree(feed),
            )
            one = system.gateway(nats, *ports[:2], *quick, tree=tree(gateway))
            system.gateway(nats, *ports[2:], *quick, tree=tree(other))
            for admin_port in (ports[1], ports[3]):
                await until_ready(admin_port)
            url = ",".join(f"ws://127.0.0.1:{port}/v1/stream" for port in (ports[0], ports[2]))
            followers = [
                system.clients(url, 4, format, *NAMES, tree=tree(client)) for format in ("json", "msgpack")
            ]
            for each in followers:
                await each.ready()
            await asyncio.sleep(FOLLOW_S)
            await asyncio.to_thread(one.end, signal.SIGTERM)
            await asyncio.sleep(FOLLOW_S / 2)
            system.gateway(nats, *ports[:2], *quick, tree=tree(gateway))
            await until_ready(ports[1])
            await asyncio.sleep(FOLLOW_S / 2)
            seen = [found for each in followers for found in await each.end()]
        compared = Compared(tap, seen)
        report(f"gateway {gateway}, client {client}, feed {feed}: {compared}")
        assert compared.wrong == []
        assert compared.holes == 0
        assert compared.right > 1_000
        assert compared.unknown <= 8 * len(
            NAMES
        )  # what a first snapshot may show that was published before the tap
        assert all(book["state"] == "live" for each in seen for book in each["books"].values())

    run(scenario(), 120, debug=False)
