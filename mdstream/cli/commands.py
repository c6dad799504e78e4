"""Subcommands, at any level of the command line. Only the module of the chosen one is imported.

Such a module has ``configure(parser)``, which adds its arguments, and ``run(args)``, which does the work and returns the exit code.
One with subcommands of its own calls ``add_commands`` in ``configure`` and has no ``run``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

EXIT_USAGE = 2


class CommandParser(argparse.ArgumentParser):
    """The parser of one subcommand; ``module`` is imported when that subcommand was chosen."""

    module: str | None = None
    """None for parsers that a subcommand adds itself."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        self.load()
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown

    def load(self) -> None:
        """Adds the arguments of the subcommand, once."""
        module, self.module = self.module, None
        if module is None:
            return
        import_module("mdstream._core")  # first, because it tells when it is not built
        command = import_module(module)
        command.configure(self)
        if hasattr(command, "run"):
            self.set_defaults(run=command.run)


def add_commands(
    parser: argparse.ArgumentParser, metavar: str, commands: Mapping[str, tuple[str, str]]
) -> None:
    """Adds subcommands ``{name: (module, summary)}``; where none is chosen, ``args.run`` shows the help."""

    def run(_: argparse.Namespace) -> int:
        parser.print_help()
        return EXIT_USAGE

    parser.set_defaults(run=run)
    subparsers = parser.add_subparsers(metavar=metavar, parser_class=CommandParser)
    for name, (module, summary) in commands.items():
        command = subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.module = module


def all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser and those of all its subcommands, with their arguments."""
    if isinstance(parser, CommandParser):
        parser.load()
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from all_parsers(subparser)
