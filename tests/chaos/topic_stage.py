"""All parts of a run on topics: three nodes of NATS, gateways behind links that know their users, devices, and publishers."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from chaos.schedule import TOPIC_KINDS
from chaos.stage import Child, Stage
from chaos.topic_plan import DEVICES, HALLS, MAPS, OWN, POLICIES, READER, SHARED, TOPICS, USERS, WRITER
from support import tokens

DAY_S = 86_400


class TopicStage(Stage):
    kinds = TOPIC_KINDS
    publishers = ("bus 0", "bus 1")
    """They publish as programs that know NATS; as many others as clients."""
    streams = ("MD_EVENTS", "MD_MAPS", "MD_PRESENCE", "KV_MD_POSITIONS")
    device_pause_s, publisher_pause_s = 0.1, 0.05
    """Between two changes of a device, and two events of a publisher, on average."""

    async def _start_parts(self) -> None:
        self.lb_port = 0
        self._key = self.directory / "users.pub"
        self._key.write_bytes(tokens.public_pem("EdDSA"))
        self.lives: dict[str, int] = {}
        self.devices: dict[str, Child] = {}
        self.writers: dict[str, Child] = {}
        self.resting = False
        self.stopped: set[str] = set()
        """Devices that cannot answer."""
        await self._start_gateways()
        names = [f"{user}'s {device}" for user in USERS for device in DEVICES]
        await asyncio.gather(*map(self.start_device, names))
        await asyncio.gather(*map(self.start_writer, ("client 0", "client 1", *self.publishers)))

    def _settings(self) -> dict[str, Any]:
        return {"auth_key_file": self._key, "events_topics": POLICIES, "nats_replicas": 3}

    @cached_property
    def _tokens(self) -> dict[str, str]:
        """Clocks are stepped here: they last for long."""
        grants = dict.fromkeys(USERS, READER) | {"publisher": WRITER}
        now_s = int(time.time())
        return {
            user: tokens.sign(
                {"sub": user, "aud": "mdstream", "exp": now_s + DAY_S, "md": {"grants": each}}
            ).decode()
            for user, each in grants.items()
        }

    def _urls(self, first: int) -> list[str]:
        ports = self.client_ports
        return [f"ws://127.0.0.1:{ports[(first + n) % len(ports)]}/v1/stream" for n in range(len(ports))]

    # ---- devices and publishers

    async def start_device(self, name: str) -> None:
        """The next life of a device."""
        user, _, device = name.partition("'s ")
        number = USERS.index(user) * len(DEVICES) + DEVICES.index(device)
        plan = self._plan(name) | {
            "user": user, "device": device, "token": self._tokens[user], "urls": self._urls(number),
            "format": ("json", "msgpack")[number % 2], "maps": MAPS, "halls": HALLS,
            "pause_s": self.device_pause_s, "resting": self.resting,
            "topics": (*SHARED, OWN[USERS.index(user)]),
        }  # fmt: skip
        self.devices[name] = await self._child("chaos.topic_device", plan)

    async def start_writer(self, name: str) -> None:
        """The next life of a publisher."""
        kind, _, number = name.partition(" ")
        where: dict[str, Any] = (
            {"nats": self._nats_urls(name)} if kind == "bus" else {"urls": self._urls(int(number))}
        )
        plan = self._plan(name) | where | {
            "token": self._tokens["publisher"], "topics": TOPICS, "pause_s": self.publisher_pause_s,
        }  # fmt: skip
        self.writers[name] = await self._child("chaos.topic_publisher", plan)

    def _plan(self, name: str) -> dict[str, Any]:
        self.lives[name] = self.lives.get(name, 0) + 1
        return {
            "name": name,
            "life": self.lives[name],
            "seed": self.options.seed,
            "journal": str(self.journal(name)),
        }

    def journal(self, name: str) -> Path:
        """Of all its lives."""
        return self.directory / "journals" / name.replace(" ", "-")

    async def _child(self, module: str, plan: dict[str, Any]) -> Child:
        child = Child(module, plan=plan, log=self.directory / f"{plan['name'].replace(' ', '-')}.log")
        self._stack.callback(child.kill)
        await child.ready()
        return child

    async def rest(self) -> None:
        """Publishers come to their end, and devices change nothing more."""
        self.resting = True
        await asyncio.gather(
            *(child.order(do="rest") for child in (*self.writers.values(), *self.devices.values()))
        )

    # ---- what a run asks

    @property
    def wanted(self) -> int:
        return len(self.devices)

    async def live(self) -> int:
        return sum(await asyncio.gather(*map(self._is_live, self.devices)))

    async def _is_live(self, name: str) -> int:
        if name in self.stopped:
            return 0
        return await self.devices[name].order(do="live") or 0

    async def reports(self) -> dict[str, dict[str, Any]]:
        """Of those devices that run."""
        names = list(self.devices)
        told = await asyncio.gather(*(self.devices[name].order(do="report") for name in names))
        return {name: each for name, each in zip(names, told, strict=True) if each is not None}

    def _children(self) -> dict[str, Child]:
        return self.devices | self.writers

    def end(self, name: str) -> None:
        """As a crash would."""
        with suppress(ProcessLookupError):
            self._children()[name].kill()
