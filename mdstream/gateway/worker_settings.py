"""What each worker of a gateway is given: its part of the gateway's settings, and what it inherits from the supervisor."""

from __future__ import annotations

import os
import pickle
import socket
import sys
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from mdstream.errors import ConfigError
from mdstream.gateway.config import GatewayConfig, default_of
from mdstream.gateway.limits import Kind, bounds_of
from mdstream.gateway.reloading import RELOADED
from mdstream.gateway.settings import settings_of
from mdstream.gateway.shared_limits import SharedLimits

DIVIDED: Final = {
    "max_connections": 1,
    "max_handshakes": 1,
    "max_unread_bytes": 65_536,
    "accepts_per_second": 1,
    "max_memory_bytes": 1,
    "auth_max_pending": 1,
    "audit_lines_per_second": 1,
    "usage_backlog_bytes": 65_536,
    "activity_backlog": 100,
}
"""Settings of the whole gateway of which each worker has an equal part, and the least that it has. Connections come to the workers
evenly; one that is full is sent no more while another has room."""
TOGETHER: Final = {
    f"limits_{scope}_{kind}": (scope, kind)
    for scope, kind in (
        ("address", Kind.CONNECTIONS),
        ("address", Kind.HANDSHAKES),
        ("user", Kind.CONNECTIONS),
    )
}
"""Limits that are a tenth of a setting unless they are given: of the whole gateway's, not of a worker's."""


@dataclass(slots=True)
class WorkerPlace:
    """What a worker does not make itself."""

    number: int
    sockets: list[list[socket.socket]]
    """The listening sockets of each slot; it accepts on those that it is told to watch."""
    limits: SharedLimits


@dataclass(frozen=True, slots=True)
class Start:
    """How a worker begins: numbers, descriptors that it inherits, and its settings by name."""

    number: int
    link_fd: int
    socket_fds: list[list[int]]
    limits_fd: int
    columns: int
    column: int
    secret: bytes
    settings: dict[str, Any]

    @property
    def config(self) -> GatewayConfig:
        """Of another version than ours, what we do not know is left out."""
        known = settings_of(GatewayConfig)
        return GatewayConfig(**{name: value for name, value in self.settings.items() if name in known})

    def place(self) -> WorkerPlace:
        """Takes over the inherited descriptors."""
        sockets = [[socket.socket(fileno=fd) for fd in fds] for fds in self.socket_fds]
        limits = SharedLimits(self.limits_fd, self.columns, self.column, self.secret)
        os.close(self.limits_fd)
        return WorkerPlace(self.number, sockets, limits)

    def write(self) -> int:
        """A descriptor from which ``read`` reads it: settings may hold passwords, which belong on no command line."""
        fd = os.memfd_create("mdstream-worker", os.MFD_CLOEXEC)
        with os.fdopen(os.dup(fd), "wb") as file:
            pickle.dump({each.name: getattr(self, each.name) for each in fields(self)}, file)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    @classmethod
    def read(cls, fd: int) -> Start:
        with os.fdopen(fd, "rb") as file:
            return cls(**pickle.load(file))


def part_of(config: GatewayConfig, workers: int, number: int) -> GatewayConfig:
    """The settings of one of so many workers."""
    parts: dict[str, Any] = {
        name: _part(getattr(config, name), workers, least) for name, least in DIVIDED.items()
    }
    return replace(config, node=f"{config.node}-{number}", workers=1, **parts, **limits_of(config))


def limits_of(config: GatewayConfig) -> dict[str, Any]:
    """What SIGHUP changes: limits of addresses and users, which all workers have together, and the like."""
    found = {name: getattr(config, name) for name in RELOADED}
    for name, (scope, kind) in TOGETHER.items():
        found[name] = bounds_of(config, scope)[kind]
    return found


def not_default(config: GatewayConfig) -> dict[str, Any]:
    """The settings of a configuration that differ from the defaults, by name."""
    values = {name: getattr(config, name) for name in settings_of(GatewayConfig)}
    return {name: value for name, value in values.items() if value != default_of(name)}


def _part(whole: int, workers: int, least: int) -> int:
    return max(-(-whole // workers), least) if whole else 0


def count_workers(config: GatewayConfig) -> int:
    """How many there shall be; 0 is one for each CPU that this process may use. Raises ConfigError where there cannot be several."""
    workers = config.workers or len(os.sched_getaffinity(0)) if sys.platform == "linux" else config.workers
    if workers != 1 and sys.platform != "linux":
        raise ConfigError(
            f"workers is {workers}; more than one needs Linux, whose kernel shares out connections"
        )
    return workers
