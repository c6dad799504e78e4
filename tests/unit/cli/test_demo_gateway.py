from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mdstream.cli import demo_gateway
from mdstream.cli.demo_gateway import KILL, DemoGateway
from mdstream.errors import MdstreamError
from mdstream.gateway.config import GatewayConfig

HEAD = b"POST /demo/kill HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b"


class FakeGateway:
    """Notes what is done with it; a ``bad`` one cannot start."""

    def __init__(self, config: GatewayConfig, bad: bool = False) -> None:
        self.config = config
        self.ui = SimpleNamespace(actions={})
        self.port, self.admin_port, self.clients = 5001, 5002, 0
        self.did: list[str] = []
        self._bad = bad

    async def start(self) -> None:
        if self._bad:
            raise MdstreamError("its port is taken")
        self.did.append("start")

    async def stop(self, *, at_once: bool = False) -> None:
        self.did.append("stop at once" if at_once else "stop")

    async def drain(self) -> None:
        self.did.append("drain")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_gateway, "DOWN_S", 0)


def kill(gateway: Any, token: bytes = b"token") -> tuple[int, str]:
    status, said = gateway.ui.actions[KILL](HEAD % token)
    return status, said


def test_one_that_is_killed_is_followed_by_another_at_its_address(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        made: list[FakeGateway] = []

        def make(config: GatewayConfig) -> Any:
            made.append(FakeGateway(config))
            return made[-1]

        served = DemoGateway(GatewayConfig(port=0, admin_port=0), "token", make)
        await served.start()
        assert kill(made[0], b"another")[0] == 401
        assert kill(made[0])[0] == kill(made[0])[0] == 202
        while len(made) < 2 or KILL not in made[1].ui.actions:
            await asyncio.sleep(0)
        assert made[0].did == ["start", "stop at once"]
        assert (made[1].config.port, made[1].config.admin_port) == (5001, 5002)
        await served.drain()
        assert made[1].did == ["start", "drain"] and len(made) == 2

    run(scenario())


def test_the_demo_ends_if_no_other_can_start(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        made: list[FakeGateway] = []

        def make(config: GatewayConfig) -> Any:
            made.append(FakeGateway(config, bad=bool(made)))
            return made[-1]

        served = DemoGateway(GatewayConfig(), "token", make)
        await served.start()
        ended = asyncio.ensure_future(served.ended())
        kill(made[0])
        with pytest.raises(MdstreamError, match="its port is taken"):
            await ended

    run(scenario())
