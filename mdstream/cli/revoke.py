"""``mdstream revoke``: ends sessions and keeps credentials out, on all gateways."""

from __future__ import annotations

import argparse
import time

from mdstream.bus import BusOptions, connect, control
from mdstream.cli.client_options import duration_s, name, run_until_signal
from mdstream.feeds import _cli

_EPILOG = """\
examples:
  mdstream revoke --subject alice                alice's sessions end; tokens that were issued until now open nothing
  mdstream revoke --token 6f1c… --for 24h        one token, by its jti; until it has expired anyway
  mdstream revoke --key 2026-11                  all tokens with this kid, or an API key
  mdstream revoke --session 9f2e…                one session, now; its token opens another one
  mdstream revoke --subject alice --lift         alice's older tokens open sessions again

All gateways obey within a second. Those that start later read it from the stream MD_CTL. Sessions that end are closed with 4401.

exit codes: 0 stored, 1 NATS cannot be reached or refuses, 2 wrong usage
"""


def configure(parser: argparse.ArgumentParser) -> None:
    _cli.configure(parser, "Ends sessions and keeps credentials out, on all gateways.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--subject", metavar="NAME", type=name, help="a subject: sub of tokens, subject of API keys"
    )
    what.add_argument(
        "--session", metavar="ID", type=name, help="a session, as in its welcome and in the gateway's log"
    )
    what.add_argument("--key", metavar="ID", type=name, help="a key: kid of tokens, or the id of an API key")
    what.add_argument("--token", metavar="ID", type=name, help="a token: its jti")
    parser.add_argument(
        "--for", dest="for_s", metavar="TIME", type=duration_s, help="how long it holds (default: for good)"
    )
    parser.add_argument("--lift", action="store_true", help="ends a revocation instead")


def run(args: argparse.Namespace) -> int:
    _cli.configure_log(args)
    return run_until_signal(_revoke(args, _cli.bus_options(args, "mdstream revoke")))


async def _revoke(args: argparse.Namespace, options: BusOptions) -> int:
    kind, revoked = next(
        (kind, value) for kind in control.KINDS if (value := getattr(args, kind)) is not None
    )
    now_us = time.time_ns() // 1000
    until_us = None if args.for_s is None else now_us + int(args.for_s * 1_000_000)
    async with await connect(options) as bus:
        await control.ensure(bus)
        await control.revoke(bus, control.Revoke(kind, revoked, now_us, until_us, lifted=args.lift))
    print(f"{kind} {revoked}: {'no longer revoked' if args.lift else 'revoked'}")
    return 0
