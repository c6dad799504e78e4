"""The other side: makes keys and tokens for development. A gateway needs none of it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from mdstream.auth.keys import SYMMETRIC, public_key
from mdstream.auth.signed_request import LEAST_SECRET

DEFAULT_ALGORITHM: Final = "EdDSA"
API_KEY_ALGORITHMS: Final = (DEFAULT_ALGORITHM, SYMMETRIC)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key or a secret, with its one algorithm; ``id`` is the ``kid`` of its tokens."""

    algorithm: str
    material: Any
    id: str | None

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A token."""
        headers = {} if self.id is None else {"kid": self.id}
        return jwt.encode(dict(claims), self.material, algorithm=self.algorithm, headers=headers)


def new_key(algorithm: str = DEFAULT_ALGORITHM) -> tuple[bytes, bytes | None]:
    """The content of two files: the private key and the public one, in PEM. An HS256 secret has no public one."""
    if algorithm == SYMMETRIC:
        return base64.urlsafe_b64encode(secrets.token_bytes(LEAST_SECRET)) + b"\n", None
    private: Any
    if algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    elif algorithm == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        private = rsa.generate_private_key(65537, 3072)
    secret: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return secret, public


def read_signing_key(content: bytes) -> SigningKey:
    """From a file as ``new_key`` makes it. Raises ValueError."""
    if b"-----BEGIN" not in content:
        secret = content.strip()
        if len(secret) < LEAST_SECRET:
            raise ValueError(
                f"it is neither a private key in PEM nor a secret of at least {LEAST_SECRET} bytes"
            )
        return SigningKey(SYMMETRIC, secret, None)
    if b"PUBLIC KEY-----" in content:
        raise ValueError("it is a public key; tokens are signed with the private one")
    try:
        private = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("it is no private key in PEM without a password") from None
    public = public_key(private.public_key())
    return SigningKey(public.algorithm, private, public.id)


def new_api_key(algorithm: str = DEFAULT_ALGORITHM) -> tuple[str, str]:
    """An API key: the half that signs and the half that verifies, 32 bytes each, in base64. Of HS256 they are the same secret."""
    if algorithm == SYMMETRIC:
        secret = base64.b64encode(secrets.token_bytes(LEAST_SECRET)).decode()
        return secret, secret
    private = ed25519.Ed25519PrivateKey.generate()
    raw = private.private_bytes_raw(), private.public_key().public_bytes_raw()
    return base64.b64encode(raw[0]).decode(), base64.b64encode(raw[1]).decode()
