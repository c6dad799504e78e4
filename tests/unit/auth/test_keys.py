from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mdstream.auth.keys import MAX_KEYS, pem_key, public_key, read_jwk_set, secret_key
from mdstream.auth.signing import new_key, read_signing_key
from support.tokens import SECRET, jwk, private_key, private_pem, public_pem, public_pem_of

OCT = {"kty": "oct", "k": "A" * 64}


def jwk_set(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_a_key_has_the_one_algorithm_of_its_type() -> None:
    assert [pem_key(public_pem(name)).algorithm for name in ("RS256", "ES256", "EdDSA")] == [
        "RS256",
        "ES256",
        "EdDSA",
    ]
    assert secret_key(SECRET).algorithm == "HS256"
    assert SECRET.hex() not in repr(secret_key(SECRET))


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"", "no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key"),
        (private_pem("EdDSA"), "it is a private key"),
        (public_pem_of(ec.generate_private_key(ec.SECP384R1())), "P-256 or Ed25519"),
        (public_pem_of(rsa.generate_private_key(65537, 1024)), "1024 bits"),
    ],
)
def test_keys_that_are_refused(pem: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        pem_key(pem)


@pytest.mark.parametrize("secret", [b"", b"x" * 31, public_pem("RS256"), json.dumps(OCT).encode()])
def test_secrets_that_are_none(secret: bytes) -> None:
    with pytest.raises(ValueError, match="secret"):
        secret_key(secret)


def test_a_jwk_set_keeps_what_is_for_signatures_here() -> None:
    keys = read_jwk_set(
        jwk_set(
            jwk("RS256", "a"),
            jwk("ES256", "b", use="sig", alg="ES256"),
            jwk("EdDSA", "c", key_ops=["verify"]),
            jwk("RS256", "encrypts", use="enc"),
            jwk("RS256", "other", alg="RS512"),
            jwk("ES256", "wraps", key_ops=["wrapKey"]),
            jwk("EdDSA", "a"),
            {"kty": "new", "kid": "d"},
            {"kty": "RSA", "kid": "broken", "n": "x", "e": "AQAB"},
            OCT,
            7,
        ),
        trusted=False,
    )
    assert [(key.id, key.algorithm) for key in keys.keys] == [("a", "RS256"), ("b", "ES256"), ("c", "EdDSA")]


def test_secrets_come_from_files_alone() -> None:
    assert read_jwk_set(jwk_set(OCT), trusted=True).keys[0].algorithm == "HS256"
    assert len(read_jwk_set(jwk_set(OCT), trusted=False)) == 0
    with pytest.raises(ValueError, match="must not be mixed"):
        read_jwk_set(jwk_set(OCT, jwk("EdDSA", "a")), trusted=True)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"keys": {}}',
        b"[" * 100_000,
        b"x" * 300_000,
        jwk_set(*({} for _ in range(MAX_KEYS + 1))),
        jwk_set(jwk("EdDSA", "a\n")),
        jwk_set({**jwk("EdDSA", "a"), "d": "AAAA"}),
    ],
)
def test_jwk_sets_that_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_jwk_set(text, trusted=False)


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
def test_a_new_key_signs_what_its_other_half_verifies(algorithm: str) -> None:
    private, public = new_key(algorithm)
    key = read_signing_key(private)
    assert key.algorithm == algorithm
    if public is None:
        assert secret_key(private.strip()).algorithm == algorithm
    else:
        assert pem_key(public).id == key.id is not None
        with pytest.raises(ValueError, match="public key"):
            read_signing_key(public)


def test_a_thumbprint_is_that_of_the_rfc() -> None:
    """RFC 8037 appendix A.3."""
    x = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    key = public_key(ed25519.Ed25519PublicKey.from_public_bytes(x))
    assert key.id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert private_key("EdDSA").public_key() != key.material
