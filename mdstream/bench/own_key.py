"""A key for the gateway that a load test starts, and a token by it: what clients cost that must say who they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from mdstream.auth.signing import new_key, read_signing_key
from mdstream.bench.setup import Setup

AUDIENCE: Final = "mdstream"
LASTS_S: Final = 86_400
EVERYTHING: Final[dict[str, Any]] = {"grants": [{"channels": ["*"], "instruments": ["*"]}]}


@contextmanager
def with_own_key(setup: Setup) -> Iterator[Setup]:
    """The setup whose gateway verifies tokens by a new key, and whose connections bring one; the key is removed afterwards."""
    private, public = new_key()
    now_s = int(time.time())
    claims = {"sub": "bench", "aud": AUDIENCE, "iat": now_s, "exp": now_s + LASTS_S, "md": EVERYTHING}
    with TemporaryDirectory(prefix="mdstream-bench-") as folder:
        file = Path(folder) / "bench.pub"
        file.write_bytes(public or b"")
        arguments = (*setup.server_args, "--auth-key-file", str(file))
        yield replace(setup, token=read_signing_key(private).sign(claims), server_args=arguments)
