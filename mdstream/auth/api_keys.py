"""API keys: a client signs its upgrade request instead of bringing a token. For programs, which can set headers.

Four headers: ``Mdstream-Key`` names the key, ``Mdstream-Timestamp`` is the time in ms since the Unix epoch, ``Mdstream-Nonce`` is 16 to 64
characters of base64url that the key has not used lately, ``Mdstream-Signature`` is base64 of the signature over ``signing_text``.
"""

from __future__ import annotations

import hmac
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mdstream.auth import reasons
from mdstream.auth.credentials import Credentials
from mdstream.auth.entitlements import NONE, Entitlements
from mdstream.auth.identity import Identity, is_name
from mdstream.auth.nonces import Nonces
from mdstream.auth.signed_request import HEADERS, KEY, from_base64, secret_of, signing_text
from mdstream.errors import Unauthorized

WINDOW_S: Final = 30.0
"""How far a request's time may be from ours, either way."""
MAX_API_KEYS: Final = 100_000

_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
_TIME = re.compile(r"[0-9]{13}")
_ENTRY: Final = {"id", "subject", "public_key", "secret", "entitlements"}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key: ``check(signature, text)`` says whether it signed the text."""

    id: str
    subject: str
    entitlements: Entitlements
    check: Callable[[bytes, bytes], bool] = field(repr=False)


class ApiKeys:
    """Judges signed requests by the keys of one file."""

    def __init__(
        self, keys: Mapping[str, ApiKey], *, wall_s: Callable[[], float], now_s: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._wall_s = wall_s
        self._nonces = Nonces(2 * WINDOW_S, now_s)
        self.tell_used: Callable[[str, str], object] = lambda key, nonce: None
        """Called with key and nonce of each request that was good, so that it is good on no other gateway."""

    def use(self, keys: Mapping[str, ApiKey]) -> None:
        """Other keys from now on; nonces stay used."""
        self._keys = keys

    def verify(self, credentials: Credentials) -> Identity:
        """Raises Unauthorized."""
        id, timestamp, nonce, signature = (credentials.header(name) or "" for name in HEADERS)
        if not _TIME.fullmatch(timestamp) or not _NONCE.fullmatch(nonce):
            raise Unauthorized(reasons.MALFORMED)
        if abs(int(timestamp) / 1000 - self._wall_s()) > WINDOW_S:
            raise Unauthorized(reasons.CLOCK)
        key = self._keys.get(id)
        host, target = credentials.host.decode("latin-1"), credentials.target.decode("latin-1")
        text = signing_text(timestamp, nonce, host, target)
        if key is None:
            raise Unauthorized(reasons.UNKNOWN_KEY)
        if not key.check(from_base64(signature), text):
            raise Unauthorized(reasons.SIGNATURE)
        if not self._nonces.use(id, nonce):
            raise Unauthorized(reasons.REPLAYED)
        self.tell_used(id, nonce)
        return Identity(key.subject, "api_key", key.entitlements, key_id=id)

    def used_elsewhere(self, key: str, nonce: str) -> None:
        """Another gateway let in the request with this nonce."""
        if _NONCE.fullmatch(nonce):
            self._nonces.use(key, nonce)


def is_signed(credentials: Credentials) -> bool:
    """Whether a request brings an API key."""
    return credentials.header(KEY) is not None


def read_api_keys(text: bytes) -> dict[str, ApiKey]:
    """The keys of a TOML file: ``[[keys]]`` with ``id``, ``subject``, ``public_key`` (Ed25519) or ``secret``, both in base64, and
    ``entitlements``. Raises ValueError that names the key, never its secret."""
    try:
        document = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not valid TOML: {error}") from None
    entries = document.get("keys", [])
    if set(document) - {"keys"} or not isinstance(entries, list) or len(entries) > MAX_API_KEYS:
        raise ValueError(f"it holds [[keys]] and nothing else, at most {MAX_API_KEYS}")
    keys: dict[str, ApiKey] = {}
    for number, entry in enumerate(entries, 1):
        key = _read_entry(entry, number)
        if key.id in keys:
            raise ValueError(f"the id {key.id} is given twice")
        keys[key.id] = key
    return keys


def _read_entry(entry: Any, number: int) -> ApiKey:
    where = f"key {number}"
    if not isinstance(entry, dict) or (unknown := set(entry) - _ENTRY):
        raise ValueError(
            f"{where}: {', '.join(sorted(unknown))} is unknown; there are {', '.join(sorted(_ENTRY))}"
        )
    for name in ("id", "subject"):
        if not is_name(entry.get(name)):
            raise ValueError(f"{where}: {name} must be 1 to 256 printable characters")
    where = f"key {number} ({entry['id']})"
    if ("public_key" in entry) == ("secret" in entry):
        raise ValueError(f"{where}: it has either public_key or secret")
    try:
        check = _signed_by(entry["public_key"]) if "public_key" in entry else _mac_by(entry["secret"])
        entitlements = Entitlements.from_claim(entry["entitlements"]) if "entitlements" in entry else NONE
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return ApiKey(entry["id"], entry["subject"], entitlements, check)


def _signed_by(text: object) -> Callable[[bytes, bytes], bool]:
    raw = from_base64(text)
    if len(raw) != 32:
        raise ValueError("public_key must be the 32 bytes of an Ed25519 public key in base64")
    public = Ed25519PublicKey.from_public_bytes(raw)

    def check(signature: bytes, message: bytes) -> bool:
        try:
            public.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return check


def _mac_by(text: object) -> Callable[[bytes, bytes], bool]:
    secret = secret_of(text)
    return lambda signature, message: hmac.compare_digest(hmac.digest(secret, message, sha256), signature)
