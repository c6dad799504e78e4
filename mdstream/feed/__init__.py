"""The publisher SDK: feed handlers in Python publish market data to NATS with it.

::

    async with feed.connect("nats://127.0.0.1:4222", venue="SIM") as publisher:
        btc = await publisher.instrument("BTC-USD", price_exp=-2, size_exp=-8)
        btc.replace(bids=[("64123.10", "0.5")], asks=[("64123.20", "1.25")])
        btc.update(bids=[("64123.10", "0.75")])
        btc.trade("64123.20", "0.1", "buy", trade_id=4711)
        await publisher.flush()
"""

import mdstream._core  # noqa: F401 - first, because it tells when it is not built
from mdstream.feed.connecting import connect
from mdstream.feed.instrument import Instrument
from mdstream.feed.lease import LeaseOptions
from mdstream.feed.numbers import DecimalLike, FlatLevels, LevelLike
from mdstream.feed.publisher import Publisher
from mdstream.feed.sizes import size_exp_for
from mdstream.feed.writer import InstrumentWriter, Side, TradeId

__all__ = [
    "DecimalLike",
    "FlatLevels",
    "Instrument",
    "InstrumentWriter",
    "LeaseOptions",
    "LevelLike",
    "Publisher",
    "Side",
    "TradeId",
    "connect",
    "size_exp_for",
]
