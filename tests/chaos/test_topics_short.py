"""A few seconds of a run on topics, with one nats-server and gateways in this process: each part dies once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
import pytest

from chaos import topic_journal as journal
from chaos.topic_device import Device
from chaos.topic_judge import Findings, judge_presence
from chaos.topic_plan import DEVICES, POLICIES, READER, USERS, WRITER
from chaos.topic_publisher import Publisher
from chaos.topic_run import compare
from chaos.topic_truth import StreamTap
from mdstream.bus import EmbeddedNats
from mdstream.gateway import Gateway, GatewayConfig
from support import tokens

pytestmark = pytest.mark.complete  # on a busy machine it takes half a minute

SETTLE_S, DEADLINE_S = 20.0, 60.0
MORE = 8
"""Events between two faults."""
TOPICS = ["one.t0", "each.t0", "plain.t0"]
WHO = [(user, device) for user in USERS for device in DEVICES]


def token(subject: str, grants: list[dict[str, Any]]) -> str:
    claims = tokens.CLAIMS | {"sub": subject, "exp": 2**33, "md": {"grants": grants}}
    return tokens.sign(claims).decode()


class Parts:
    """All of it, in one process."""

    def __init__(self, server: EmbeddedNats, directory: Path) -> None:
        self.server, self.directory = server, directory
        self.key = directory / "users.pub"
        self.key.write_bytes(tokens.public_pem("EdDSA"))
        self.gateways: list[Gateway] = []
        self.devices: dict[tuple[str, str], Device] = {}
        self.publishers: list[Publisher] = []
        self.lives: dict[tuple[str, str], int] = {}
        self.running: dict[Any, asyncio.Task[None]] = {}

    async def start_gateway(self) -> None:
        gateway = Gateway(
            GatewayConfig(
                nats=(self.server.url,), port=0, admin_port=0, drain_spread_ms=0,
                auth_key_file=(self.key,), events_topics=tuple(POLICIES.split(",")),
            )
        )  # fmt: skip
        await gateway.start()
        await gateway.wait_ready()
        self.gateways.append(gateway)

    def path(self, who: Any) -> Path:
        return self.directory / "-".join(who)

    def begin(self, who: tuple[str, str], *, resting: bool = False) -> None:
        """The next life of a device."""
        self.lives[who] = self.lives.get(who, 0) + 1
        number = WHO.index(who)
        urls = [gateway.url for gateway in self.gateways]
        device = Device(
            {
                "user": who[0], "device": who[1], "life": self.lives[who], "seed": 1, "journal": self.path(who),
                "urls": urls if number % 2 else urls[::-1], "token": token(who[0], READER), "format": ("json", "msgpack")[number % 2],
                "topics": [*TOPICS, f"user.{who[0]}"], "maps": ["board.m0", "board.m1"], "halls": ["hall.h0"],
                "pause_s": 0.02, "resting": resting,
            }
        )  # fmt: skip
        self.devices[who] = device
        self.running[who] = asyncio.ensure_future(device.run())

    async def end(self, who: tuple[str, str]) -> None:
        task = self.running.pop(who)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.devices[who].journal.close()

    def publisher(self, name: str, **where: Any) -> Publisher:
        plan = {"name": name, "life": 1, "seed": 1, "journal": self.path([name]), "pause_s": 0.005} | where
        publisher = Publisher(plan | {"topics": [*TOPICS, *(f"user.{user}" for user in USERS)]})
        self.publishers.append(publisher)
        self.running[name] = asyncio.ensure_future(publisher.run())
        return publisher

    def lines(self, who: Any) -> list[Any]:
        return list(journal.read(self.path(who)))

    async def until_more(self, names: list[str]) -> None:
        """Each publisher has stored some more events."""
        wanted = {name: len(self.lines([name])) + MORE for name in names}
        while any(len(self.lines([name])) < wanted[name] for name in names):
            for task in self.running.values():
                if task.done():
                    task.result()
            await asyncio.sleep(0.02)

    def presence(self) -> Findings:
        found = Findings()
        shown = {who: device.report()["halls"] for who, device in self.devices.items()}
        judge_presence(found, [(*who, life) for who, life in self.lives.items()], shown)
        return found

    async def stop(self) -> None:
        for task in self.running.values():
            task.cancel()
        await asyncio.gather(*self.running.values(), return_exceptions=True)
        for each in (*self.devices.values(), *self.publishers):
            each.journal.close()
        for gateway in self.gateways:
            await gateway.stop(at_once=True)


def test_nothing_is_lost_when_each_part_dies_once(
    run: Callable[..., Any], nats_server: EmbeddedNats, tmp_path: Path
) -> None:
    async def scenario() -> None:
        parts = Parts(nats_server, tmp_path)
        client = await nats.connect(nats_server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
        taps = [StreamTap(client, "MD_EVENTS", "ev.>"), StreamTap(client, "MD_MAPS", "map.>")]
        try:
            for _ in range(2):
                await parts.start_gateway()
            for who in WHO:
                parts.begin(who)
            urls = [gateway.url for gateway in parts.gateways]
            publishers = [
                parts.publisher("client", urls=urls, token=token("publisher", WRITER)),
                parts.publisher("bus", nats=[nats_server.url]),
            ]
            names = ["client", "bus"]
            await parts.until_more(names)
            nats_server.kill()
            await nats_server.restart()
            await parts.until_more(names)
            await parts.gateways.pop(0).stop(at_once=True)
            await parts.until_more(names)
            await parts.end(WHO[0])
            await parts.until_more(names)
            parts.begin(WHO[0])
            await parts.until_more(names)

            for each in (*publishers, *parts.devices.values()):
                each.resting = True
            await asyncio.gather(*(parts.running[name] for name in names))
            until_s = asyncio.get_running_loop().time() + SETTLE_S
            while True:
                found = await compare(
                    taps,
                    [line for name in names for line in parts.lines([name])],
                    {who: parts.lines(who) for who in WHO},
                    {who: device.report()["maps"] for who, device in parts.devices.items()},
                )
                found.counts.update(parts.presence().counts)
                if found.held or asyncio.get_running_loop().time() > until_s:
                    break
                await asyncio.sleep(0.1)
            assert found.held, found.notes
            assert found.figures["events stored"] >= 10 * MORE
            assert found.figures["lives of devices"] == len(WHO) + 1
        finally:
            await parts.stop()
            await client.close()

    run(scenario(), deadline_s=DEADLINE_S)
