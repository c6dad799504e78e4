import asyncio
import sys

from mdstream.client import connect


async def main(url="ws://127.0.0.1:8080/v1/stream"):
    async with connect(url) as client:
        for name in (await client.instruments("SIM:*")).rows:
            candles = await client.candles(name, span="1m", history=60)
            for candle in candles.all():
                print(name, candle.start_s, candle.prices.close, candle.is_closed)


asyncio.run(main(*sys.argv[1:]))
