"""``mdstream feed binance``: live, or from a recording."""

from __future__ import annotations

import argparse
from pathlib import Path

from mdstream import feed
from mdstream.bus import BusOptions
from mdstream.errors import ConfigError
from mdstream.feeds import _cli
from mdstream.feeds.binance.live import MAX_AGE_S, MAX_SYMBOLS, REST_URL, STREAM_URL, Live
from mdstream.feeds.binance.replay import Replay
from mdstream.feeds.binance.rest import DEPTH_LIMIT, DEPTH_WEIGHTS

DESCRIPTION = """\
Publishes Binance spot: order books and trades, live or from a recording. Instruments are BINANCE:<symbol>; times
are the venue's.

Live: the diffs of depth@100ms, joined to a REST snapshot by the venue's rules. When the connection or a diff is lost,
the instrument is feed_down until its book is complete again. A new connection takes over before the venue's limit of
24 hours. Books end where the snapshot's last level was; another snapshot is taken before the price gets there.

Recording (--replay): lines of '<local ns> <json>', gzipped or not, with one symbol's streams (combined or raw) and at
least one REST snapshot. Prices and sizes get the coarsest exponents that hold every number of the recording.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    _cli.configure(parser, DESCRIPTION)
    _cli.configure_lease(parser)
    parser.add_argument(
        "--symbols",
        metavar="A,B,…",
        type=_symbols,
        help="live: what to publish, such as BTCUSDT,ETHUSDT; "
        "replay: the one to publish from a recording of several",
    )
    parser.add_argument("--replay", metavar="FILE", type=Path, help="publish this recording instead")
    parser.add_argument(
        "--speed", type=_cli.speed, default=1.0, help="of the replay: a factor, or max: do not wait"
    )
    live = parser.add_argument_group("live")
    live.add_argument("--stream-url", metavar="URL", default=STREAM_URL, help="the WebSocket API")
    live.add_argument("--rest-url", metavar="URL", default=REST_URL, help="the REST API")
    live.add_argument(
        "--depth",
        type=int,
        choices=sorted(DEPTH_WEIGHTS),
        default=DEPTH_LIMIT,
        help="levels a side; smaller books start sooner, for the venue allows 24 snapshots of 5,000 levels a minute",
    )
    live.add_argument(
        "--max-age",
        metavar="TIME",
        type=_cli.duration_s,
        default=f"{MAX_AGE_S / 3600:g}h",
        help="renew the connection after this time",
    )


def _symbols(text: str) -> list[str]:
    return [symbol.strip().upper() for symbol in text.split(",") if symbol.strip()]


def run(arguments: argparse.Namespace) -> int:
    return _cli.run("binance", arguments, main)


async def main(arguments: argparse.Namespace, options: BusOptions) -> int:
    if arguments.replay is None and not arguments.symbols:
        raise ConfigError("name the --symbols to publish, such as BTCUSDT, or a recording to --replay")
    if arguments.replay is not None and len(arguments.symbols or ()) > 1:
        raise ConfigError("a replay publishes one of the --symbols")
    if arguments.replay is None and len(arguments.symbols) > MAX_SYMBOLS:
        raise ConfigError(
            f"{len(arguments.symbols)} symbols are too many for one connection: start a handler for each {MAX_SYMBOLS}"
        )
    lease = _cli.lease_options(arguments)
    async with feed.connect(options, venue="BINANCE", lease=lease) as publisher:
        if arguments.replay is None:
            live = Live(
                publisher,
                arguments.symbols,
                stream_url=arguments.stream_url,
                rest_url=arguments.rest_url,
                depth=arguments.depth,
                max_age_s=arguments.max_age,
            )
            await _cli.unless_fenced(publisher, live.run())
            return _cli.EXIT_OK
        replay = Replay(publisher, arguments.replay, arguments.symbols[0] if arguments.symbols else None)
        instrument = await replay.run(arguments.speed)
        print(
            f"{instrument.id}: {instrument.seq} book updates, {instrument.trade_seq} trades, {replay.refused} refused"
        )
        return _cli.EXIT_OK if replay.whole and not replay.refused else _cli.EXIT_FAILED
