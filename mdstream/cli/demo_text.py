"""The texts of the demo."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from urllib.parse import urlencode

from mdstream.cli.demo_keys import DemoKeys
from mdstream.cli.demo_options import DemoOptions
from mdstream.client import DEFAULT_URL
from mdstream.gateway import Gateway
from mdstream.gateway.config import default_of

STARTING = "starting a nats-server, a simulated market and a gateway …"
STOPPING = "stopping …"

EPILOG = """\
In a terminal the demo shows its addresses, then the live view of `mdstream watch` (q or Ctrl-C ends the demo). Elsewhere,
with TERM=dumb or with --lines, it prints a line per second. updates/s and latency are measured by the demo's own client: data messages
received, and arrival time minus event time.

The gateway asks for a token. The demo makes a key and a token for it, and shows what a client with a wrong one is told.

The gateway listens on ports 8080 and 8081. If one is taken, the demo picks a free port and shows it; a port given by --port or
--admin-port must be free. Everything runs on this machine. The demo leaves no processes and no data behind.

exit codes: 0 ended by --for, the user or a signal; 1 a process could not start or failed; 2 wrong usage
"""


def refused(what: str) -> str:
    """What became of a client with a wrong token."""
    return f"a client with a wrong token:  {what}\n"


def banner(options: DemoOptions, gateway: Gateway, nats: str, keys: DemoKeys, *, on_screen: bool) -> str:
    """The addresses, and commands to try."""
    count, command = len(options.symbols), _command()
    first, url = options.instruments[0], "" if gateway.url == DEFAULT_URL else f" --url {gateway.url}"
    port = _if_taken("port", options.port, gateway.port)
    admin_port = _if_taken("admin_port", options.admin_port, gateway.admin_port)
    ending = (
        "q or Ctrl-C ends the demo; the live view follows in a moment"
        if on_screen
        else "Ctrl-C ends the demo"
    )
    lines = [
        f"a simulated market of {count} instrument{'s' * (count > 1)}, about {options.rate:,.0f} level changes per second:",
        f"  {'  '.join(options.instruments)}",
        "",
        f"  trading page        {page_url(options, gateway, keys)}",
        f"  clients connect to  {gateway.url}{port}",
        f"  health, metrics     {gateway.admin_url}/readyz  {gateway.admin_url}/metrics{admin_port}",
        f"  NATS                {nats}",
        "",
        "try in another terminal (without the token you are refused):",
        f"  export MDSTREAM_TOKEN=$(cat {keys.token_file})",
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


def page_url(options: DemoOptions, gateway: Gateway, keys: DemoKeys) -> str:
    """Where the page is, with its token in the fragment, which browsers send nowhere; or why there is none."""
    if gateway.ui is None:
        return "not built: `make web` builds it, then start the demo again"
    address = gateway.url.replace("ws", "http", 1).removesuffix("v1/stream")
    said = {"token": keys.token, "instruments": ",".join(options.instruments), "demo": "1"}
    return f"{address}#{urlencode(said, safe=':,')}"


def _if_taken(name: str, asked: str | None, port: int) -> str:
    default = default_of(name)
    return "" if asked is not None or port == default else f"  (port {default} is taken)"


def _command() -> str:
    """How to call this program from here: by name if the PATH finds it, else by its path."""
    program = Path(sys.argv[0])
    if program.name != "mdstream" or not os.access(program, os.X_OK):
        return f"{_path(sys.executable)} -m mdstream.cli"
    found = shutil.which("mdstream")
    return "mdstream" if found is not None and Path(found).samefile(program) else _path(program)


def _path(program: str | Path) -> str:
    """The path, relative if it is below the working directory, as in a project's own environment."""
    absolute = Path(program).absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)
