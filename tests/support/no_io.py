"""The guard of ``make test-quick``: a test that opens a socket of the network or starts a process fails."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PROCESS_EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"}
NETWORK = {socket.AF_INET, socket.AF_INET6}


class Guard:
    """Refuses while it is on, and keeps what it refused, because the tested code may swallow the error."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self._on = False
        sys.addaudithook(self._audit)

    @contextmanager
    def on(self) -> Iterator[None]:
        self.refused.clear()
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        # Each event loop has a socketpair, which is AF_UNIX.
        if event in PROCESS_EVENTS or (event == "socket.__new__" and arguments[1] in NETWORK):
            self.refused.append(event)
            raise PermissionError(f"{event} in a quick test: mark it with pytest.mark.process")
