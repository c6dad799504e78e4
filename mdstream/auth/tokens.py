"""Verifies JSON Web Tokens (RFC 7519) in compact form, by the rules of RFC 8725. Without I/O.

A token chooses nothing: its issuer is one of those configured, its ``kid`` one of the issuer's keys, its ``alg`` must be that key's.
``jku``, ``jwk``, ``x5u``, ``x5c`` are not looked at; ``crit`` and nested or encrypted tokens are refused.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from mdstream.auth import reasons
from mdstream.auth.credentials import MAX_TOKEN
from mdstream.auth.entitlements import NONE, Entitlements
from mdstream.auth.identity import Identity, is_name
from mdstream.auth.keys import ALGORITHMS, Key, KeySet
from mdstream.errors import Unauthorized
from mdstream.model import MAX_NUMBER
from mdstream.nesting import is_deep

CLAIM = "md"
"""The claim with the entitlements."""
MAX_TIME = MAX_NUMBER // 1_000_000
"""Seconds: µs of it fit a JavaScript number."""
MAX_AUDIENCES = 100

_JWS = jwt.PyJWS(algorithms=ALGORITHMS)
_OPTIONS: Any = {"enforce_minimum_key_length": True}


class KeySource(Protocol):
    """Where the keys of an issuer come from."""

    @property
    def keys(self) -> KeySet:
        """Those known now. Raises CannotJudge if none could be had yet, or they are too old."""

    def wanted(self, key_id: str | None) -> bool:
        """Whether asking again may bring a key of this id."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs tokens. ``name`` is the ``iss`` that they must have; None, for a single issuer: the key alone decides."""

    name: str | None
    audiences: frozenset[str]
    source: KeySource


class KeyWanted(Exception):
    """No key of this id is known, but asking the issuer may help."""

    def __init__(self, issuer: Issuer, key_id: str | None) -> None:
        super().__init__("a key is wanted")
        self.issuer = issuer
        self.key_id = key_id


class TokenVerifier:
    """Turns tokens into identities. ``wall_s`` is compared with the times in tokens, ``now_s`` is monotonic."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        leeway_s: float,
        wall_s: Callable[[], float],
        now_s: Callable[[], float],
    ) -> None:
        """Raises ValueError unless each of several issuers has a name of its own."""
        if len(issuers) > 1 and (
            None in {i.name for i in issuers} or len({i.name for i in issuers}) < len(issuers)
        ):
            raise ValueError("each of several issuers needs a name of its own")
        self.issuers = tuple(issuers)
        self._by_name = {issuer.name: issuer for issuer in issuers}
        self._leeway_s = leeway_s
        self._wall_s = wall_s
        self._now_s = now_s

    def verify(self, token: bytes) -> Identity:
        """Raises Unauthorized; KeyWanted if the issuer's keys should be asked for first; CannotJudge if there are none."""
        header, claimed = _open(token)
        issuer = self._issuer(claimed)
        key = self._key(issuer, header)
        try:
            _JWS.decode_complete(token, key.material, algorithms=[key.algorithm], options=_OPTIONS)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Unauthorized(_why(error), str(error)) from None
        return self._identity(issuer, key, claimed)

    def _issuer(self, claims: Mapping[str, Any]) -> Issuer:
        if len(self.issuers) == 1:
            return self.issuers[0]
        name = claims.get("iss")
        issuer = self._by_name.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise Unauthorized(reasons.ISSUER)
        return issuer

    def _key(self, issuer: Issuer, header: Mapping[str, Any]) -> Key:
        algorithm, id = header["alg"], header.get("kid")
        key = issuer.source.keys.find(id, algorithm)
        if key is None:
            if issuer.source.wanted(id):
                raise KeyWanted(issuer, id)
            raise Unauthorized(reasons.UNKNOWN_KEY)
        if key.algorithm != algorithm:
            raise Unauthorized(reasons.ALGORITHM)
        return key

    def _identity(self, issuer: Issuer, key: Key, claims: Mapping[str, Any]) -> Identity:
        """From claims whose signature is verified."""
        if issuer.name is not None and claims.get("iss") != issuer.name:
            raise Unauthorized(reasons.ISSUER)
        if issuer.audiences.isdisjoint(_audiences(claims)):
            raise Unauthorized(reasons.AUDIENCE)
        if not is_name(claims.get("sub")) or not is_name(claims.get("jti", "-")):
            raise Unauthorized(reasons.CLAIMS)
        wall_s = self._wall_s()
        expires_s, issued_s = self._times(claims, wall_s)
        return Identity(
            subject=claims["sub"],
            method="jwt",
            entitlements=entitlements_of(claims),
            expires_us=int(expires_s * 1_000_000),
            token_id=claims.get("jti"),
            key_id=key.id,
            issued_us=None if issued_s is None else int(issued_s * 1_000_000),
            expires_at_s=self._now_s() + (expires_s + self._leeway_s - wall_s),
            leeway_s=self._leeway_s,
        )

    def _times(self, claims: Mapping[str, Any], wall_s: float) -> tuple[float, float | None]:
        """``exp`` and ``iat``, once all times are judged."""
        expires_s = time_of(claims, "exp")
        if expires_s is None:
            raise Unauthorized(reasons.CLAIMS)
        if expires_s + self._leeway_s <= wall_s:
            raise Unauthorized(reasons.EXPIRED)
        issued_s = time_of(claims, "iat")
        for begins_s in (time_of(claims, "nbf"), issued_s):
            if begins_s is not None and begins_s > wall_s + self._leeway_s:
                raise Unauthorized(reasons.NOT_YET)
        return expires_s, issued_s


def entitlements_of(claims: Mapping[str, Any]) -> Entitlements:
    """Those of the claim ``md``; without it, none. Raises Unauthorized."""
    if CLAIM not in claims:
        return NONE
    try:
        return Entitlements.from_claim(claims[CLAIM])
    except ValueError as error:
        raise Unauthorized(reasons.ENTITLEMENTS, str(error)) from None


def time_of(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2) in seconds, None if it is missing; Unauthorized if it is none."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TIME
    ):  # not NaN either
        raise Unauthorized(reasons.CLAIMS)
    return value


def _audiences(claims: Mapping[str, Any]) -> Iterable[str]:
    found = claims.get("aud")
    if isinstance(found, str):
        return (found,)
    if (
        not isinstance(found, list)
        or len(found) > MAX_AUDIENCES
        or not all(isinstance(each, str) for each in found)
    ):
        raise Unauthorized(reasons.AUDIENCE)
    return found


def _open(token: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims of a token in compact form, not verified yet. Raises Unauthorized."""
    if len(token) > MAX_TOKEN or token.count(b".") != 2 or not token.isascii():
        raise Unauthorized(reasons.MALFORMED)
    first, second, _ = token.split(b".")
    header = _read_part(first)
    if "crit" in header:
        raise Unauthorized(reasons.CRITICAL)
    if not isinstance(header.get("alg"), str) or header["alg"] not in ALGORITHMS:
        raise Unauthorized(reasons.ALGORITHM)
    if not is_name(header.get("kid", "-")) or "b64" in header or header.get("cty") is not None:
        raise Unauthorized(reasons.MALFORMED)
    return header, _read_part(second)


def _read_part(text: bytes) -> Mapping[str, Any]:
    """A JSON object in base64url, each key once."""
    try:
        json_text = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)).decode()
        value = None if is_deep(json_text) else _decode(json_text)
    except (ValueError, RecursionError):
        raise Unauthorized(reasons.MALFORMED) from None
    if not isinstance(value, dict):
        raise Unauthorized(reasons.MALFORMED)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite).decode


def _why(error: Exception) -> str:
    if isinstance(error, jwt.InvalidSignatureError):
        return reasons.SIGNATURE
    if isinstance(error, jwt.InvalidAlgorithmError):
        return reasons.ALGORITHM
    return reasons.MALFORMED
