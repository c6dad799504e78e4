"""``mdstream alerts``: watches the price alerts of all users, and tells each crossing once."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from mdstream.alerts import AlertOptions, AlertWatcher
from mdstream.bus import Bus, BusOptions, connect
from mdstream.cli.alerts_metrics import AlertsMetrics
from mdstream.cli.candles_metrics import MetricsListener, read_address
from mdstream.cli.client_options import duration_s, run_until_signal
from mdstream.cli.commands import EXIT_USAGE
from mdstream.errors import ConfigError, MdstreamError
from mdstream.feeds import _cli

logger = logging.getLogger("mdstream.alerts")

LEAST_LEASE_S = 0.5
MOST_LEASE_S = 600.0
SAY_S = 60.0

_EPILOG = """\
examples:
  mdstream alerts                                         one of them evaluates, others stand by
  mdstream alerts --metrics 127.0.0.1:8084

An alert is an entry of its user's map:
  mdstream map alerts put up='{"instrument":"SIM:BTC-USD","on":"bid","when":"above","price":"64000"}'
  mdstream map alerts                                     his alerts, and which have fired
  mdstream events                                         what they tell

Run two of it where alerts must not be late: the other one takes over within seconds, and finds in the log what happened meanwhile.

exit codes: 2 wrong usage or no NATS, 130 and 143 stopped by a signal
"""


def configure(parser: argparse.ArgumentParser) -> None:
    _cli.configure(parser, "Watches the price alerts of all users, and tells each crossing once.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument_group("alerts").add_argument
    add(
        "--lease",
        metavar="TIME",
        type=duration_s,
        default=2.0,
        help="how long one that was killed is waited for: 500ms to 10m (default: 2s)",
    )
    add(
        "--metrics",
        metavar="HOST:PORT",
        type=read_address,
        help="serve /metrics for Prometheus, and /healthz, there, such as 127.0.0.1:8084 (default: nowhere)",
    )


def run(args: argparse.Namespace) -> int:
    if not LEAST_LEASE_S <= args.lease <= MOST_LEASE_S:
        return _fail(f"--lease is {args.lease:g} s; it must be 500ms to 10m")
    try:
        _cli.configure_log(args)
        bus_options = _cli.bus_options(args, "mdstream alerts")
    except ConfigError as error:
        return _fail(str(error))
    return run_until_signal(_run(bus_options, AlertOptions(lease_s=args.lease), args.metrics))


async def _run(bus_options: BusOptions, options: AlertOptions, metrics: tuple[str, int] | None) -> int:
    try:
        async with await connect(bus_options) as bus, AlertWatcher(bus, options) as watcher:
            logger.info("watching alerts at NATS at %s", bus_options.where)
            await _work(bus, watcher, metrics)
    except MdstreamError as error:
        return _fail(str(error))
    return 0


async def _work(bus: Bus, watcher: AlertWatcher, metrics: tuple[str, int] | None) -> None:
    listener = MetricsListener(AlertsMetrics(watcher, lambda: bus.connected), "alerts")
    if metrics is not None:
        port = await listener.open(metrics)
        logger.info("metrics are on port %d", port)
    try:
        await _tell(watcher)
    finally:
        listener.close()


async def _tell(watcher: AlertWatcher) -> None:
    """Says once a minute what was done."""
    while True:
        await asyncio.sleep(SAY_S)
        counters = watcher.counters
        logger.info(
            "%s: %d alerts on %d streams of instruments; %d crossings told, %d of them late; %d entries are no alerts",
            "evaluating" if watcher.is_active else "standing by",
            watcher.alerts,
            watcher.instruments,
            counters["fired"],
            counters["late"],
            counters["refused"],
        )


def _fail(message: str) -> int:
    print(f"mdstream alerts: {message}", file=sys.stderr)
    return EXIT_USAGE
