"""What the supervisor does by itself; its workers are in ``e2e/test_workers.py``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.supervisor import Supervisor
from mdstream.gateway.worker_settings import part_of


@pytest.mark.skipif(sys.platform != "linux", reason="several workers need Linux")
def test_a_worker_that_is_started_after_a_hangup_has_the_limits_of_now(
    run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        now = {"limits_address_connections": 7, "origin_allow": ("https://a.example",), "heartbeat_ms": 9_000}
        supervisor = Supervisor(
            GatewayConfig(workers=2, nats=("nats://127.0.0.1:1",)), lambda: GatewayConfig(workers=0, **now)
        )
        supervisor.reload()
        part = part_of(supervisor._config, 2, 1)
        assert (part.limits_address_connections, part.origin_allow) == (7, ("https://a.example",))
        assert part.heartbeat_ms == GatewayConfig().heartbeat_ms
        await supervisor.stop()

    run(scenario())
    (said,) = caplog.messages
    assert said.startswith("SIGHUP: heartbeat_ms: changed")
