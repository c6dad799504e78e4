"""Tokens and sessions that were revoked, in all the ways in which they could live on; and what only looks like a revocation."""

from __future__ import annotations

import json
from typing import Any

from attack.rows import Row
from attack.rows_users import NoRevokeRow, RevokedAuthRow, RevokeRow

FOR_GOOD: dict[str, Any] = {
    "kind": "subject",
    "name": "victim",
    "at": 2**53 - 1,
    "until": None,
    "lifted": False,
}


def no(
    what: str, payload: Any = b"", subject: str = "mdctl.revoke.subject.forged", **changes: Any
) -> NoRevokeRow:
    """``changes`` of what would be a revocation of the victim."""
    whole = payload or json.dumps(FOR_GOOD | changes).encode()
    return NoRevokeRow(name=what, payload=whole, subject=subject)


REVOKED: list[Row] = [
    *(
        RevokeRow(name=f"{kind} is revoked while a session is open, {format}", kind=kind, format=format, reopens=reopens)
        for kind, reopens in (("subject", 401), ("token", 401), ("session", 101))
        for format in ("json", "msgpack")
    ),
    *(
        RevokeRow(name=f"a key of {algorithm} is revoked", kind="key", algorithm=algorithm, fresh=401)
        for algorithm in ("ES256", "RS256")
    ),
    RevokeRow(name="a token in a subprotocol is revoked", kind="token", where="subprotocol"),
    RevokeRow(name="a token of HS256 is revoked", kind="token", algorithm="HS256"),
    RevokeRow(name="the subject of a token of HS256 is revoked", kind="subject", algorithm="HS256"),
    RevokeRow(name="the subject of a client that never reads is revoked", kind="subject", reads=False),
    RevokeRow(name="the session of a client that never reads is revoked", kind="session", reads=False, reopens=101),
    *(RevokedAuthRow(name=f"auth with a token whose {kind} was revoked", kind=kind) for kind in ("subject", "token", "key")),
]  # fmt: skip

NOT_REVOKED: list[Row] = [
    no("a revocation that is no JSON", b"{"),
    no("a revocation that is no UTF-8", b"\xff\xfe"),
    no("a list", b"[]"),
    no("nested 3,000 deep", b"[" * 3_000),
    no("a revocation of 5,000 bytes", json.dumps(FOR_GOOD | {"x": "y" * 5_000}).encode()),
    no("an unknown kind", kind="everybody"),
    no("a kind that is a list", kind=["subject"]),
    no("a name that is a list", name=["victim"]),
    no("an empty name", name=""),
    no("a name of 5,000 characters", name="v" * 3_900),
    no("a name with a forged log line", name="victim\n2026-11-29T00:00:00.000Z error gateway.node: FORGED"),
    no("a name with an escape sequence", name="victim\x1b[2J"),
    no("a time that is negative", at=-1),
    no("a time of 2^53", at=2**53),
    no("a time that is true", at=True),
    no("a time that is text", at="1"),
    no("no time", at=None),
    no("a revocation that ended in 1970", until=1),
    no("a revocation that is lifted", lifted=True),
    no("lifted as text", lifted="false"),
    no("a kind beyond those that are kept", kind="session"),
    no("a revocation on the subject of sessions", subject="mdctl.opened"),
    no("a revocation on a subject that nobody hears", subject="mdctl.other"),
]  # fmt: skip

ROWS = REVOKED + NOT_REVOKED
