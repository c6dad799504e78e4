"""Where settings are given: a TOML file, ``MDSTREAM_*`` in the environment, flags. Raises ConfigError, naming the key and its place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mdstream.errors import ConfigError
from mdstream.gateway.settings import Setting

ENV_PREFIX = "MDSTREAM_"

# Environment variables with our prefix that are not settings: the build, tests, benchmarks and clients (TOKEN, API_KEY_FILE) read them, and
# Kubernetes sets the last two kinds in every pod of a namespace that has a Service named mdstream.
_FOREIGN_ENV = re.compile(
    r"MDSTREAM_(BUILD|BIN|ARGS|DATA|CONFIG|TOKEN|API_KEY_FILE|SERVICE_\w+|PORT_\d+_\w+)"
)

Item = tuple[str, str, object, bool]
"""Place, field name, raw value, whether the value is text."""


def from_file(file: Path | None, known: Mapping[str, Setting]) -> Iterable[Item]:
    """What a TOML file says; nothing where there is none."""
    if file is None:
        return
    try:
        with file.open("rb") as stream:
            table = tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also a number of too many digits, or lists too deep
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    for name, raw in _flatten(table, known):
        if name not in known:
            raise ConfigError(f"{file}: {name} is not a key{_hint(name, known)}")
        yield f"{file}: {name}", name, raw, False


def _flatten(
    table: Mapping[str, Any], known: Mapping[str, Setting], section: str = ""
) -> Iterable[tuple[str, Any]]:
    """``issuer`` in the table ``[auth]`` is the field ``auth_issuer``; ``mode`` in ``[auth]`` is ``auth``. The value of a field may be a
    table too: ``[auth.anonymous]``."""
    for key, raw in table.items():
        name = f"{section}_{key}" if section else key
        if key == "mode" and name not in known and section in known:
            name = section
        if isinstance(raw, dict) and (
            name not in known or any(other.startswith(f"{name}_") for other in known)
        ):
            yield from _flatten(raw, known, name)
        else:
            yield name, raw


def from_environment(environ: Mapping[str, str], known: Mapping[str, Setting]) -> Iterable[Item]:
    """The variables with our prefix."""
    for variable in sorted(environ):
        if not variable.startswith(ENV_PREFIX) or _FOREIGN_ENV.fullmatch(variable):
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name not in known:
            raise ConfigError(
                f"environment variable {variable} is not a key{_hint(name, known, variable_name)}"
            )
        yield f"environment variable {variable}", name, environ[variable], True


def from_flags(flags: Mapping[str, str], known: Mapping[str, Setting]) -> Iterable[Item]:
    """By field name."""
    for name, text in flags.items():
        yield flag_name(name), name, text, True


def read_value(place: str, how: Setting, raw: object, is_text: bool) -> object:
    """The value of a setting, checked; ConfigError says where it was given."""
    try:
        return how.kind.read_text(raw) if is_text and isinstance(raw, str) else how.kind.read(raw)
    except ValueError as error:
        shown = (
            "is not allowed; it must be a string of printable characters, not empty"
            if how.secret
            else str(error)
        )
        raise ConfigError(f"{place} {shown}") from None


def flag_name(name: str) -> str:
    """``heartbeat_ms`` → ``--heartbeat-ms``."""
    return "--" + name.replace("_", "-")


def variable_name(name: str) -> str:
    """``heartbeat_ms`` → ``MDSTREAM_HEARTBEAT_MS``."""
    return ENV_PREFIX + name.upper()


def _hint(name: str, known: Iterable[str], spell: Any = str) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {spell(close[0])}?" if close else "; `mdstream serve --help` lists all"
