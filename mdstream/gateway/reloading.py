"""Which settings count at SIGHUP, and which wait for a restart."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.limit_settings import LimitSettings
from mdstream.gateway.settings import settings_of

RELOADED: Final = (*(each.name for each in fields(LimitSettings)), "origin_allow")
"""The contents of files with keys and certificates are read again too."""


def waiting(started: GatewayConfig, now: GatewayConfig) -> list[str]:
    """The settings that have changed since the start, and do not count before a restart."""
    names = (name for name in settings_of(GatewayConfig) if name not in RELOADED)
    return [name for name in names if getattr(started, name) != getattr(now, name)]
