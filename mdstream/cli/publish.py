"""``mdstream publish``: an event to a topic, through a gateway or straight to NATS."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any, Final

from mdstream.bus import BusOptions
from mdstream.bus import connect as connect_bus
from mdstream.bus.events import MAX_KEY, Event, publish_event
from mdstream.bus.topic_streams import TopicStreamOptions, ensure_events
from mdstream.cli.client_options import add_connection, credentials_of, reachable, run_until_signal
from mdstream.client import ConnectionFailed, connect
from mdstream.errors import ConfigError, MdstreamError
from mdstream.topics import check_topic

EXIT_OK: Final = 0
WAIT_S: Final = 30.0
"""Until it is stored, where ``--for`` says nothing else."""

_EPILOG = """\
examples:
  mdstream publish desk.notices --type notice --data '{"text": "maintenance at 18:00"}'
  mdstream publish user.alice --type fill --data - --key order-17 < fill.json
  mdstream publish desk.notices --type notice --data '"hello"' --nats nats://127.0.0.1:4222

It prints the number of the event. Through a gateway the token must allow it, and its subject is the sender. With the same --key within two
minutes it is stored once.

exit codes: 0 stored, 1 not stored or refused, 2 wrong usage, 130 interrupted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("topic", metavar="TOPIC", type=topic, help="such as desk.notices or user.alice")
    parser.add_argument("--type", metavar="NAME", required=True, help="what it is, such as notice")
    parser.add_argument(
        "--data", metavar="JSON", default="null", help="a JSON value; - reads it from stdin (default: null)"
    )
    parser.add_argument("--key", metavar="KEY", help="makes it the same event when it is published again")
    parser.add_argument(
        "--nats", metavar="URL", help="publish to this NATS, not through a gateway; --sender says who it is"
    )
    parser.add_argument("--sender", metavar="NAME", help="with --nats: the sender (default: none)")
    add_connection(parser, format="msgpack")


def run(args: argparse.Namespace) -> int:
    if args.key is not None and not 0 < len(args.key) <= MAX_KEY:
        raise ConfigError(f"--key must have 1 to {MAX_KEY} characters")
    if args.sender is not None and args.nats is None:
        raise ConfigError("--sender is for --nats: a gateway says itself who the sender is")
    data = _read(args.data)
    return run_until_signal(_publish_to_nats(args, data) if args.nats else _publish(args, data))


def topic(text: str) -> str:
    """The type of an argument that names a topic."""
    try:
        return check_topic(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _read(text: str) -> Any:
    """Raises ConfigError."""
    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--data is no JSON: {error}") from None


async def _publish(args: argparse.Namespace, data: Any) -> int:
    try:
        async with asyncio.timeout(args.for_s or WAIT_S):
            async with connect(
                args.url, format=args.format, compression=args.compression, **credentials_of(args)
            ) as client:
                stored = await client.publish(args.topic, args.type, data, key=args.key)
    except TimeoutError:
        raise MdstreamError("the gateway did not say in time that the event is stored") from None
    except ConnectionFailed as error:
        raise reachable(error) from error
    return _tell(stored.seq, stored.duplicate)


async def _publish_to_nats(args: argparse.Namespace, data: Any) -> int:
    options = BusOptions.parse(args.nats, name="mdstream publish")
    async with await connect_bus(options) as bus:
        await ensure_events(bus.jetstream, TopicStreamOptions())
        try:
            stored = await publish_event(bus, args.topic, Event(args.type, data, args.sender), key=args.key)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    return _tell(stored.seq, stored.duplicate)


def _tell(seq: int, duplicate: bool) -> int:
    print(f"{seq} (it was stored before)" if duplicate else seq)
    return EXIT_OK
