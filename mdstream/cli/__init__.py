"""The ``mdstream`` command; ``commands.py`` explains how a subcommand is added."""

from mdstream.cli.main import main

__all__ = ["main"]
