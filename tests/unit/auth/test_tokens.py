"""Which tokens open something, and that nothing in a token chooses how it is judged."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest

from mdstream.auth import reasons
from mdstream.auth.credentials import MAX_TOKEN
from mdstream.auth.keys import Key, KeySet, pem_key, secret_key
from mdstream.auth.sources import FixedKeys
from mdstream.auth.tokens import Issuer, TokenVerifier
from mdstream.errors import Unauthorized
from support.tokens import (
    CLAIMS,
    EVERYTHING,
    NOW_S,
    SECRET,
    by_hand,
    by_hand_ed25519,
    part,
    private_key,
    public_pem,
    sign,
)

EDDSA = {"alg": "EdDSA", "typ": "JWT"}
LEEWAY_S = 30.0


def verifier(*keys: Key, name: str | None = None, wall_s: float = NOW_S) -> TokenVerifier:
    issuer = Issuer(name, frozenset({"mdstream"}), FixedKeys(KeySet(keys or [pem_key(public_pem("EdDSA"))])))
    return TokenVerifier([issuer], leeway_s=LEEWAY_S, wall_s=lambda: wall_s, now_s=lambda: 1_000.0)


def why(token: bytes, judge: TokenVerifier | None = None) -> str:
    with pytest.raises(Unauthorized) as refused:
        (judge or verifier()).verify(token)
    return refused.value.why


def claims(**changes: Any) -> dict[str, Any]:
    """The usual claims with changes; None leaves one out."""
    return {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
def test_a_token_of_each_algorithm(algorithm: str) -> None:
    key = secret_key(SECRET) if algorithm == "HS256" else pem_key(public_pem(algorithm))
    identity = verifier(key).verify(sign(claims(jti="t1", iat=NOW_S - 5), algorithm))
    assert (identity.subject, identity.method, identity.token_id) == ("alice", "jwt", "t1")
    assert identity.expires_us == (NOW_S + 600) * 1_000_000
    assert identity.issued_us == (NOW_S - 5) * 1_000_000
    assert identity.expires_at_s == 1_000.0 + 600 + LEEWAY_S


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW_S + 0.5},
        {"exp": NOW_S - LEEWAY_S + 1},
        {"nbf": NOW_S + LEEWAY_S},
        {"iat": NOW_S + LEEWAY_S - 1},
        {"aud": ["other", "mdstream"]},
        {"iss": "whoever"},
        {"md": None},
        {"unknown": {"a": [1, 2]}},
    ],
)
def test_what_is_allowed(changes: dict[str, Any]) -> None:
    assert verifier().verify(sign(claims(**changes))).subject == "alice"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": NOW_S - LEEWAY_S}, reasons.EXPIRED),
        ({"exp": 0}, reasons.EXPIRED),
        ({"exp": None}, reasons.CLAIMS),
        ({"exp": -1}, reasons.CLAIMS),
        ({"exp": str(NOW_S + 600)}, reasons.CLAIMS),
        ({"exp": True}, reasons.CLAIMS),
        ({"exp": [NOW_S + 600]}, reasons.CLAIMS),
        ({"exp": 10**18}, reasons.CLAIMS),
        ({"exp": 1e300}, reasons.CLAIMS),
        ({"nbf": NOW_S + LEEWAY_S + 1}, reasons.NOT_YET),
        ({"iat": NOW_S + LEEWAY_S + 1}, reasons.NOT_YET),
        ({"nbf": "soon"}, reasons.CLAIMS),
        ({"iat": False}, reasons.CLAIMS),
        ({"aud": None}, reasons.AUDIENCE),
        ({"aud": "mdstream2"}, reasons.AUDIENCE),
        ({"aud": []}, reasons.AUDIENCE),
        ({"aud": [["mdstream"]]}, reasons.AUDIENCE),
        ({"aud": {"mdstream": 1}}, reasons.AUDIENCE),
        ({"aud": ["x"] * 101 + ["mdstream"]}, reasons.AUDIENCE),
        ({"sub": None}, reasons.CLAIMS),
        ({"sub": ""}, reasons.CLAIMS),
        ({"sub": "a\nb"}, reasons.CLAIMS),
        ({"sub": "a" * 257}, reasons.CLAIMS),
        ({"jti": "t\x1b[2J"}, reasons.CLAIMS),
        ({"md": "everything"}, reasons.ENTITLEMENTS),
    ],
)
def test_claims_that_are_refused(changes: dict[str, Any], reason: str) -> None:
    found = claims(**{name: value for name, value in changes.items() if name not in ("sub", "jti")})
    found = {name: value for name, value in {**found, **changes}.items() if value is not None}
    assert why(by_hand_ed25519(EDDSA, found)) == reason


PUBLIC = public_pem("EdDSA")
RSA_PEM = public_pem("RS256")
GOOD = sign(CLAIMS)
HEADER, PAYLOAD, SIGNATURE = GOOD.split(b".")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (b"", reasons.MALFORMED),
        (b"..", reasons.MALFORMED),
        (b"a.b", reasons.MALFORMED),
        (b"a.b.c.d.e", reasons.MALFORMED),  # JWE in compact form
        (GOOD + b".x", reasons.MALFORMED),
        (b"\xff" + GOOD, reasons.MALFORMED),
        (GOOD + b"\n", reasons.MALFORMED),
        (b"!" + GOOD, reasons.MALFORMED),
        (HEADER + b"." + PAYLOAD + b".", reasons.SIGNATURE),
        (HEADER + b"." + part({**CLAIMS, "sub": "bob"}) + b"." + SIGNATURE, reasons.SIGNATURE),
        (GOOD[:-8] + b"AAAAAAAA", reasons.SIGNATURE),
        (
            sign(CLAIMS, "EdDSA", jwt.get_algorithm_by_name("EdDSA") and None) + b"A" * MAX_TOKEN,
            reasons.MALFORMED,
        ),
        (by_hand({"alg": "none"}, CLAIMS, signature=b""), reasons.ALGORITHM),
        (by_hand({"alg": "None"}, CLAIMS, signature=b""), reasons.ALGORITHM),
        (by_hand({"alg": ""}, CLAIMS), reasons.ALGORITHM),
        (by_hand({}, CLAIMS), reasons.ALGORITHM),
        (by_hand({"alg": ["EdDSA"]}, CLAIMS), reasons.ALGORITHM),
        (by_hand({"alg": "HS256"}, CLAIMS, PUBLIC), reasons.UNKNOWN_KEY),
        (by_hand({"alg": "HS256"}, CLAIMS, b""), reasons.UNKNOWN_KEY),
        (by_hand({"alg": "HS512"}, CLAIMS, PUBLIC), reasons.ALGORITHM),
        (by_hand({"alg": "RS256"}, CLAIMS), reasons.UNKNOWN_KEY),
        (by_hand_ed25519({**EDDSA, "crit": ["b64"], "b64": False}, CLAIMS), reasons.CRITICAL),
        (by_hand_ed25519({**EDDSA, "crit": []}, CLAIMS), reasons.CRITICAL),
        (by_hand_ed25519({**EDDSA, "crit": ["exp"]}, CLAIMS), reasons.CRITICAL),
        (by_hand_ed25519({**EDDSA, "b64": False}, CLAIMS), reasons.MALFORMED),
        (by_hand_ed25519({**EDDSA, "cty": "JWT"}, CLAIMS), reasons.MALFORMED),
        (by_hand_ed25519({**EDDSA, "kid": 7}, CLAIMS), reasons.MALFORMED),
        (by_hand_ed25519({**EDDSA, "kid": "k" * 257}, CLAIMS), reasons.MALFORMED),
        (by_hand_ed25519({**EDDSA, "kid": "../../etc/passwd\x00"}, CLAIMS), reasons.MALFORMED),
        (by_hand_ed25519(b'{"alg":"EdDSA","alg":"none"}', CLAIMS), reasons.MALFORMED),
        (
            by_hand_ed25519(EDDSA, b'{"sub":"alice","sub":"root","aud":"mdstream","exp":1800000600}'),
            reasons.MALFORMED,
        ),
        (by_hand_ed25519(EDDSA, b'{"exp":NaN}'), reasons.MALFORMED),
        (by_hand_ed25519(EDDSA, b'{"exp":1e999}'), reasons.MALFORMED),
        (by_hand_ed25519(EDDSA, b'{"exp":' + b"9" * 5000 + b"}"), reasons.MALFORMED),
        (by_hand_ed25519(EDDSA, b"[" * 3000), reasons.MALFORMED),
        (by_hand_ed25519(EDDSA, b"[]"), reasons.MALFORMED),
        (by_hand_ed25519(EDDSA, b"\xff\xfe"), reasons.MALFORMED),
        (by_hand_ed25519(b"[]", CLAIMS), reasons.MALFORMED),
    ],
)
def test_forged_and_broken_tokens(token: bytes, reason: str) -> None:
    assert why(token) == reason


def test_a_public_key_is_never_a_secret() -> None:
    judge = verifier(pem_key(RSA_PEM, "k1"))
    for secret in (RSA_PEM, RSA_PEM.strip(), RSA_PEM.replace(b"\n", b"")):
        assert why(by_hand({"alg": "HS256", "kid": "k1"}, CLAIMS, secret), judge) == reasons.ALGORITHM
    with pytest.raises(ValueError, match="HS256 and asymmetric"):
        KeySet([pem_key(RSA_PEM), secret_key(SECRET)])


def test_a_key_in_the_token_is_not_looked_at() -> None:
    foreign = private_key("ES256")
    own = jwt.get_algorithm_by_name("ES256").to_jwk(foreign.public_key(), as_dict=True)
    for header in (
        {"jwk": own},
        {"jku": "http://127.0.0.1:1/keys"},
        {"x5u": "http://127.0.0.1:1/c"},
        {"x5c": ["MIIB"]},
    ):
        assert why(sign(CLAIMS, "ES256", **header)) == reasons.UNKNOWN_KEY
        assert verifier().verify(sign(CLAIMS, "EdDSA", **header)).subject == "alice"


def test_the_key_of_the_kid_alone_verifies() -> None:
    judge = verifier(pem_key(public_pem("EdDSA"), "a"), pem_key(public_pem("RS256"), "b"))
    assert judge.verify(sign(CLAIMS, kid="a")).key_id == "a"
    assert judge.verify(sign(CLAIMS, "RS256", kid="b")).key_id == "b"
    assert judge.verify(sign(CLAIMS, "RS256")).key_id == "b"
    assert why(sign(CLAIMS, kid="b"), judge) == reasons.ALGORITHM
    assert why(sign(CLAIMS, kid="c"), judge) == reasons.UNKNOWN_KEY


def test_several_issuers() -> None:
    keys = {"one": pem_key(public_pem("EdDSA")), "two": secret_key(SECRET)}
    issuers = [Issuer(name, frozenset({"mdstream"}), FixedKeys(KeySet([key]))) for name, key in keys.items()]
    judge = TokenVerifier(issuers, leeway_s=0, wall_s=lambda: NOW_S, now_s=lambda: 0.0)
    assert judge.verify(sign(claims(iss="one"))).subject == "alice"
    assert judge.verify(sign(claims(iss="two"), "HS256")).subject == "alice"
    assert why(sign(claims(iss="two")), judge) == reasons.UNKNOWN_KEY
    assert why(by_hand({"alg": "HS256"}, claims(iss="one"), PUBLIC), judge) == reasons.UNKNOWN_KEY
    assert why(sign(claims(iss="three")), judge) == reasons.ISSUER
    assert why(sign(claims()), judge) == reasons.ISSUER
    assert why(by_hand_ed25519(EDDSA, claims(iss=["one"])), judge) == reasons.ISSUER


def test_a_named_issuer_must_be_named() -> None:
    judge = verifier(name="https://login.example.com/")
    assert judge.verify(sign(claims(iss="https://login.example.com/"))).subject == "alice"
    for wrong in ("https://login.example.com", None):
        assert why(sign(claims(iss=wrong)), judge) == reasons.ISSUER


def test_entitlements_come_from_the_claim_and_are_none_without_it() -> None:
    all_of_it = verifier().verify(sign(claims(md=EVERYTHING))).entitlements
    nothing = verifier().verify(sign(claims(md=None))).entitlements
    assert all_of_it is not nothing


def test_padding_and_other_spellings_of_a_signature_do_not_matter() -> None:
    """A second spelling of a token would have a second place in caches; none is accepted."""
    loose = base64.urlsafe_b64decode(SIGNATURE + b"==")
    assert len(loose) == 64
    last = SIGNATURE[-1:]
    other = b"BCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spelled = [GOOD[:-1] + bytes([c]) for c in other if bytes([c]) != last]
    assert {why(each) for each in spelled} <= {reasons.MALFORMED, reasons.SIGNATURE}


def test_no_claim_is_read_before_its_signature_is_verified() -> None:
    forged = by_hand(EDDSA, {**CLAIMS, "exp": "x", "aud": 7})
    assert why(forged) == reasons.SIGNATURE
    assert json.loads(base64.urlsafe_b64decode(forged.split(b".")[1] + b"==="))["aud"] == 7
