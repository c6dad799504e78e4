"""Ports for servers that must come back on the same one."""

from __future__ import annotations

import random
import socket

LOWEST, BEYOND = 10_000, 32_768
"""Below what Linux gives to outgoing connections: those would take the port while its server is away."""
_random = random.SystemRandom()
_given: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now, that no outgoing connection will be given, and that was not returned before:
    a test asks for the ports of all its servers before the first of them starts.
    """
    while True:
        port = _random.randrange(LOWEST, BEYOND)
        if port in _given:
            continue
        with socket.socket() as listener:
            try:
                listener.bind((host, port))
            except OSError:
                continue
        _given.add(port)
        return port
