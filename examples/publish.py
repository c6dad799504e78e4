import asyncio
import itertools
import sys

from mdstream import feed


async def main(url="nats://127.0.0.1:4222"):
    async with feed.connect(url, venue="DEMO") as publisher:
        btc = await publisher.instrument("BTC-USD", price_exp=-2, size_exp=-8)
        btc.replace(bids=[("64123.10", "0.5"), ("64123.00", "1")], asks=[("64123.20", "1.25")])
        for number in itertools.count(1):
            btc.update(bids=[("64123.10", f"0.{number % 9 + 1}")])  # size 0 deletes a level
            btc.trade("64123.20", "0.1", "buy", trade_id=number)
            await asyncio.sleep(0.1)


asyncio.run(main(*sys.argv[1:]))
