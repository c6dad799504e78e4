import asyncio
import sys

from mdstream.client import connect


async def main(url="ws://127.0.0.1:8080/v1/stream"):
    async with connect(url) as client:
        book = await client.book("SIM:BTC-USD", depth=20)
        async for _ in book:
            print(book.seq, book.state, book.best_bid, book.best_ask)


asyncio.run(main(*sys.argv[1:]))
