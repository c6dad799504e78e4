"""Puts figures of this machine into the map ops.metrics, where dashboard.html shows them:

python examples/metrics.py [URL] [SECONDS]
"""

import asyncio
import os
import shutil
import socket
import sys
import time

from mdstream.client import connect

STARTED = time.monotonic()


def figures():
    disk = shutil.disk_usage("/")
    processors = os.cpu_count() or 1
    return {
        "load": {"value": round(os.getloadavg()[0] / processors, 2), "unit": "of 1", "warn": 1, "bad": 4},
        "disk": {"value": round(100 * disk.used / disk.total, 1), "unit": "%", "warn": 80, "bad": 95},
        "up": {"value": round(time.monotonic() - STARTED, 1), "unit": "s"},
    }


async def main(url="ws://127.0.0.1:8080/v1/stream", every="1"):
    machine = socket.gethostname()
    async with connect(url) as client:
        while True:
            # One change for all of them. Where nobody puts them again, they end by themselves.
            now = {f"{machine}/{name}": figure for name, figure in figures().items()}
            await client.put("ops.metrics", now, ttl_ms=10_000)
            await asyncio.sleep(float(every))


asyncio.run(main(*sys.argv[1:]))
