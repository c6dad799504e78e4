"""The options of ``mdstream bench``, and the profiles and the setup that they ask for."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mdstream.bench import profiles, report
from mdstream.bench.compare import DEFAULT_NOISE
from mdstream.bench.profiles import Profile
from mdstream.bench.runner import Sweep
from mdstream.bench.setup import Setup, address, split_cpus
from mdstream.bus import BusOptions
from mdstream.cli import bench_scaling
from mdstream.cli.client_options import TOKEN_ENV, natural, positive
from mdstream.errors import ConfigError

EPILOG = """\
examples:
  mdstream bench                                      a short set on this machine, about three minutes
  mdstream bench --list                               the profiles
  mdstream bench --profile fan-out --connections 2000 --format json --repeat 5
  mdstream bench --profile storm --authenticate fresh --tls   clients with a token of their own each, over TLS
  mdstream bench --profile symbols --storm 2000       latency while others are cut off and come back
  mdstream bench --profile trades --workers 2         a gateway of two processes
  mdstream bench --profile fan-out --sweep connections=100,200,500,1000 --report growth.html
  mdstream bench --url ws://10.0.0.7:8080 --admin http://10.0.0.7:8081 --nats nats://10.0.0.5:4222
  mdstream bench --json after.json && mdstream bench compare before.json after.json --fail-above 1.2
  mdstream bench show after.json --report after.html

Without --url the bench starts a nats-server and a gateway on loopback for each measurement, and stops
them. With --url it measures running gateways: --nats must be their NATS, and a venue BENCH… appears on
it during the bench. Publishing is open-loop: latency counts from the time when an update was due.

exit codes: 0 done and exact, 1 a check failed (or compare: worse than --fail-above), 2 wrong usage or
could not run, 130 or 143 interrupted (finished measurements are shown and kept)
"""

USAGE = """\
mdstream bench [--profile NAME …] [--url URL --nats URL] [--json FILE] [--report FILE] [OPTION …]
       mdstream bench compare BEFORE.json AFTER.json [--fail-above RATIO]
       mdstream bench show FILE.json [--report FILE]
       mdstream bench scaling [OPTION …]"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.usage = USAGE
    _add_work(parser)
    _add_values(parser)
    _add_places(parser)
    _add_output(parser)
    actions = parser.add_subparsers(
        dest="action", metavar="compare | show | scaling", title="with results, and of workers"
    )
    _add_compare(actions.add_parser("compare", help="compare two results", allow_abbrev=False))
    bench_scaling.configure(
        actions.add_parser("scaling", help="several workers against one", allow_abbrev=False)
    )
    show = actions.add_parser("show", help="show a result again, or write its report", allow_abbrev=False)
    show.add_argument("file", type=Path, metavar="FILE.json")
    _add_report(show)


def _add_work(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what to measure").add_argument
    add("--list", action="store_true", help="list the profiles and exit")
    add(
        "--profile",
        action="append",
        metavar="NAME",
        help=f"repeatable (default: {', '.join(profiles.DEFAULT)})",
    )
    add("--profiles", type=Path, metavar="FILE", help="TOML file with new or changed profiles")
    add(
        "--quick",
        action="store_true",
        help="a try: one second and one format each, at most 1,000 connections",
    )
    add(
        "--repeat",
        type=positive,
        default=1,
        metavar="N",
        help="measurements of each, shows the median (default: 1)",
    )
    add(
        "--sweep",
        action="append",
        type=_sweep,
        metavar="FIELD=A,B,…",
        help=f"measure at each of these values; FIELD: {', '.join(profiles.SWEEPS)}",
    )
    add(
        "--floor-seconds",
        type=_seconds,
        default=2.0,
        metavar="S",
        help="time for the C floor before and after each measurement, 0 for none (default: 2)",
    )
    add(
        "--verify",
        type=natural,
        default=2,
        metavar="N",
        help="connections per process that keep books and check checksums (default: 2); all check numbers",
    )


def _add_values(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("values of the profiles").add_argument
    texts = {
        "symbols": "instruments",
        "rate": "updates per second over all symbols",
        "burst": "updates published back to back",
        "changes": "level changes per update",
        "connections": "WebSocket connections",
        "per_connection": "symbols per connection",
        "channel": "what connections subscribe to: book, trades or ticker",
        "depth": "levels per side, 0 for the full book",
        "interval_ms": "conflation interval, 0 for every change",
        "seconds": "how long to measure",
        "processes": "load processes",
        "storm": "more connections, which are cut off once a second while the others are measured",
    }
    for name in profiles.OVERRIDES:
        if name == "channel":
            add("--channel", choices=profiles.CHANNELS, help=texts[name])
            continue
        kind = _number if name in ("rate", "seconds") else natural
        add("--" + name.replace("_", "-"), dest=name, type=kind, metavar="N", help=texts[name])
    add("--format", choices=("json", "msgpack", "both"), help="encoding (default: of the profile)")


def _add_places(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("where").add_argument
    add(
        "--url",
        action="append",
        metavar="URL",
        help="a running gateway, ws://HOST:PORT or wss://… (repeatable)",
    )
    add("--nats", metavar="URL", help="a running NATS server (default: the bench starts one)")
    add("--admin", action="append", metavar="URL", help="admin address of a running gateway: CPU and memory")
    add(
        "--server-pid",
        action="append",
        type=positive,
        metavar="PID",
        help="process of a gateway on this machine: its exact CPU, with its children",
    )
    add(
        "--server-cpus",
        type=_cpus,
        metavar="N,N-M",
        help="CPUs of the started gateway (default: the first, of --workers N the first N)",
    )
    add("--load-cpus", type=_cpus, metavar="N,N-M", help="CPUs of everything else (default: the others)")
    add(
        "--server-args",
        type=shlex.split,
        default=[],
        metavar="'OPTIONS'",
        help="more options for `mdstream serve`: --server-args='--config gateway.toml'",
    )
    add(
        "--port",
        type=natural,
        default=0,
        metavar="N",
        help="port of the started gateway (default: a free one)",
    )
    add(
        "--token",
        metavar="JWT",
        help="sent by each connection as Authorization: Bearer; safer in the environment as MDSTREAM_TOKEN",
    )
    add(
        "--authenticate",
        nargs="?",
        const="same",
        choices=("same", "fresh"),
        help="the started gateway asks for tokens, by a key made for it; connections bring the same one (the default), or each a fresh one",
    )
    add("--tls", action="store_true", help="the started gateway has TLS, by a certificate made for it")
    add(
        "--ca",
        type=Path,
        metavar="FILE",
        help="certificates to trust, for wss:// (default: those of the system)",
    )
    add(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="processes of the started gateway (default: 1)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("results").add_argument
    add("--json", type=Path, metavar="FILE", help="write all figures as JSON, after each run")
    _add_report(parser)
    add("--quiet", action="store_true", help="no progress on stderr")


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write a report: .html (one file) or .md (with pictures)"
    )


def _add_compare(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("before", type=Path, metavar="BEFORE.json")
    add("after", type=Path, metavar="AFTER.json")
    add("--fail-above", type=_number, metavar="RATIO", help="exit with 1 if a figure is worse by this ratio")
    add(
        "--noise",
        type=_number,
        default=DEFAULT_NOISE,
        metavar="SHARE",
        help=f"difference to ignore (default: {DEFAULT_NOISE}; more where repeats differ more)",
    )


# ---- from arguments to profiles and setup


def profiles_of(args: argparse.Namespace) -> dict[str, Profile]:
    """All known profiles. Raises ConfigError."""
    return profiles.load(args.profiles) if args.profiles is not None else profiles.BUILT_IN


def chosen_profiles(args: argparse.Namespace) -> list[Profile]:
    """The profiles to measure, with the values of the flags. Raises ConfigError."""
    overrides: dict[str, Any] = {
        name: value for name in profiles.OVERRIDES if (value := getattr(args, name)) is not None
    }
    if args.format is not None:
        overrides["formats"] = profiles.FORMATS if args.format == "both" else (args.format,)
    names = args.profile or profiles.DEFAULT
    return profiles.choose(names, profiles_of(args), overrides, quick=args.quick)


def setup_of(args: argparse.Namespace) -> Setup:
    """Raises ConfigError for options that exclude each other."""
    urls = tuple(url for text in args.url or () for url in text.split(","))
    for url in urls:
        address(url)
    if urls and args.nats is None:
        raise ConfigError("--url needs --nats: updates must be published where these gateways read them")
    for flag, value in (("--admin", args.admin), ("--server-pid", args.server_pid)):
        if value and not urls:
            raise ConfigError(f"{flag} is of a gateway that runs: give its --url too")
    for flag in ("--server-cpus", "--server-args", "--port", "--authenticate", "--tls"):
        if urls and getattr(args, flag.lstrip("-").replace("-", "_")):
            raise ConfigError(f"{flag} is for a gateway that is started here, but --url names one that runs")
    if urls and args.workers > 1:
        raise ConfigError("--workers is for a gateway that is started here, but --url names one that runs")
    _check_tls(args, urls)
    if args.authenticate and args.token is not None:
        raise ConfigError("--token is of somebody else, and --authenticate makes its own: give one of them")
    if args.nats is not None:
        BusOptions.parse(args.nats)
    server_cpus, load_cpus = split_cpus((() if urls else args.server_cpus), args.load_cpus, args.workers)
    return Setup(
        urls=urls,
        nats=args.nats,
        admin=tuple(args.admin or ()),
        server_pids=tuple(args.server_pid or ()),
        server_cpus=server_cpus,
        load_cpus=load_cpus,
        server_args=tuple(args.server_args),
        port=args.port,
        verify=args.verify,
        repeat=args.repeat,
        floor_s=args.floor_seconds,
        token=args.token or os.environ.get(TOKEN_ENV) or None,
        authenticate=args.authenticate,
        tls=args.tls,
        ca=str(args.ca or ""),
        workers=args.workers,
    )


def _check_tls(args: argparse.Namespace, urls: Sequence[str]) -> None:
    """Raises ConfigError."""
    if len({url.partition(":")[0] for url in urls}) > 1:
        raise ConfigError("--url names gateways with and without TLS: measure them one after the other")
    if args.ca is None:
        return
    if not any(url.startswith("wss:") for url in urls):
        raise ConfigError("--ca is for a running gateway with TLS: give its --url wss://…")
    if not args.ca.is_file():
        raise ConfigError(f"--ca {args.ca}: there is no such file")


def check_files(args: argparse.Namespace) -> None:
    """Checks before the measurement that the results can be written. Raises ConfigError."""
    if args.report is not None:
        report.check_name(args.report)
    for flag, file in (("--json", args.json), ("--report", args.report)):
        if file is not None and not file.parent.is_dir():
            raise ConfigError(f"{flag} {file}: there is no directory {file.parent}")


def recorded_options(args: argparse.Namespace, setup: Setup) -> dict[str, Any]:
    """The options for the result file, without addresses and secrets."""
    cpus = {"server_cpus": setup.server_cpus, "load_cpus": setup.load_cpus}
    options = {
        "server": f"{len(setup.urls)} running" if setup.urls else "started for each measurement",
        "nats": "running" if setup.nats else "started for each measurement",
        **{name: ",".join(map(str, value)) for name, value in cpus.items() if value},
        "repeat": setup.repeat,
        "floor_seconds": setup.floor_s,
        "verified_connections": setup.verify,
    }
    if setup.authenticate:
        options["authenticate"] = setup.authenticate
    if setup.secure:
        options["tls"] = "yes; the floor has none"
    if setup.workers > 1:
        options["workers"] = setup.workers
    if setup.server_args:
        options["server_args"] = shlex.join(setup.server_args)
    if args.quick:
        options["quick"] = True
    return options


def show_profiles(known: dict[str, Profile], console: Console) -> None:
    """Prints one line per profile."""
    width = max(map(len, known))
    for name, profile in known.items():
        mark = "*" if name in profiles.DEFAULT else " "
        console.print(f"{mark} {name:<{width}}  {profile.summary}", markup=False, soft_wrap=True)
    console.print("* runs when no --profile is given", style="dim")


# ---- types of arguments


def _sweep(text: str) -> Sweep:
    name, equals, values = text.partition("=")
    field = name.strip().replace("-", "_")
    if not equals or field not in profiles.SWEEPS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no sweep; it reads FIELD=A,B,… with FIELD one of {', '.join(profiles.SWEEPS)}"
        )
    points = tuple(_number(value) for value in values.split(","))
    return Sweep(field, points)


def _number(text: str) -> float:
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number, not below 0")
    return value


def _seconds(text: str) -> float:
    value = _number(text)
    if value > 600:
        raise argparse.ArgumentTypeError(f"{text!r} must be at most 600 seconds")
    return value


def _cpus(text: str) -> tuple[int, ...]:
    """CPUs as in taskset(1): ``0``, ``1-3``, ``0,2-3``."""
    found: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.partition("-")
        first, last = natural(low), natural(high if dash else low)
        if last < first or last > 4095:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of CPUs; it reads 0,2-3")
        found.update(range(first, last + 1))
    return tuple(sorted(found))
