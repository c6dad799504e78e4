"""Keys that verify tokens. A key has one algorithm; no token chooses another. Nothing here is secret in a message or a repr.

Symmetric and asymmetric keys never meet in one set, so that no public key can be taken for a secret (RFC 8725 section 3.2).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from mdstream.auth.identity import MAX_NAME, is_name
from mdstream.auth.signed_request import LEAST_SECRET
from mdstream.nesting import is_deep

ALGORITHMS: Final = ("HS256", "RS256", "ES256", "EdDSA")
SYMMETRIC: Final = "HS256"
LEAST_RSA_BITS: Final = 2_048
MOST_RSA_BITS: Final = 8_192
MAX_KEYS: Final = 100
MAX_KEY_FILE: Final = 262_144

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Key:
    """``material`` is what PyJWT verifies with; ``id`` is the ``kid`` of the tokens that name it. A key that is not ``named`` serves
    tokens of any ``kid``."""

    id: str | None
    algorithm: str
    material: Any = field(repr=False)
    named: bool = True


class KeySet:
    """The keys of one issuer. Raises ValueError for a mix of symmetric and asymmetric ones."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        if len({key.algorithm == SYMMETRIC for key in self.keys}) > 1:
            raise ValueError("HS256 and asymmetric keys must not be mixed under one issuer")
        if len(self.keys) > MAX_KEYS:
            raise ValueError(f"there are {len(self.keys)} keys; {MAX_KEYS} are allowed")
        self._by_id = {key.id: key for key in self.keys if key.id is not None}
        self._nameless = [key for key in self.keys if not key.named]

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, id: str | None, algorithm: str) -> Key | None:
        """The key that a token means. A token without ``kid`` means the only key of its algorithm."""
        found = self._by_id.get(id) if id is not None else None
        if found is not None:
            return found
        choice = [key for key in (self.keys if id is None else self._nameless) if key.algorithm == algorithm]
        return choice[0] if len(choice) == 1 else None


def secret_key(secret: bytes, id: str | None = None) -> Key:
    """An HS256 key. Raises ValueError if it is too short, or is no secret but a key in another form."""
    if len(secret) < LEAST_SECRET:
        raise ValueError(f"the secret has {len(secret)} bytes; HS256 needs at least {LEAST_SECRET}")
    try:
        material = jwt.get_algorithm_by_name(SYMMETRIC).prepare_key(secret)
    except jwt.PyJWTError:
        raise ValueError("the secret is a public key or a JWK; HS256 needs random bytes") from None
    return Key(id, SYMMETRIC, material, named=id is not None)


def pem_key(pem: bytes, id: str | None = None) -> Key:
    """A public key in PEM, or that of a certificate. Raises ValueError that says what it is instead."""
    if b"PRIVATE KEY-----" in pem:
        raise ValueError(
            "it is a private key; the gateway needs the public one, and the private one stays with the issuer"
        )
    try:
        if b"-----BEGIN CERTIFICATE-----" in pem:
            public: object = load_pem_x509_certificate(pem).public_key()
        else:
            public = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it is no public key in PEM (-----BEGIN PUBLIC KEY-----)") from None
    return public_key(public, id)


def public_key(public: object, id: str | None = None) -> Key:
    """The key with the one algorithm of its type; without an id it has its thumbprint. Raises ValueError for other types and weak keys."""
    algorithm = _algorithm_of(public)
    return Key(id or thumbprint(public, algorithm), algorithm, public, named=id is not None)


def _algorithm_of(public: object) -> str:
    match public:
        case rsa.RSAPublicKey():
            if not LEAST_RSA_BITS <= public.key_size <= MOST_RSA_BITS:
                allowed = f"{LEAST_RSA_BITS} to {MOST_RSA_BITS}"
                raise ValueError(f"the RSA key has {public.key_size} bits; {allowed} are allowed")
            return "RS256"
        case ec.EllipticCurvePublicKey() if isinstance(public.curve, ec.SECP256R1):
            return "ES256"
        case ed25519.Ed25519PublicKey():
            return "EdDSA"
    raise ValueError("the key must be RSA, P-256 or Ed25519")


def thumbprint(public: Any, algorithm: str) -> str:
    """A public key's name made of itself (RFC 7638)."""
    jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True)
    members = {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}
    text = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return base64.urlsafe_b64encode(sha256(text).digest()).rstrip(b"=").decode()


def read_jwk_set(text: bytes, *, trusted: bool) -> KeySet:
    """A JWK set (RFC 7517). Keys for other purposes and of other algorithms are left out, as the RFC asks.

    ``trusted``: it is a file of ours, so it may hold secrets; what comes over the network is public and may not. Raises ValueError.
    """
    if len(text) > MAX_KEY_FILE:
        raise ValueError(f"the JWK set has {len(text)} bytes; {MAX_KEY_FILE} are allowed")
    try:
        whole = text.decode()
        document = None if is_deep(whole) else json.loads(whole)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError('it is no JWK set: {"keys": [...]}')
    if len(entries) > MAX_KEYS:
        raise ValueError(f"there are {len(entries)} keys; {MAX_KEYS} are allowed")
    found: set[str | None] = set()
    keys: list[Key] = []
    for entry in entries:
        key = _read_jwk(entry, trusted)
        if key is not None and key.id not in found:
            found.add(key.id)
            keys.append(key)
    return KeySet(keys)


def _read_jwk(entry: object, trusted: bool) -> Key | None:
    """None for a key that is not for us."""
    if not isinstance(entry, dict) or not _verifies(entry):
        return None
    id = entry.get("kid")
    if id is not None and not is_name(id):
        raise ValueError(f"a kid must be 1 to {MAX_NAME} printable characters")
    if entry.get("kty") == "oct":
        return _read_secret_jwk(entry, id) if trusted else None
    if "d" in entry:
        raise ValueError("it holds a private key; only public keys belong here")
    try:
        key = public_key(jwt.PyJWK(entry).key, id)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return key if entry.get("alg") in (None, key.algorithm, "Ed25519") else None


def _read_secret_jwk(entry: dict[str, Any], id: str | None) -> Key | None:
    if entry.get("alg") not in (None, SYMMETRIC):
        return None
    try:
        return secret_key(jwt.PyJWK(entry, SYMMETRIC).key, id)
    except (jwt.PyJWTError, TypeError):
        raise ValueError("a key of kty oct must have k in base64url") from None


def _verifies(entry: dict[str, Any]) -> bool:
    uses = entry.get("key_ops")
    return entry.get("use") in (None, "sig") and (
        uses is None or (isinstance(uses, list) and "verify" in uses)
    )
