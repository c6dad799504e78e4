"""``mdstream alerts``: watches the price alerts of all users, and tells each crossing once."""

from __future__ import annotations

import argparse
from functools import partial

from mdstream.alerts import AlertOptions, AlertWatcher
from mdstream.bus import BusOptions, connect
from mdstream.bus.topic_streams import TopicStreamOptions
from mdstream.cli.alerts_metrics import AlertsMetrics
from mdstream.cli.client_options import duration_s
from mdstream.cli.service import Service

_service = Service("alerts", 8084)

LEAST_LEASE_S = 0.5
MOST_LEASE_S = 600.0

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
    about = "Watches the price alerts of all users, and tells each crossing once."
    add = _service.configure(parser, about, _EPILOG)
    add(
        "--lease",
        metavar="TIME",
        type=duration_s,
        default=2.0,
        help="how long one that was killed is waited for: 500ms to 10m (default: 2s)",
    )


def run(args: argparse.Namespace) -> int:
    if not LEAST_LEASE_S <= args.lease <= MOST_LEASE_S:
        return _service.fail(f"--lease is {args.lease:g} s; it must be 500ms to 10m")
    return _service.run(args, partial(_serve, args))


async def _serve(args: argparse.Namespace, bus_options: BusOptions) -> int:
    events = TopicStreamOptions(replicas=bus_options.streams.replicas)
    options = AlertOptions(lease_s=args.lease, events=events)
    async with await connect(bus_options) as bus, AlertWatcher(bus, options) as watcher:
        _service.log.info("watching alerts at NATS at %s", bus_options.where)
        metrics = AlertsMetrics(watcher, lambda: bus.connected)
        await _service.work(metrics, args.metrics, lambda: _say(watcher))
    return 0


def _say(watcher: AlertWatcher) -> None:
    """What was done."""
    counters = watcher.counters
    _service.log.info(
        "%s: %d alerts on %d streams of instruments; %d crossings told, %d of them late; %d entries are no alerts",
        "evaluating" if watcher.is_active else "standing by",
        watcher.alerts,
        watcher.instruments,
        counters["fired"],
        counters["late"],
        counters["refused"],
    )
