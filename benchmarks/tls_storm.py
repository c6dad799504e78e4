"""A storm of new TLS clients against the gateway and against a C server: ``python benchmarks/tls_storm.py``.

Each client makes a full TLS 1.3 handshake, asks for the upgrade, reads the answer and the beginning of ``welcome``, and goes. The C server
(``tls_storm.c``, OpenSSL and one epoll) does the same and nothing else. The server has the first core for itself, the clients the others,
and because they may be the limit, what is compared is the server's CPU for a connection; the rate is 1 / CPU. The two take turns.

Needs gcc and the headers of OpenSSL. ``--header 'Authorization: Bearer …'`` goes with each request.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
KEYS = {"ecdsa": CURVE, "rsa": ["-newkey", "rsa:2048"]}
CLIENTS = 8


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def certificate(folder: Path, kind: str) -> tuple[str, str]:
    cert, key = str(folder / f"{kind}.pem"), str(folder / f"{kind}.key")
    command = ["openssl", "req", "-x509", *KEYS[kind], "-nodes", "-days", "2", "-subj", "/CN=storm"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@contextmanager
def started(command: list[str], pattern: str, stream: str) -> Iterator[tuple[int, int]]:
    """The process and its port, from the first line of this stream that matches."""
    pipes = {stream: subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        for line in getattr(process, stream):
            if found := re.search(pattern, line):
                break
        try:
            yield process.pid, int(found[1])
        finally:
            process.kill()


def measured(program: str, pid: int, port: int, seconds: float, header: str) -> tuple[float, float]:
    """CPU of the server in µs for a connection, and connections per second as the clients made them."""
    cores = os.sched_getaffinity(0)
    before = cpu_s(pid)
    command = [program, "load", str(port), str(seconds), str(CLIENTS), header]
    if len(cores) > 1:
        command = ["taskset", "-c", ",".join(map(str, sorted(cores)[1:])), *command]
    made, failed = map(
        int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    )
    if failed:
        print(f"  {failed} connections failed", file=sys.stderr)
    return (cpu_s(pid) - before) / made * 1e6, made / seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--header", default="")
    parser.add_argument("--server-args", type=shlex.split, default=[])
    parser.add_argument("--keys", nargs="+", choices=KEYS, default=list(KEYS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        program = str(folder / "tls_storm")
        subprocess.run(["gcc", "-O2", "-o", program, HERE / "tls_storm.c", "-lssl", "-lcrypto"], check=True)
        for kind in options.keys:
            show(program, kind, *certificate(folder, kind), options)


def show(program: str, kind: str, cert: str, key: str, options: argparse.Namespace) -> None:
    serve = [
        sys.executable,
        "-m",
        "mdstream.cli",
        "serve",
        "--port",
        "0",
        "--admin-port",
        "0",
        "--nats",
        "nats://127.0.0.1:1",
    ]
    serve += ["--tls-cert", cert, "--tls-key", key, *options.server_args]
    floor: list[float] = []
    gateway: list[float] = []
    for _ in range(options.repeat):
        with started([program, "serve", cert, key], r"^(\d+)$", "stdout") as (pid, port):
            measured(program, pid, port, 0.5, options.header)
            floor.append(measured(program, pid, port, options.seconds, options.header)[0])
        with started(serve, r"clients at wss://[\d.]+:(\d+)", "stderr") as (pid, port):
            measured(program, pid, port, 0.5, options.header)
            gateway.append(measured(program, pid, port, options.seconds, options.header)[0])
    c, ours = statistics.median(floor), statistics.median(gateway)
    print(
        f"{kind:6} C {c:6.0f} µs, {1e6 / c:6.0f}/s   gateway {ours:6.0f} µs, {1e6 / ours:6.0f}/s   {c / ours:.0%} of C",
        flush=True,
    )
    print(f"       each: C {[round(x) for x in floor]}, gateway {[round(x) for x in gateway]}", flush=True)


if __name__ == "__main__":
    main()
