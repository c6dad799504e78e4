"""A key for the gateway that a load test starts, and tokens by it: what clients cost that must say who they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from mdstream.auth.signing import SigningKey, new_key, read_signing_key
from mdstream.bench.setup import Setup

AUDIENCE: Final = "mdstream"
LASTS_S: Final = 86_400
EVERYTHING: Final[dict[str, Any]] = {"grants": [{"channels": ["*"], "instruments": ["*"]}]}


@contextmanager
def with_own_key(setup: Setup) -> Iterator[Setup]:
    """The setup whose gateway verifies tokens by a new key, and whose connections bring one; the key is removed afterwards."""
    private, public = new_key()
    with TemporaryDirectory(prefix="mdstream-bench-") as folder:
        file = Path(folder) / "bench.pub"
        file.write_bytes(public or b"")
        setup = replace(setup, server_args=(*setup.server_args, "--auth-key-file", str(file)))
        if setup.authenticate == "fresh":
            yield replace(setup, signing_key=private.decode(), token=None)
        else:
            yield replace(setup, token=_token(read_signing_key(private), "bench"))


def fresh_tokens(signing_key: str, first: int, count: int) -> list[str]:
    """A token for each connection, of a user each; ``first``: the number of the first one."""
    key = read_signing_key(signing_key.encode())
    return [_token(key, f"bench-{number}") for number in range(first, first + count)]


def _token(key: SigningKey, subject: str) -> str:
    now_s = int(time.time())
    return key.sign({"sub": subject, "aud": AUDIENCE, "iat": now_s, "exp": now_s + LASTS_S, "md": EVERYTHING})
