"""``python -m support.alerts_stopped NATS_URL STEP NUMBER``: a watcher of alerts that kills itself with SIGKILL at a step."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from mdstream.alerts import AlertOptions, AlertWatcher
from mdstream.bus import connect


async def main(url: str, step: str, number: str) -> None:
    left = int(number)

    def at(name: str) -> None:
        nonlocal left
        left -= name == step
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    options = AlertOptions(lease_s=0.5, place_s=0.05, at=at)
    async with await connect(url) as bus, AlertWatcher(bus, options):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
