"""``mdstream feed``: the feed handlers of ``mdstream.feeds``."""

from __future__ import annotations

import argparse

from mdstream.cli.commands import add_commands

HANDLERS = {
    "sim": ("mdstream.feeds.sim.command", "publish a simulated venue"),
    "binance": ("mdstream.feeds.binance.command", "publish Binance spot, live or from a recording"),
    "kraken": ("mdstream.feeds.kraken.command", "publish Kraken spot, live or from a recording"),
    "record": ("mdstream.feeds.record", "record what is published on the bus to a tape"),
    "replay": ("mdstream.feeds.replay", "publish a tape again"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds each handler as a subcommand."""
    parser.epilog = "`mdstream feed HANDLER --help` shows the options of a handler."
    add_commands(parser, "HANDLER", HANDLERS)
