"""``make fuzz``: every target under libFuzzer, one after another; says what was executed, and keeps what was found.

``python -m fuzz.run [--runs N] [--seconds S] [--report FILE] [NAME …]``, in a ``fuzz`` build, with coverage.so, libasan and libubsan
preloaded in this order.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from fuzz.targets import TARGETS, FuzzTarget

INTERRUPTED = 72
"""Status of a fuzzer that was ended by SIGINT; it tells its figures."""
SLOWER = 10
"""Readers in Python get so many times fewer executions."""


@dataclass
class Result:
    name: str
    executions: int
    per_second: float
    seconds: float
    corpus: int
    """Inputs that each reach something that no other reaches."""
    coverage: int
    """Places in the code that were reached; only readers in Python report it."""
    features: int
    """What was reached, told apart by how often; what guides the fuzzer."""
    found: str
    """The last lines of what the fuzzer said where it found something."""


def environment(target: FuzzTarget, release: Path | None) -> dict[str, str]:
    if not target.is_reader or release is None:
        return os.environ | ({"PYTHONMALLOC": "malloc"} if target.guarded else {})
    # atheris instruments the reader itself: the coverage of the core would take the place of what it reports
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("LD_PRELOAD", "ASAN_OPTIONS", "MDSTREAM_BUILD")
    }
    return kept | {"PYTHONPATH": os.pathsep.join(map(str, (release, release / "tests")))}


def fuzz(
    target: FuzzTarget, runs: int, seconds: int, patience_s: int, corpus: Path, release: Path | None
) -> Result:
    count = max(1, runs // SLOWER) if target.is_reader else runs
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.engine", target.name, "--runs", str(count), "--seconds", str(seconds), "--patience", str(patience_s),
         "--corpus", str(corpus)],
        env=environment(target, release), cwd=release if target.is_reader else None,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    took_s = time.monotonic() - began_s
    executed = _figure(done.stdout, r"stat::number_of_executed_units: (\d+)")
    reached = _figure(done.stdout, r"cov: (\d+)"), _figure(done.stdout, r"ft: (\d+)")
    kept = len(list((corpus / target.name).iterdir()))
    found = "" if done.returncode in (0, INTERRUPTED) else done.stdout[-4000:]
    return Result(target.name, executed, round(executed / took_s), round(took_s, 1), kept, *reached, found)


def _figure(text: str, pattern: str) -> int:
    """The last one that the fuzzer told."""
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}; all, if none is given"
    )
    parser.add_argument(
        "--runs", type=int, default=1_000_000, help=f"executions of each; readers in Python: 1/{SLOWER}"
    )
    parser.add_argument("--seconds", type=int, default=0, help="for each at most; 0: no bound")
    parser.add_argument(
        "--patience",
        type=int,
        default=30,
        help="seconds for one input; more where the process may be stopped for a while",
    )
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument(
        "--release", type=Path, help="where the release build is, on which readers in Python are run"
    )
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    results = []
    for name in options.names or TARGETS:
        result = fuzz(
            TARGETS[name],
            options.runs,
            options.seconds,
            options.patience,
            options.corpus.absolute(),
            options.release,
        )
        results.append(result)
        said = "FOUND SOMETHING" if result.found else "nothing found"
        print(
            f"{name:18} {result.executions:12,} executions in {result.seconds:7.1f} s, {result.corpus:5} inputs kept, "
            f"{result.features} features reached: {said}",
            flush=True,
        )
        if result.found:
            print(result.found)
        if options.report:  # after each, because the next one may take hours
            options.report.parent.mkdir(exist_ok=True)
            options.report.write_text(json.dumps([asdict(each) for each in results], indent=1))
    return 1 if any(each.found for each in results) else 0


if __name__ == "__main__":
    sys.exit(main())
