"""``mdstream candles``: writes candles and 24 h statistics of every instrument from its trades."""

from __future__ import annotations

import argparse
from functools import partial

from mdstream.auth.patterns import ANY
from mdstream.bus import BusOptions, connect
from mdstream.candles import CandleOptions, CandleWriter
from mdstream.candles.writer import KEEP, LEAST_KEEP
from mdstream.cli.candles_metrics import CandlesMetrics
from mdstream.cli.client_options import duration_s, positive
from mdstream.cli.service import Service

_service = Service("candles", 8083)


_EPILOG = """\
examples:
  mdstream candles                                        all instruments
  mdstream candles --instruments 'BINANCE:*,KRAKEN:*'     those of two venues

Run two of it where candles must not stop: one writes an instrument, the other follows, and takes over within seconds. What is stored is
in the stream MD_CANDLES; gateways show it in the channel candles and at /v1/candles.

exit codes: 2 wrong usage or no NATS, 130 and 143 stopped by a signal
"""


def configure(parser: argparse.ArgumentParser) -> None:
    about = (
        "Writes candles of 1s, 1m, 5m, 15m, 1h and 1d, and statistics of the last 24 hours, from all trades."
    )
    add = _service.configure(parser, about, _EPILOG)
    add(
        "--instruments",
        metavar="PATTERN,…",
        type=_patterns,
        default=(ANY,),
        help="*, SIM:*, BINANCE:BTC*, BINANCE:*USDT or names (default: *, all)",
    )
    add(
        "--interval",
        metavar="TIME",
        type=duration_s,
        default=0.1,
        help="the least time between two messages of one instrument (default: 100ms)",
    )
    add(
        "--keep",
        metavar="N",
        type=positive,
        default=KEEP,
        help=f"messages of each instrument and span that MD_CANDLES keeps, if it is made now; at least {LEAST_KEEP} (default: {KEEP})",
    )


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


def run(args: argparse.Namespace) -> int:
    if args.keep < LEAST_KEEP:
        return _service.fail(f"--keep is {args.keep}; a day of minutes needs {LEAST_KEEP}")
    return _service.run(args, partial(_serve, args))


async def _serve(args: argparse.Namespace, bus_options: BusOptions) -> int:
    options = CandleOptions(args.instruments, args.interval, keep=args.keep)
    async with await connect(bus_options) as bus:
        try:
            writer = CandleWriter(bus, options)
        except ValueError as error:
            return _service.fail(f"--instruments {error}")
        async with writer:
            _service.log.info("writing candles to NATS at %s", bus_options.where)
            metrics = CandlesMetrics(writer, lambda: bus.connected)
            await _service.work(metrics, args.metrics, lambda: _say(writer))
    return 0


def _say(writer: CandleWriter) -> None:
    """What was done."""
    all_ = writer.writers
    _service.log.info(
        "candles of %d instruments, %d of them written here: %d trades and %d closed candles stored, %d times another was faster",
        len(all_),
        sum(each.is_owner for each in all_),
        sum(each.stored_trades for each in all_),
        sum(each.stored_candles for each in all_),
        sum(each.conflicts for each in all_),
    )
