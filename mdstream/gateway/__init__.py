"""The gateway: market data from the bus to WebSocket clients. ``Gateway`` is the whole, ``GatewayConfig`` all it can be told."""

import mdstream._core  # noqa: F401 - first, because it tells when it is not built
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.node import Gateway

__all__ = ["Gateway", "GatewayConfig"]
