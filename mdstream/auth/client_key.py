"""The client's half of an API key: it signs upgrade requests. The gateway's half is in ``api_keys``."""

from __future__ import annotations

import base64
import hmac
import secrets
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from mdstream.auth.identity import is_name
from mdstream.auth.signed_request import HEADERS, from_base64, secret_of, signing_text
from mdstream.errors import ConfigError

_FIELDS: Final = {"id", "private_key", "secret"}
_PRIVATE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ClientKey:
    """An API key that signs: ``ClientKey.read(path)``, or ``ClientKey.of(id, private_key=…)``."""

    id: str
    sign: Callable[[bytes], bytes] = field(repr=False)

    @classmethod
    def of(cls, id: str, *, private_key: str | None = None, secret: str | None = None) -> ClientKey:
        """``private_key`` (Ed25519) or ``secret`` (HMAC-SHA256), in base64. Raises ValueError."""
        if not is_name(id):
            raise ValueError("id must be 1 to 256 printable characters")
        if (private_key is None) == (secret is None):
            raise ValueError("it has either private_key or secret")
        sign = _by_private_key(private_key) if private_key is not None else _by_secret(secret)
        return cls(id, sign)

    @classmethod
    def read(cls, path: Path) -> ClientKey:
        """From a TOML file with ``id`` and ``private_key`` or ``secret``. Raises ConfigError, which never tells the secret."""
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from None
        if unknown := found.keys() - _FIELDS:
            raise ConfigError(
                f"{path}: {', '.join(sorted(unknown))} is unknown; there are id, and private_key or secret"
            )
        try:
            return cls.of(found.pop("id", None), **found)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None

    def headers(self, *, host: str, target: str, time_ms: int) -> dict[str, str]:
        """The four headers of an upgrade request: ``host`` is the value of ``Host``, ``target`` the path with its query. Each call
        signs another request."""
        timestamp, nonce = str(time_ms), secrets.token_urlsafe(18)
        signature = base64.b64encode(self.sign(signing_text(timestamp, nonce, host, target))).decode()
        return dict(zip(HEADERS, (self.id, timestamp, nonce, signature), strict=True))


def _by_private_key(text: object) -> Callable[[bytes], bytes]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,  # slow to load: only where it is used
    )

    raw = from_base64(text)
    if len(raw) != _PRIVATE_BYTES:
        raise ValueError("private_key must be the 32 bytes of an Ed25519 private key in base64")
    return Ed25519PrivateKey.from_private_bytes(raw).sign


def _by_secret(text: object) -> Callable[[bytes], bytes]:
    secret = secret_of(text)
    return lambda message: hmac.digest(secret, message, sha256)
