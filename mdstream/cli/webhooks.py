"""``mdstream webhooks``: tells other systems by HTTP what happens, signed."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections import Counter
from pathlib import Path

from mdstream.bus import BusOptions, connect
from mdstream.bus.topic_streams import TopicStreamOptions
from mdstream.cli.client_options import duration_s, run_until_signal
from mdstream.cli.service import Service
from mdstream.cli.webhooks_metrics import WebhooksMetrics
from mdstream.errors import ConfigError, MdstreamError
from mdstream.feeds import _cli
from mdstream.webhooks import Hook, WebhookOptions, WebhookSender, load_hooks
from mdstream.webhooks.posting import Poster
from mdstream.webhooks.signing import new_secret
from mdstream.webhooks.trial import trial_batch

_service = Service("webhooks", 8085)

LEAST_LEASE_S = 0.5
MOST_LEASE_S = 600.0
EXIT_FAILED = 1

_EPILOG = """\
examples:
  mdstream webhooks --new-secret crm.hook                 a new secret, in a file that you alone can read
  mdstream webhooks --hooks hooks.toml --test             sends one signed test to each, and says what was answered
  mdstream webhooks --hooks hooks.toml                    one of them sends, others stand by

hooks.toml has a table for each receiver:
  [[hooks]]
  name = "crm"
  url = "https://crm.example.com/hooks/mdstream"
  secret_file = "crm.hook"
  types = ["event.published", "presence.*"]
  topics = ["desk.*"]

Sessions, subscriptions and presence are told by gateways that have the setting `activity`.

exit codes: 1 a test was not taken, 2 wrong usage or no NATS, 130 and 143 stopped by a signal
"""


def configure(parser: argparse.ArgumentParser) -> None:
    _cli.configure(parser, "Tells other systems by HTTP what happens, signed.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument_group("webhooks").add_argument
    add("--hooks", metavar="FILE", type=Path, help="who is told what (TOML)")
    add(
        "--lease",
        metavar="TIME",
        type=duration_s,
        default=2.0,
        help="how long one that was killed is waited for: 500ms to 10m (default: 2s)",
    )
    add("--test", action="store_true", help="send one test to each receiver, say what it answers, and end")
    add("--new-secret", metavar="FILE", type=Path, help="write a new secret to a new file, and end")
    _service.add_metrics(add)


def run(args: argparse.Namespace) -> int:
    try:
        if args.new_secret is not None:
            return _write_secret(args.new_secret)
        if args.hooks is None:
            raise ConfigError("--hooks FILE must say who is told what; --help shows how it looks")
        if not LEAST_LEASE_S <= args.lease <= MOST_LEASE_S:
            raise ConfigError(f"--lease is {args.lease:g} s; it must be 500ms to 10m")
        hooks = load_hooks(args.hooks)
        _cli.configure_log(args)
        bus_options = _cli.bus_options(args, "mdstream webhooks")
    except ConfigError as error:
        return _service.fail(str(error))
    if args.test:
        return run_until_signal(_test(hooks))
    events = TopicStreamOptions(replicas=bus_options.streams.replicas)
    options = WebhookOptions(lease_s=args.lease, events=events)
    return run_until_signal(_run(bus_options, hooks, options, args.metrics))


def _write_secret(path: Path) -> int:
    """Raises ConfigError."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(new_secret() + "\n")
    except OSError as error:
        raise ConfigError(f"--new-secret: {path} cannot be made: {error.strerror}") from None
    print(f"{path} has a new secret; give it to the receiver, and name it as secret_file")
    return 0


async def _test(hooks: tuple[Hook, ...]) -> int:
    """Whether each takes a test."""
    options, counters = WebhookOptions(), Counter[tuple[str, str]]()
    batch = trial_batch(int(options.wall_s() * 1e6))
    failures = await asyncio.gather(*(Poster(hook, options, counters).attempt(batch) for hook in hooks))
    for hook, failure in zip(hooks, failures, strict=True):
        print(f"{hook.name}: {'taken' if failure is None else failure.why}")
    return EXIT_FAILED if any(failures) else 0


async def _run(
    bus_options: BusOptions,
    hooks: tuple[Hook, ...],
    options: WebhookOptions,
    metrics: tuple[str, int] | None,
) -> int:
    try:
        async with await connect(bus_options) as bus, WebhookSender(bus, hooks, options) as sender:
            _service.log.info("sending webhooks (%d) of NATS at %s", len(hooks), bus_options.where)
            collector = WebhooksMetrics(sender, lambda: bus.connected)
            await _service.work(collector, metrics, lambda: _say(sender))
    except MdstreamError as error:
        return _service.fail(str(error))
    return 0


def _say(sender: WebhookSender) -> None:
    """What was done."""
    totals = Counter[str]()
    for (_, what), count in sender.counters.items():
        totals[what] += count
    _service.log.info(
        "%s: %d records told in %d batches; %d attempts failed; %d records given up; %d numbers lost; %d numbers wait",
        "sending" if sender.is_active else "standing by",
        *(totals[what] for what in ("sent", "batches", "failures", "given_up", "lost")),
        sum(lane.behind for lane in sender.lanes),
    )
