"""``mdstream bench scaling``: several workers against one, and the model of as many as a machine has cores."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
from rich.console import Console

from mdstream.bench import profiles, summary
from mdstream.bench.scaling import PROFILES, Scaled, scale, scaling_table
from mdstream.bench.setup import Setup, split_cpus
from mdstream.cli.bench_progress import Progress
from mdstream.cli.client_options import positive, run_until_signal
from mdstream.errors import BenchError, ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--profile",
        action="append",
        metavar="NAME",
        help=f"profile, repeatable (default: {', '.join(PROFILES)})",
    )
    add(
        "--workers",
        type=positive,
        default=2,
        metavar="N",
        help="workers that are compared with one (default: 2)",
    )
    add(
        "--repeat",
        type=positive,
        default=3,
        metavar="N",
        help="measurements of each, in turn, of which the median counts (default: 3)",
    )
    add("--seconds", type=positive, default=3, metavar="S", help="seconds to measure (default: 3)")
    add("--json", type=Path, metavar="FILE", help="write the figures as JSON")


def run(args: argparse.Namespace, console: Console) -> int:
    """Returns 1 if a measurement was not exact. Raises MdstreamError."""
    if args.workers < 2:
        raise ConfigError("--workers is 1; it is compared with one, so it must be 2 or more")
    server_cpus, load_cpus = split_cpus(None, None, args.workers)
    setup = Setup(server_cpus=server_cpus, load_cpus=load_cpus, repeat=args.repeat)
    chosen = profiles.choose(
        args.profile or PROFILES, profiles.BUILT_IN, {"seconds": args.seconds, "formats": ("msgpack",)}
    )
    found: list[Scaled] = []

    async def measure(progress: Progress) -> int:
        for profile in chosen:
            each = await scale(profile, setup, workers=args.workers, tell=progress.tell)
            found.append(each)  # one by one, so that an interrupt keeps what is done
        return 0 if all(each.exact for each in found) else 1

    with Progress(quiet=False) as progress:
        code = run_until_signal(measure(progress))
    summary.show_table(scaling_table(found), console)
    if args.json is not None:
        _save(found, args.json)
    return code


def _save(found: list[Scaled], file: Path) -> None:
    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    except OSError as error:
        raise BenchError(f"{file} cannot be written: {error.strerror}") from None
