"""Who is told what: the file that ``mdstream webhooks --hooks FILE`` reads.

::

    [[hooks]]
    name = "crm"
    url = "https://crm.example.com/hooks/mdstream"
    secret_file = "/run/secrets/crm.hook"
    types = ["event.published", "presence.*"]
    topics = ["desk.*"]
"""

from __future__ import annotations

import os
import re
import ssl as ssl_module
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from mdstream.auth.fetch import check_url
from mdstream.auth.patterns import Pattern, PatternSet
from mdstream.bus.activity import MD_ACTIVITY, What
from mdstream.bus.options import secret
from mdstream.bus.topic_streams import MD_EVENTS
from mdstream.errors import ConfigError
from mdstream.topics import OWN, TopicPattern, matches_any
from mdstream.webhooks.signing import Secret

T = TypeVar("T")

MOST_HOOKS: Final = 16
EVENT: Final = "event.published"
ALERT: Final = "alert.told"
TYPES: Final = {
    EVENT: MD_EVENTS,
    ALERT: MD_EVENTS,
    **{what.value: MD_ACTIVITY for what in What if what is not What.LOST},
}
"""What a webhook may be told, and the stream that has it."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_Names = Annotated[list[str], Meta(min_length=1, max_length=100)]


class _Hook(Struct, forbid_unknown_fields=True):
    """As it is in the file."""

    name: str
    url: str
    types: _Names
    secret_file: str | None = None
    secret_env: str | None = None
    old_secret_file: str | None = None
    old_secret_env: str | None = None
    topics: _Names = msgspec.field(default_factory=lambda: ["*"])
    instruments: _Names = msgspec.field(default_factory=lambda: ["*"])
    ca_file: str | None = None
    timeout_ms: Annotated[int, Meta(ge=100, le=60_000)] = 5_000
    give_up_s: Annotated[int, Meta(ge=60, le=7 * 86_400)] = 86_400


class _File(Struct, forbid_unknown_fields=True):
    hooks: Annotated[list[_Hook], Meta(min_length=1, max_length=MOST_HOOKS)]


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook. ``secrets``: the newest first; both sign while there are two."""

    name: str
    url: str
    secrets: tuple[Secret, ...]
    types: frozenset[str]
    topics: tuple[TopicPattern, ...]
    instruments: PatternSet
    timeout_s: float = 5.0
    give_up_s: float = 86_400.0
    ssl: ssl_module.SSLContext | None = None

    @property
    def streams(self) -> tuple[str, ...]:
        """Those that have what it is told."""
        return tuple(sorted({TYPES[each] for each in self.types}))

    def wants_topic(self, topic: str) -> bool:
        return matches_any(self.topics, topic)

    def wants(self, type: str, data: Mapping[str, Any]) -> bool:
        """Whether a record is for it. What is about no topic and no instrument is judged by its type alone."""
        if type == What.LOST:
            return True  # told to every webhook
        if type not in self.types:
            return False
        topic, instrument = data.get("topic"), data.get("instrument")
        if isinstance(topic, str):
            return self.wants_topic(topic)
        return not isinstance(instrument, str) or bool(self.instruments.match(instrument))


def load_hooks(file: Path, environ: Mapping[str, str] | None = None) -> tuple[Hook, ...]:
    """Raises ConfigError, which names the file and the key, and repeats no secret."""
    environ = os.environ if environ is None else environ
    try:
        found = msgspec.convert(tomllib.loads(file.read_text("utf-8")), _File)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {error}") from None
    hooks = []
    for each in found.hooks:
        try:
            hooks.append(_hook_of(each, environ))
        except (ValueError, ConfigError) as error:
            raise ConfigError(f"{file}: webhook {each.name[:32]!r}: {error}") from None
    names = [each.name for each in hooks]
    if len(set(names)) < len(names):
        raise ConfigError(f"{file}: two webhooks have the same name; up to where each was told is kept by it")
    return tuple(hooks)


def _hook_of(given: _Hook, environ: Mapping[str, str]) -> Hook:
    """Raises ValueError, ConfigError."""
    if not _NAME.fullmatch(given.name):
        raise ValueError("name must have 1 to 32 of a-z 0-9 _ -, and begin with a letter or a digit")
    _named("url", check_url, given.url)
    types = frozenset(each for text in given.types for each in _types_of(text))
    topics = tuple(_named("topics", TopicPattern.parse, each) for each in given.topics)
    patterns = [(_named("instruments", Pattern.parse, each), 1) for each in given.instruments]
    _check_alerts(given.types, topics)
    return Hook(
        given.name,
        given.url,
        _secrets_of(given, environ),
        types,
        topics,
        PatternSet(patterns),
        given.timeout_ms / 1000,
        float(given.give_up_s),
        _context_of(given),
    )


def _named(key: str, parse: Callable[[str], T], text: str) -> T:
    """Raises ValueError, which names the key."""
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _types_of(text: str) -> Iterable[str]:
    """``presence.*`` and ``*`` are all that begin so."""
    start = text.removesuffix("*")
    found = [each for each in TYPES if each == text or (start != text and each.startswith(start))]
    if not found:
        raise ValueError(
            f"types: {text[:64]!r} is none; there are {', '.join(TYPES)}, and beginnings as presence.*"
        )
    return found


def _check_alerts(types: Sequence[str], topics: Sequence[TopicPattern]) -> None:
    """Who names alerts expects some."""
    named = {ALERT, "alert.*"}.intersection(types)
    if named and not any(each.start.startswith(f"{OWN}.") for each in topics):
        raise ValueError(
            f'types: {ALERT} comes on the topics of users, which topics must name, as in topics = ["user.*"]'
        )


def _secrets_of(given: _Hook, environ: Mapping[str, str]) -> tuple[Secret, ...]:
    new = _secret_of("secret", given.secret_file, given.secret_env, environ)
    old = _secret_of("old_secret", given.old_secret_file, given.old_secret_env, environ)
    if new is None:
        raise ValueError("it needs secret_file, or secret_env, the name of an environment variable")
    return (new,) if old is None else (new, old)


def _secret_of(key: str, file: str | None, variable: str | None, environ: Mapping[str, str]) -> Secret | None:
    if file is not None and variable is not None:
        raise ValueError(f"{key}_file and {key}_env: one of them is enough")
    if variable is not None and variable not in environ:
        raise ValueError(f"{key}_env: there is no environment variable {variable[:64]!r}")
    place, text = (f"{key}_env", environ.get(variable)) if variable is not None else (f"{key}_file", None)
    text = secret(text, None if file is None else Path(file))
    return None if text is None else _named(place, Secret, text)


def _context_of(given: _Hook) -> ssl_module.SSLContext | None:
    """One for all requests: it takes a while to read the certificates."""
    if not given.url.startswith("https:"):
        if given.ca_file is not None:
            raise ValueError("ca_file is for https:// alone")
        return None
    try:
        return ssl_module.create_default_context(cafile=given.ca_file)
    except OSError as error:
        raise ValueError(f"ca_file cannot be used: {error.strerror or 'it holds no certificates'}") from None
