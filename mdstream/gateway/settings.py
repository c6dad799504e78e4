"""The kinds of settings: what a setting may hold, and how to read it from TOML (typed) or from an environment variable or a flag (text).

Each kind turns a raw value into the value that the configuration keeps, or raises ValueError that says what is allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import urlsplit

from mdstream.auth.patterns import Pattern
from mdstream.gateway.addresses import parse_network
from mdstream.wording import written

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

_HOST_NAME = re.compile(r"\*|[A-Za-z0-9_]([A-Za-z0-9_.\-]{0,251}[A-Za-z0-9_])?")


class Kind(Protocol):
    """What a setting may hold."""

    @property
    def placeholder(self) -> str:
        """How ``--help`` names the value."""

    def read(self, raw: object) -> object:
        """The value to keep; raises ValueError naming what is allowed."""

    def read_text(self, text: str) -> object:
        """The same, from an environment variable or a flag."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number between two bounds, both allowed."""

    least: int
    greatest: int
    unit: str = ""

    @property
    def placeholder(self) -> str:
        return {"milliseconds": "MS", "bytes": "BYTES"}.get(self.unit, "N")

    def read(self, raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int) or not self.least <= raw <= self.greatest:
            unit = f" {self.unit}" if self.unit else ""
            raise ValueError(
                f"is {written(raw)}; it must be a whole number from {self.least} to {self.greatest}{unit}"
            )
        return raw

    def read_text(self, text: str) -> int:
        try:
            return self.read(int(text))
        except ValueError:
            return self.read(_number_or_text(text))


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off; true or false in TOML."""

    placeholder: str = "on|off"

    def read(self, raw: object) -> bool:
        if not isinstance(raw, bool):
            raise ValueError(f"is {written(raw)}; it must be true or false")
        return raw

    def read_text(self, text: str) -> bool:
        if text.lower() not in ("on", "off", "true", "false"):
            raise ValueError(f"is {text!r}; it must be on or off")
        return text.lower() in ("on", "true")


@dataclass(frozen=True, slots=True)
class Text:
    """A string without line breaks, not empty; one of ``choices`` if there are any."""

    choices: tuple[str, ...] = ()
    placeholder: str = "TEXT"

    def read(self, raw: object) -> str:
        if self.choices and raw not in self.choices:
            raise ValueError(f"is {written(raw)}; it must be one of {', '.join(self.choices)}")
        if not isinstance(raw, str) or not raw or not raw.isprintable():
            raise ValueError(f"is {written(raw)}; it must be a string of printable characters, not empty")
        return raw

    def read_text(self, text: str) -> str:
        return self.read(text)


@dataclass(frozen=True, slots=True)
class ExistingFile:
    """The path of a file that can be read now."""

    placeholder: str = "FILE"

    def read(self, raw: object) -> Path:
        if not isinstance(raw, str) or not raw:
            raise ValueError(f"is {written(raw)}; it must be the path of a file")
        path = Path(raw)
        try:
            with path.open("rb"):
                return path
        except OSError as error:
            raise ValueError(f"is {written(raw)}, which cannot be read: {error.strerror}") from None

    def read_text(self, text: str) -> Path:
        return self.read(text)


@dataclass(frozen=True, slots=True)
class Folder:
    """The path of a directory; it need not exist yet."""

    placeholder: str = "DIRECTORY"

    def read(self, raw: object) -> Path:
        if not isinstance(raw, str) or not raw:
            raise ValueError(f"is {written(raw)}; it must be the path of a directory")
        if Path(raw).exists() and not Path(raw).is_dir():
            raise ValueError(f"is {written(raw)}, which is no directory")
        return Path(raw)

    def read_text(self, text: str) -> Path:
        return self.read(text)


@dataclass(frozen=True, slots=True)
class Some:
    """Some of a few words, each once; as text with commas, or ``none``."""

    of: tuple[str, ...]

    @property
    def placeholder(self) -> str:
        return "WORD,WORD,…|none"

    def read(self, raw: object) -> tuple[str, ...]:
        if not isinstance(raw, list) or any(each not in self.of for each in raw):
            raise ValueError(f"is {raw!r}; it must be a list of some of {', '.join(self.of)}")
        return tuple(each for each in self.of if each in raw)

    def read_text(self, text: str) -> tuple[str, ...]:
        return self.read([] if text == "none" else [part.strip() for part in text.split(",")])


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of the served numbers, sorted, each once."""

    of: tuple[int, ...]
    placeholder: str = "N,N,…"

    def read(self, raw: object) -> tuple[int, ...]:
        allowed = ", ".join(map(str, self.of))
        if not isinstance(raw, list) or not raw or any(isinstance(n, bool) or n not in self.of for n in raw):
            raise ValueError(f"is {written(raw)}; it must be a list of some of {allowed}")
        return tuple(sorted(set(raw)))

    def read_text(self, text: str) -> tuple[int, ...]:
        return self.read([_number_or_text(part.strip()) for part in text.split(",")])


@dataclass(frozen=True, slots=True)
class Numbers:
    """Up to ``most`` whole numbers between two bounds, both allowed; sorted, each once; none at all is allowed."""

    least: int
    greatest: int
    most: int
    placeholder: str = "N,N,…"

    def read(self, raw: object) -> tuple[int, ...]:
        if not isinstance(raw, list) or len(raw) > self.most or not all(map(self._allows, raw)):
            raise ValueError(
                f"is {written(raw)}; it must be a list of at most {self.most} whole numbers from {self.least} to {self.greatest}"
            )
        return tuple(sorted(set(raw)))

    def read_text(self, text: str) -> tuple[int, ...]:
        return self.read([_number_or_text(part.strip()) for part in text.split(",") if part.strip()])

    def _allows(self, number: object) -> bool:
        is_whole = isinstance(number, int) and not isinstance(number, bool)
        return is_whole and self.least <= number <= self.greatest  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class NetworkList:
    """IP networks and addresses, in their usual spelling; as text with commas, or ``none``."""

    placeholder: str = "NETWORK[,NETWORK…]|none"

    def read(self, raw: object) -> tuple[str, ...]:
        if not isinstance(raw, list) or not all(isinstance(each, str) for each in raw):
            raise ValueError(
                f"is {written(raw)}; it must be a list of networks such as 10.0.0.0/8 or 2001:db8::/32"
            )
        try:
            return tuple(dict.fromkeys(parse_network(each) for each in raw))
        except ValueError as error:
            raise ValueError(f"is {written(raw)}: {error}") from None

    def read_text(self, text: str) -> tuple[str, ...]:
        return self.read([] if text == "none" else [part.strip() for part in text.split(",")])


@dataclass(frozen=True, slots=True)
class HostNames:
    """Names of this machine as a browser or a scraper uses them, without a port; ``*`` is any."""

    placeholder: str = "NAME,NAME,…"

    def read(self, raw: object) -> tuple[str, ...]:
        if not isinstance(raw, list) or not all(isinstance(n, str) and _HOST_NAME.fullmatch(n) for n in raw):
            raise ValueError(f"is {written(raw)}; it must be a list of host names without a port, or *")
        return tuple(raw)

    def read_text(self, text: str) -> tuple[str, ...]:
        return self.read([part.strip() for part in text.split(",") if part.strip()])


@dataclass(frozen=True, slots=True)
class InstrumentPatterns:
    """Patterns of instruments, as in entitlements; none at all is allowed."""

    placeholder: str = "PATTERN,PATTERN,…"

    def read(self, raw: object) -> tuple[str, ...]:
        if not isinstance(raw, list) or len(raw) > 1_000:
            raise ValueError(
                f"is {written(raw)}; it must be a list of at most 1000 patterns such as SIM:BTC*"
            )
        for each in raw:
            Pattern.parse(each)
        return tuple(raw)

    def read_text(self, text: str) -> tuple[str, ...]:
        return self.read([part.strip() for part in text.split(",") if part.strip()])


@dataclass(frozen=True, slots=True)
class NatsUrls:
    """``embedded``, or one or more URLs of the servers of one NATS cluster; ``file:PATH`` for those in a file."""

    placeholder: str = "URL[,URL…]|file:PATH|embedded"

    def read(self, raw: object) -> tuple[str, ...]:
        urls = [raw] if isinstance(raw, str) else raw
        if urls == ["embedded"]:
            return ("embedded",)
        if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
            raise ValueError(f"is {written(raw)}; it must be a URL, a list of URLs, or embedded")
        for url in urls:
            if url.startswith("file:"):
                ExistingFile().read(url.removeprefix("file:"))
            else:
                _check_nats_url(url)
        return tuple(urls)

    def read_text(self, text: str) -> tuple[str, ...]:
        return self.read([part.strip() for part in text.split(",")])


def _check_nats_url(url: str) -> None:
    wanted = "a NATS URL reads nats://HOST:PORT or tls://HOST:PORT"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError as error:
        raise ValueError(f"holds a URL that cannot be read ({error}); {wanted}") from None
    if parts.scheme not in ("nats", "tls") or not parts.hostname:
        # The URL may hold a password: name only what is safe to show.
        raise ValueError(f"holds a URL of scheme {parts.scheme!r} and host {parts.hostname!r}; {wanted}")


def _number_or_text(text: str) -> int | str:
    """A number if the text is one, so that a message shows ``7`` for it and ``'7x'`` for other text."""
    try:
        return int(text)
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class Setting:
    """How one field of the configuration is read and explained."""

    kind: Kind
    group: str
    text: str
    secret: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that ``--help`` shows together, under this title, those of a small ``rank`` first; called, it makes a field of a
    configuration class."""

    title: str
    rank: int = 0

    def __call__(self, default: T, kind: Kind, text: str, *, secret: bool = False) -> T:
        how = Setting(kind, self.title, text, secret, self.rank)
        found: T = field(default=default, metadata={"setting": how})
        return found


def settings_of(config: type[DataclassInstance]) -> dict[str, Setting]:
    """The fields of a configuration class, in order: name → ``Setting``."""
    found = {each.name: each.metadata["setting"] for each in fields(config)}
    return dict(sorted(found.items(), key=lambda item: item[1].rank))
