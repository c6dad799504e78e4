"""The ``mdstream`` command: see ``main.py`` for how a subcommand plugs in."""

from mdstream.cli.main import main

__all__ = ["main"]
