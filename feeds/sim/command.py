"""``mdstream feed sim``: runs the simulation by the clock and publishes it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from dataclasses import dataclass, field

from mdstream import feed
from mdstream.bus import BusOptions
from mdstream.errors import ConfigError
from mdstream.feed.numbers import monotonic_us, now_us
from mdstream.feeds import _cli
from mdstream.feeds.sim.engine import KNOWN, Event, Simulation, Status

log = logging.getLogger("mdstream.feeds.sim")

MAX_RATE = 1_000_000
MAX_LAG_US = 1_000_000
"""When we are later than this, we skip the time that we missed."""
REPORT_S = 10.0

DESCRIPTION = """\
Publishes a simulated venue with random order flow. Prices wander, orders cluster near the best prices and come in
bursts, market orders make trades, and an instrument is halted now and then.

The same seed, instruments and rate give the same sequence of updates (with the same version of numpy); only their
times differ.

One core is enough for a million level changes a second if the nats-server has another. If the rate cannot be kept,
the log says so. At high rates updates grow to about twelve changes each (--changes-per-update).
"""


def configure(parser: argparse.ArgumentParser) -> None:
    _cli.configure(parser, DESCRIPTION)
    _cli.configure_lease(parser)
    sim = parser.add_argument_group("simulation")
    default = ",".join(profile.symbol for profile in KNOWN)
    sim.add_argument(
        "--instruments", metavar="A,B,…", type=_symbols, default=default, help="symbols, the busiest first"
    )
    sim.add_argument("--venue", default="SIM", help="the instruments' venue")
    sim.add_argument(
        "--rate",
        metavar="N",
        type=_rate,
        default="1000",
        help="level changes per second of all instruments, 1 to 1,000,000",
    )
    sim.add_argument("--seed", metavar="N", type=int, default=1, help="of the random numbers")
    sim.add_argument(
        "--for",
        dest="duration_s",
        metavar="TIME",
        type=_cli.duration_s,
        help="stop after this time: 500ms, 10s, 5m (default: until Ctrl-C)",
    )
    sim.add_argument(
        "--changes-per-update",
        metavar="N",
        type=float,
        help="about how many orders one update has (default: 3 to 25, by rate)",
    )
    sim.add_argument(
        "--halts-per-hour", metavar="N", type=float, default=6.0, help="halts of each instrument"
    )


def _symbols(text: str) -> list[str]:
    symbols = [symbol.strip() for symbol in text.split(",") if symbol.strip()]
    if not symbols:
        raise argparse.ArgumentTypeError("no instrument was named")
    if len(set(symbols)) != len(symbols):
        raise argparse.ArgumentTypeError(f"{text!r} names an instrument twice")
    return symbols


def _rate(text: str) -> float:
    try:
        rate = float(text.replace(",", ""))
    except ValueError:
        rate = 0.0
    if not 1 <= rate <= MAX_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is not in 1 … {MAX_RATE:,} level changes per second")
    return rate


@dataclass(slots=True)
class Tally:
    """Counts what was published."""

    started: float = field(default_factory=time.monotonic)
    changes: int = 0
    updates: int = 0
    trades: int = 0
    skipped_us: int = 0

    def __str__(self) -> str:
        seconds = time.monotonic() - self.started
        text = f"{self.changes / seconds:,.0f} level changes/s in {self.updates / seconds:,.0f} updates/s, "
        text += f"{self.trades / seconds:,.0f} trades/s"
        if self.skipped_us:
            text += f"; too slow for the rate, {self.skipped_us / 1e6:.1f} s were skipped"
        return text


def run(arguments: argparse.Namespace) -> int:
    return _cli.run("sim", arguments, main)


async def main(arguments: argparse.Namespace, options: BusOptions) -> int:
    if arguments.changes_per_update is not None and arguments.changes_per_update < 1:
        raise ConfigError(f"--changes-per-update {arguments.changes_per_update:g} must be at least 1")
    simulation = Simulation(
        arguments.instruments,
        seed=arguments.seed,
        rate=arguments.rate,
        changes_per_update=arguments.changes_per_update,
        halts_per_hour=arguments.halts_per_hour,
    )
    lease = _cli.lease_options(arguments)
    async with feed.connect(options, venue=arguments.venue, lease=lease) as publisher:
        instruments = await open_instruments(publisher, simulation)
        log.info("publishing %s", ", ".join(str(instrument.id) for instrument in instruments))
        tally = Tally()
        try:
            playing = play(simulation, publisher, instruments, tally, arguments.duration_s)
            await _cli.unless_fenced(publisher, playing)
        finally:
            log.info("%s", tally)
    return _cli.EXIT_OK


async def open_instruments(publisher: feed.Publisher, simulation: Simulation) -> list[feed.Instrument]:
    """Announces every instrument and publishes its first book."""
    instruments = []
    for flow in simulation.flows:
        profile = flow.profile
        instrument = await publisher.instrument(
            profile.symbol,
            price_exp=profile.price_exp,
            size_exp=profile.size_exp,
            name=f"{profile.symbol} (simulated)",
            live_venue=False,
        )
        instrument.replace_ticks(*flow.full_book())
        instruments.append(instrument)
    return instruments


async def play(
    simulation: Simulation,
    publisher: feed.Publisher,
    instruments: list[feed.Instrument],
    tally: Tally,
    duration_s: float | None,
) -> None:
    """Publishes each slice when it is due by the monotonic clock. Event times are those of the wall clock."""
    start_us = monotonic_us()
    end_us = None if duration_s is None else int(duration_s * 1e6)
    next_report = time.monotonic() + REPORT_S
    while end_us is None or simulation.now_us + tally.skipped_us < end_us:
        lag_us = monotonic_us() - start_us - simulation.now_us
        if lag_us < 0:
            await asyncio.sleep(-lag_us / 1e6)
        elif lag_us > MAX_LAG_US:
            start_us += lag_us
            tally.skipped_us += lag_us
        ts_us = now_us()
        for event in simulation.advance():
            publish(event, instruments[event.number], ts_us, tally)
        await publisher.flush()
        await asyncio.sleep(0)
        if time.monotonic() >= next_report:
            log.info("%s", tally)
            next_report += REPORT_S


def publish(event: Event, instrument: feed.Instrument, ts_us: int, tally: Tally) -> None:
    if isinstance(event, Status):
        instrument.status(event.state, reason=event.reason, ts_us=ts_us)
        return
    for bids, asks, changes, fills in event.updates:
        instrument.update_ticks(bids, asks, ts_us=ts_us)
        tally.changes += changes
        for fill in fills:
            instrument.trade_ticks(fill.ticks, fill.lots, fill.side, ts_us=ts_us)
            tally.trades += 1
    tally.updates += len(event.updates)
