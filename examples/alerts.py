import asyncio
import sys

from mdstream.client import connect


async def main(url="ws://127.0.0.1:8080/v1/stream", token=None):
    async with connect(url, token=token) as client, await client.alerts() as alerts:
        await alerts.set("up", "SIM:BTC-USD", "bid", "above", "64000", note="sell")
        async for crossing in alerts.fired():
            print(crossing.key, crossing.instrument, crossing.crossed, crossing.note, flush=True)


asyncio.run(main(*sys.argv[1:]))
