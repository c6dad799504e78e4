"""The demo's processes: the simulated market, and the live view."""

from __future__ import annotations

import asyncio
from typing import Any

from mdstream.children import Child, Log, start_module
from mdstream.cli.demo_options import VENUE, DemoOptions


async def start_simulation(options: DemoOptions, nats_url: str, log: Log) -> Child:
    """``mdstream feed sim``, away from the terminal: Ctrl-C is ours to handle."""
    arguments = [
        *("feed", "sim"),
        *("--nats", nats_url),
        *("--venue", VENUE),
        *("--instruments", ",".join(options.symbols)),
        *("--rate", str(options.rate)),
        *("--seed", str(options.seed)),
    ]
    streams: dict[str, Any] = {"stdin": asyncio.subprocess.DEVNULL, "stdout": log, "stderr": log}
    process = await start_module("mdstream.cli", arguments, **streams, start_new_session=True)
    return Child(process, "the simulated market")


async def start_watch(instrument: str, url: str) -> Child:
    """``mdstream watch`` on our terminal."""
    process = await start_module("mdstream.cli", ["watch", instrument, "--url", url])
    return Child(process, "the live view")
