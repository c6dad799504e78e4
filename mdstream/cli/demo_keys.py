"""The demo's key and token: made each time, in a directory of their own that goes with the demo."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mdstream.auth.signing import SigningKey, new_key, read_signing_key

LASTS_S = 24 * 3600
SUBJECT = "demo"
_CLAIMS: dict[str, Any] = {
    "sub": SUBJECT,
    "aud": "mdstream",
    "md": {"grants": [{"channels": ["*"], "instruments": ["*"]}]},
}


class DemoKeys:
    """``public`` and ``token_file`` are the paths of the public key and of the token."""

    def __init__(self, directory: Path) -> None:
        private, public = new_key()
        self.public = directory / "key.pub"
        self.public.write_bytes(public or b"")
        self.token = _token(read_signing_key(private))
        self.token_file = directory / "token"
        self.token_file.touch(0o600)
        self.token_file.write_text(self.token, encoding="ascii")

    @classmethod
    @contextmanager
    def made(cls) -> Iterator[DemoKeys]:
        """For as long as the demo runs; only its user may read the directory."""
        with tempfile.TemporaryDirectory(prefix="mdstream-demo-") as directory:
            yield cls(Path(directory))

    @staticmethod
    def foreign_token() -> str:
        """A token that another key has signed."""
        return _token(read_signing_key(new_key()[0]))


def _token(key: SigningKey) -> str:
    now_s = int(time.time())
    return key.sign({**_CLAIMS, "iat": now_s, "exp": now_s + LASTS_S})
