"""``mdstream bench``: the cost and the speed of a gateway, on this machine or of a running one."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from mdstream.bench import compare as comparing
from mdstream.bench import plots, report, results, summary
from mdstream.bench.machine import this_machine, versions
from mdstream.bench.results import Result, Run
from mdstream.bench.runner import Work, plan
from mdstream.bench.runner import run as do_work
from mdstream.bench.setup import Setup
from mdstream.cli import bench_options, bench_scaling
from mdstream.cli.bench_progress import Progress
from mdstream.cli.client_options import run_until_signal
from mdstream.errors import MdstreamError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_NOT_RUN = 2


configure = bench_options.configure


def run(args: argparse.Namespace) -> int:
    """Measures, compares or shows; returns 0, 1 if a check failed, 2 if it could not run. Raises ConfigError."""
    console = Console(highlight=False)
    try:
        if args.action == "compare":
            return _compare(args, console)
        if args.action == "scaling":
            return bench_scaling.run(args, console)
        if args.action == "show":
            return _show(results.read(args.file), args.report, console)
        if args.list:
            bench_options.show_profiles(bench_options.profiles_of(args), console)
            return EXIT_OK
        return _measure(args, console)
    except MdstreamError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"mdstream: {error}", markup=False)
        return EXIT_NOT_RUN


def _measure(args: argparse.Namespace, console: Console) -> int:
    setup = bench_options.setup_of(args)
    work = plan(bench_options.chosen_profiles(args), args.sweep or [])
    bench_options.check_files(args)
    with Progress(quiet=args.quiet) as progress:
        bench = Bench(args, setup, progress)
        code = run_until_signal(bench.run(work))
    result = bench.result
    if result is None:
        return code
    shown = _show(result, args.report, console)
    if args.json is not None:
        console.print(f"figures: {args.json}")
    return code or shown


class Bench:
    """Collects finished runs, so that they survive an interrupt."""

    def __init__(self, args: argparse.Namespace, setup: Setup, progress: Progress) -> None:
        self.result: Result | None = None
        self._args = args
        self._setup = setup
        self._progress = progress
        self._started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._runs: list[Run] = []

    async def run(self, work: list[Work]) -> int:
        await do_work(work, self._setup, tell=self._progress.tell, done=self._done)
        return EXIT_OK

    def _done(self, run: Run) -> None:
        self._runs.append(run)
        self.result = Result(
            started=self._started,
            machine=this_machine(),
            versions=versions(),
            options=bench_options.recorded_options(self._args, self._setup),
            runs=list(self._runs),
        )
        if self._args.json is not None:
            results.save(self.result, self._args.json)
        self._progress.done(run)


def _show(result: Result, file: Path | None, console: Console) -> int:
    summary.show(result, console)
    if file is not None:
        written = report.write(result, file)
        console.print(f"report: {', '.join(map(str, written))}")
        if not plots.available():
            console.print(plots.MISSING, markup=False)
    return EXIT_OK if result.passed else EXIT_FAILED


def _compare(args: argparse.Namespace, console: Console) -> int:
    found = comparing.compare(results.read(args.before), results.read(args.after), args.noise)
    summary.show_table(comparing.comparison_table(found), console)
    worst = found.worst
    if worst is None:
        console.print("nothing became worse beyond noise", style="bold")
        return EXIT_OK
    what = f"{worst.figure.name} of {worst.run}"
    console.print(f"worst: {what}, {worst.change:.2f}× worse", style="bold red", markup=False)
    return EXIT_FAILED if args.fail_above is not None and worst.change > args.fail_above else EXIT_OK
