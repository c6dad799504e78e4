"""``mdstream serve``: runs a gateway until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mdstream.gateway.config import GatewayConfig, default_of, load, spell
from mdstream.gateway.config_sources import flag_name
from mdstream.gateway.settings import Switch, settings_of

_EPILOG = """\
examples:
  mdstream serve --nats embedded                     everything on this machine, NATS included
  mdstream serve --nats nats://10.0.0.5:4222 --host 0.0.0.0 --port 8080
  mdstream serve --config gateway.toml
  mdstream serve --nats embedded --ui                a trading page at http://127.0.0.1:8080/ too

Each option is also a key of the TOML file (heartbeat_ms = 10000) and an environment variable
(MDSTREAM_HEARTBEAT_MS=10000). Flags win over the environment, the environment over the file.

The gateway also starts without NATS: /readyz on the admin port says when NATS is connected.

exit codes: 0 stopped by a signal, 1 could not run (for example: the port is in use), 2 wrong configuration
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds one flag per field of the configuration."""
    parser.epilog = _EPILOG
    parser.usage = "mdstream serve [--nats URL|embedded] [--host ADDRESS] [--port N] [--admin-port N] [--config FILE] [OPTION …]"
    parser.add_argument("--config", metavar="FILE", type=Path, help="TOML file with any of the options below")
    known = settings_of(GatewayConfig)
    groups = {
        title: parser.add_argument_group(title) for title in dict.fromkeys(h.group for h in known.values())
    }
    for name, how in known.items():
        default = default_of(name)
        shown = "" if default is None else f" (default: {spell(default)})"
        alone: dict[str, str] = {"nargs": "?", "const": "on"} if isinstance(how.kind, Switch) else {}
        groups[how.group].add_argument(
            flag_name(name),
            dest=name,
            metavar=how.kind.placeholder,
            help=(how.text + shown).replace("%", "%%"),
            **alone,  # type: ignore[arg-type]
        )


def run(args: argparse.Namespace) -> int:
    """Loads the configuration and serves until a signal; returns the exit code."""
    flags = {name: text for name in settings_of(GatewayConfig) if (text := getattr(args, name)) is not None}
    read = partial(load, args.config, flags=flags)
    config = read()
    # Imported late: a wrong configuration is reported without loading the whole gateway.
    from mdstream.gateway.run import serve

    return serve(config, read)
