"""Tokens that must not let anybody in: all of them are answered by the same 401."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attack import forge
from attack.forge import AUDIENCE, ISSUERS, claims, confused, embedded_key, encoded, keys, token
from attack.rows import Row, TokenRow
from attack.table_maps import deep

HOUR = 3_600
GRANT: dict[str, Any] = {"channels": ["book"], "instruments": ["SIM:A"]}


def row(name: str, make: Callable[[], str], where: str = "header") -> TokenRow:
    return TokenRow(name=name, token=make, where=where)


def claim(name: str, **changes: Any) -> TokenRow:
    """Signed by the right key, with a claim that is wrong."""
    return row(name, lambda: token(**changes))


def header(name: str, **fields: Any) -> TokenRow:
    return row(name, lambda: token(header={"alg": "EdDSA", "typ": "JWT"} | fields))


def now(plus: float = 0) -> int:
    return int(time.time() + plus)


def cut(make: Callable[[], str], part: int, change: Callable[[str], str]) -> Callable[[], str]:
    """The same token with one of its parts changed after it was signed."""

    def changed() -> str:
        parts = make().split(".")
        parts[part] = change(parts[part])
        return ".".join(parts)

    return changed


def flipped(part: str) -> str:
    return part[:-6] + ("A" if part[-6] != "A" else "B") + part[-5:]


def unsigned(alg: str) -> Callable[[], str]:
    return lambda: forge.unsigned(alg)


ROWS: list[Row] = [
    # no signature
    *(row(f"alg {alg}", unsigned(alg)) for alg in ("none", "None", "NONE", "nOnE", "", "EdDSA", "HS256")),
    row("alg none with a signature", lambda: token(header={"alg": "none"})),
    header("no alg", alg=None),
    header("alg as a list", alg=["EdDSA"]),
    header("alg of another case", alg="eddsa"),
    header("alg HS512", alg="HS512"),
    header("alg ES256K", alg="ES256K"),
    # one key under another algorithm
    row("HS256 with the RSA key that all know", lambda: confused("RS256", keys().pem("RS256"))),
    row("HS256 with that key without its last line end", lambda: confused("RS256", keys().pem("RS256").strip())),
    row("HS256 with the EC key that all know", lambda: confused("ES256", keys().pem("ES256"))),
    row("HS256 with the Ed25519 key that all know", lambda: confused("EdDSA", keys().pem("EdDSA"))),
    row("HS256 with an empty secret", lambda: confused("EdDSA", b"")),
    row("RS256 for the issuer of HS256", lambda: token("RS256", iss=ISSUERS["HS256"])),
    row("HS256 for the issuer of RS256", lambda: token("HS256", iss=ISSUERS["RS256"])),
    row("EdDSA for the issuer of ES256", lambda: token("EdDSA", iss=ISSUERS["ES256"])),
    # keys of others
    *(row(f"{algorithm} by a stranger", lambda a=algorithm: token(a, signed_by="attacker")) for algorithm in ISSUERS),
    row("a key in the header", embedded_key),
    header("a foreign kid", kid="not-ours"),
    header("a kid that is a path", kid="../../../../dev/null"),
    header("a kid that is a query", kid="x' UNION SELECT 'secret'--"),
    header("a kid of 5,000 characters", kid="k" * 5_000),
    header("a kid with a line end", kid="a\r\nX: y"),
    header("a kid that is a number", kid=7),
    row("jku to a stranger", lambda: token(header={"alg": "EdDSA", "jku": "https://evil.example/k"}, signed_by="attacker")),
    row("x5u to a stranger", lambda: token(header={"alg": "EdDSA", "x5u": "https://evil.example/k"}, signed_by="attacker")),
    # signatures
    row("a signature cut short", cut(token, 2, lambda part: part[:-10])),
    row("a signature with one bit changed", cut(token, 2, flipped)),
    row("a signature of zeros, EdDSA", lambda: token(signature=bytes(64))),
    row("a signature of zeros, ES256", lambda: token("ES256", signature=bytes(64))),
    row("a signature of zeros, RS256", lambda: token("RS256", signature=bytes(256))),
    row("a signature of 10,000 bytes", lambda: token(signature=bytes(5_000))),
    row("the signature of another token", lambda: ".".join(token(sub="bob").split(".")[:2] + token().split(".")[2:])),
    row("claims changed after signing", cut(token, 1, lambda part: encoded(claims(sub="admin")))),
    row("a header changed after signing", cut(token, 0, lambda part: encoded({"alg": "EdDSA", "typ": "jwt"}))),
    # claims
    claim("expired", exp=now(-HOUR), iat=now(-2 * HOUR)),
    claim("expired in 1970", exp=0),
    claim("no exp", exp=None),
    claim("exp as text", exp="9999999999"),
    claim("exp that is true", exp=True),
    claim("exp of 10^300", exp=1e300),
    claim("exp that is negative", exp=-1),
    row("exp that is NaN", lambda: token(body=b'{"iss":"https://ed.example","aud":"mdstream","sub":"a","exp":NaN}')),
    claim("not before an hour from now", nbf=now(HOUR)),
    claim("issued an hour from now", iat=now(HOUR)),
    claim("nbf as text", nbf="0"),
    claim("another audience", aud="another"),
    claim("an audience that ends alike", aud="not-mdstream"),
    claim("an audience in another case", aud="MDSTREAM"),
    claim("no audience", aud=None),
    claim("an empty list of audiences", aud=[]),
    claim("an audience that is a map", aud={AUDIENCE: 1}),
    claim("10,000 audiences", aud=["x"] * 1_000),
    claim("another issuer", iss="https://evil.example"),
    claim("an issuer with a slash at its end", iss=ISSUERS["EdDSA"] + "/"),
    claim("no issuer", iss=None),
    claim("an issuer that is a list", iss=[ISSUERS["EdDSA"]]),
    claim("no subject", sub=None),
    claim("an empty subject", sub=""),
    claim("a subject that is a number", sub=7),
    claim("a subject with a line end", sub="a\r\nforged"),
    claim("a subject of 5,000 characters", sub="a" * 5_000),
    claim("md as a list", md=[]),
    claim("md with an unknown key", md={"grants": [], "admin": True}),
    claim("md with a pattern that is a number", md={"grants": [{"channels": ["book"], "instruments": [7]}]}),
    *(
        claim(f"md with {what}", md={"grants": [GRANT | grant]})
        for what, grant in (
            ("two stars in a pattern", {"instruments": ["SIM:*A*"]}),
            ("a pattern of 5,000 characters", {"instruments": ["SIM:" + "A" * 5_000]}),
            ("a pattern with a line end", {"instruments": ["SIM:A\n"]}),
            ("no pattern", {"instruments": []}),
            ("a text in place of patterns", {"instruments": "*"}),
            ("a channel of 4,000 characters", {"channels": ["book" * 1_000]}),
            ("a key of 4,000 characters", {"depth" * 800: 1}),
            ("a channel that is a list", {"channels": [["book"]]}),
            ("a depth of 2^53", {"depth": 2**53}),
            ("a depth that is negative", {"depth": -1}),
            ("a depth that is true", {"depth": True}),
            ("a depth of 0.5", {"depth": 0.5}),
            ("an interval of two days", {"interval_ms": 172_800_000}),
            ("publish as a text", {"publish": "false"}),
            ("instruments and topics", {"topics": ["desk.*"]}),
        )
    ),
    *(
        claim(f"md with {what}", md={"grants": [{"channels": ["events"], "topics": ["desk.*"]} | grant]})
        for what, grant in (
            ("a topic with a star in it", {"topics": ["a*b"]}),
            ("a topic of wildcards of NATS", {"topics": ["desk.>"]}),
            ("a topic that is not encoded", {"topics": ["user.ä"]}),
            ("write as a number", {"write": 1}),
            ("a channel of instruments for topics", {"channels": ["book"]}),
        )
    ),
    claim("md with 65 grants", md={"grants": [GRANT] * 65}),
    claim("md with 1,000 grants of nothing", md={"grants": [{}] * 1_000}),
    claim("md with a list 60 deep as a grant", md={"grants": [deep(60)]}),
    claim("md with a list 500 deep", md={"grants": deep(500)}),
    # forms
    row("nothing between the dots", lambda: ".."),
    row("one part", lambda: token().split(".")[0]),
    row("two parts", lambda: token().rpartition(".")[0]),
    row("four parts", lambda: token() + ".x"),
    row("five parts", lambda: token() + ".x.y"),
    row("20,000 characters", lambda: "A" * 7_000 + "." + "B" * 7_000 + ".C"),
    row("10,000 dots", lambda: "." * 10_000),
    row("padded base64", cut(token, 1, lambda part: part + "=" * (-len(part) % 4 or 4))),
    row("base64 of the other alphabet", lambda: token(sub="???>>>~~~").replace("-", "+").replace("_", "/") + "+"),
    row("a blank inside", cut(token, 1, lambda part: part[:5] + " " + part[5:])),
    row("claims that are no JSON", lambda: token(body=b"{")),
    row("claims that are a list", lambda: token(body=[1])),
    row("claims that are no UTF-8", lambda: token(body=b'{"sub":"\xff"}')),
    row("claims nested 3,000 deep", lambda: token(body=b"[" * 3_000)),
    row("a claim twice", lambda: token(body=encoded_twice())),
    row("a header that is no JSON", lambda: token(header=b"{")),
    row("a header that is a list", lambda: token(header=[])),
    row("a header with alg twice", lambda: token(header=b'{"alg":"EdDSA","alg":"none"}')),
    header("crit", crit=["exp"]),
    header("b64 false", b64=False, crit=["b64"]),
    header("a token inside a token", cty="JWT"),
    header("an encrypted token", enc="A256GCM", alg="dir"),
    row("the word null", lambda: "null"),
    row("a query inside", lambda: token().replace(".", "&token=", 1)),
    # places
    *(row(f"alg none, by {where}", unsigned("none"), where) for where in ("subprotocol", "query")),
    *(row(f"expired, by {where}", lambda: token(exp=now(-HOUR)), where) for where in ("subprotocol", "query")),
    *(row(f"by a stranger, by {where}", lambda: token(signed_by="attacker"), where) for where in ("subprotocol", "query")),
    row("a good token in the query, which is off", token, "query"),
]  # fmt: skip


def encoded_twice() -> bytes:
    """``sub`` twice: readers that take the first and readers that take the last would see two people."""
    whole = claims()
    head = ",".join(f'"{name}":{value!r}'.replace("'", '"') for name, value in whole.items() if name != "md")
    return f'{{{head},"sub":"admin"}}'.encode()
