"""What the demo says."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from mdstream.cli.demo_options import DemoOptions
from mdstream.client import DEFAULT_URL
from mdstream.gateway import Gateway
from mdstream.gateway.config import default_of

STARTING = "starting a nats-server, a simulated market and a gateway …"
STOPPING = "stopping …"

EPILOG = """\
In a terminal the live view of `mdstream watch` follows the addresses (q or Ctrl-C ends the demo); elsewhere, or with
--lines, there is a line a second. updates/s and latency are those of the demo's own client: data messages that came, and
their arrival minus their event time.

The gateway listens on ports 8080 and 8081. If one is taken a free one is used, and named; but one that was given by --port or
--admin-port must be free. Everything runs on this machine and is gone with the demo: processes, data, all.

exit codes: 0 ended by its time, its user or a signal, 1 a part could not start or failed, 2 wrong usage
"""


def banner(options: DemoOptions, gateway: Gateway, nats_url: str, *, on_screen: bool) -> str:
    """Where everything is, and what to try."""
    count, command = len(options.symbols), _command()
    first, url = options.instruments[0], "" if gateway.url == DEFAULT_URL else f" --url {gateway.url}"
    port = _instead("port", options.port, gateway.port)
    admin_port = _instead("admin_port", options.admin_port, gateway.admin_port)
    ending = (
        "q or Ctrl-C ends the demo; its live view follows in a moment"
        if on_screen
        else "Ctrl-C ends the demo"
    )
    lines = [
        f"a simulated market of {count} instrument{'s' * (count > 1)}, about {options.rate:,.0f} level changes a second:",
        f"  {'  '.join(options.instruments)}",
        "",
        f"  clients connect to  {gateway.url}{port}",
        f"  health, metrics     {gateway.admin_url}/readyz  {gateway.admin_url}/metrics{admin_port}",
        f"  NATS                {nats_url}",
        "",
        "try in another terminal:",
        f"  {command} watch {first}{url}",
        f"  {command} watch {first} --group 100 --depth 50{url}",
        f"  {command} dump {first} --channel trades{url}",
        f"  {command} dump {' '.join(options.instruments[:3])} --channel ticker{url}",
        f"  curl -s {gateway.admin_url}/metrics | grep ^mdstream_",
        "",
        ending,
        "",
    ]
    return "\n".join(lines)


def _instead(name: str, asked: str | None, port: int) -> str:
    default = default_of(name)
    return "" if asked is not None or port == default else f"  (port {default} is taken)"


def _command() -> str:
    """How to call this program from here: by name if that finds it, else by its path."""
    program = Path(sys.argv[0])
    if program.name != "mdstream" or not os.access(program, os.X_OK):
        return f"{_path(sys.executable)} -m mdstream.cli"
    found = shutil.which("mdstream")
    return "mdstream" if found is not None and Path(found).samefile(program) else _path(program)


def _path(program: str | Path) -> str:
    """As short as it can be typed: relative where it is below the working directory, as in a project's own environment."""
    absolute = Path(program).absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)
