"""``mdstream feed kraken``: live, or from a recording."""

from __future__ import annotations

import argparse
from pathlib import Path

from mdstream import feed
from mdstream.bus import BusOptions
from mdstream.errors import ConfigError
from mdstream.feeds import _cli
from mdstream.feeds.kraken.live import URL, Live
from mdstream.feeds.kraken.recording import DEPTHS
from mdstream.feeds.kraken.replay import Replay

DESCRIPTION = """\
Publishes Kraken spot: order books and trades, live (API version 2) or from a recording (version 1 or 2).
Instruments are KRAKEN:<pair>, with the venue's names (XBT/USD in version 1, BTC/USD in version 2); times are the
venue's.

Books are cut to the subscribed depth, as the venue requires, and checked by its checksum after every message. After a
mismatch or a lost connection the instrument is feed_down until its book is complete again; so it is while the venue
sends no data. The venue's states become halted and closed.

Recording (--replay): lines of JSON, or of '<unix s>: <json>' with notes of connections. All its pairs are published,
unless --pairs names some. Prices and sizes get the coarsest exponents that hold every number of the recording.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    _cli.configure(parser, DESCRIPTION)
    _cli.configure_lease(parser)
    parser.add_argument(
        "--pairs",
        metavar="A,B,…",
        type=_pairs,
        help="what to publish, as the venue spells it: BTC/USD,AAPLx/USD",
    )
    parser.add_argument(
        "--depth",
        type=int,
        choices=DEPTHS,
        help="levels per side (default: live 100; replay: the recorded depth, if the recording has it)",
        default=argparse.SUPPRESS,
    )
    parser.add_argument("--replay", metavar="FILE", type=Path, help="publish this recording instead")
    parser.add_argument(
        "--speed", type=_cli.speed, default=1.0, help="of the replay: a factor, or max: do not wait"
    )
    parser.add_argument("--url", default=URL, help="live: the venue's address")


def _pairs(text: str) -> list[str]:
    return [pair.strip() for pair in text.split(",") if pair.strip()]


def run(arguments: argparse.Namespace) -> int:
    return _cli.run("kraken", arguments, main)


async def main(arguments: argparse.Namespace, options: BusOptions) -> int:
    if arguments.replay is None and not arguments.pairs:
        raise ConfigError("name the --pairs to publish, such as BTC/USD, or a recording to --replay")
    depth: int | None = getattr(arguments, "depth", None)
    lease = _cli.lease_options(arguments)
    async with feed.connect(options, venue="KRAKEN", lease=lease) as publisher:
        if arguments.replay is None:
            live = Live(publisher, arguments.pairs, depth=depth or 100, url=arguments.url)
            await _cli.unless_fenced(publisher, live.run())
            return _cli.EXIT_OK
        replay = Replay(publisher, arguments.replay, arguments.pairs, depth)
        await replay.run(arguments.speed)
        for pair in replay.pairs.values():
            instrument = pair.published.instrument
            print(
                f"{instrument.id}: {instrument.seq} book updates, {instrument.trade_seq} trades, "
                f"{pair.sync.checked} checksums right, {pair.sync.mismatches} wrong"
            )
        whole = not replay.refused and not any(pair.sync.mismatches for pair in replay.pairs.values())
        return _cli.EXIT_OK if whole else _cli.EXIT_FAILED
