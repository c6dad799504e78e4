"""The gateway's connection to NATS: tried for until it is there. From then on it is the bus that connects again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from mdstream.bus import Bus, BusOptions, StreamOptions, connect, connect_delayed
from mdstream.bus.options import read_urls, secret
from mdstream.bus.streams import PAST_SLACK_S
from mdstream.errors import BusError, BusUnavailable
from mdstream.gateway.config import GatewayConfig

log = logging.getLogger("mdstream.gateway")

NOT_CONNECTED: Final = "NATS is not connected"
_RETRY_LEAST_S: Final = 0.2
_RETRY_MOST_S: Final = 5.0


class BusLink:
    """``bus`` is the connection, None before it was made. One that is ``given`` is used as it is, and left open."""

    def __init__(self, config: GatewayConfig, given: Bus | None, use: Callable[[Bus], None]) -> None:
        """``use`` is called once, with the bus."""
        self.bus = given
        self.used = asyncio.Event()
        """Set when the bus is in use."""
        self.connecting: asyncio.Task[None] | None = None
        """Fails with ConfigError where NATS is there and cannot serve this configuration."""
        self._config = config
        self._is_given = given is not None
        self._use = use
        self._missing = NOT_CONNECTED

    @property
    def connected(self) -> bool:
        return self.bus is not None and self.bus.connected

    @property
    def trouble(self) -> str | None:
        """Why there is no market data now; None if there is."""
        if self.connected:
            return None
        return self._missing if self.bus is None else NOT_CONNECTED

    @property
    def socket(self) -> object | None:
        return None if self.bus is None else self.bus.client.socket

    def read_options(self) -> BusOptions | None:
        """For ``begin``; raises ConfigError if they are not valid."""
        return None if self._is_given else bus_options(self._config)

    def begin(self, options: BusOptions | None) -> None:
        if options is not None:
            self.connecting = asyncio.get_running_loop().create_task(self._connect(options))
        elif self.bus is not None:
            self._begin_use(self.bus)

    async def close(self) -> None:
        """Closes the connection if it is our own."""
        if self.bus is not None and not self._is_given:
            await self.bus.close()

    async def _connect(self, options: BusOptions) -> None:
        """Tries until NATS and its streams are there; logs a failure once, and again only when the reason changes."""
        said = ""
        delay_s = _RETRY_LEAST_S
        while True:
            try:
                await self._try(options)
                return
            except BusError as error:
                if str(error) != said:
                    said = str(error)
                    again = (
                        "trying again" if isinstance(error, BusUnavailable) else "trying again all the same"
                    )
                    log.warning("%s; %s", said, again)
            await asyncio.sleep(random.uniform(0, delay_s))
            delay_s = min(delay_s * 2, _RETRY_MOST_S)

    async def _try(self, options: BusOptions) -> None:
        delay_s = self._config.delay_ms / 1000
        try:
            bus = await (connect_delayed(options, delay_s) if delay_s else connect(options))
        except BusError as error:
            self._missing = NOT_CONNECTED if isinstance(error, BusUnavailable) else str(error)
            raise
        try:
            await bus.ensure_streams()
        except BaseException as error:
            if isinstance(error, BusError):
                self._missing = str(error)
            await bus.close()
            raise
        self._begin_use(bus)

    def _begin_use(self, bus: Bus) -> None:
        self.bus = bus
        self._use(bus)
        self.used.set()


def bus_options(config: GatewayConfig) -> BusOptions:
    """The options of the bus from the configuration; raises ConfigError if they are not valid."""
    options = BusOptions(
        urls=read_urls(config.nats),
        credentials=config.nats_credentials,
        nkey=config.nats_nkey,
        user=config.nats_user,
        password=secret(config.nats_password, config.nats_password_file),
        token=secret(config.nats_token, config.nats_token_file),
        tls_ca=config.nats_tls_ca,
        tls_cert=config.nats_tls_cert,
        tls_key=config.nats_tls_key,
        inbox_prefix=config.nats_inbox_prefix,
        api_prefix=config.nats_api_prefix,
        name=f"mdstream gateway {config.node}",
        parser=config.nats_parser,
        streams=StreamOptions(
            log_max_age_s=PAST_SLACK_S + config.delay_ms / 1000,
            past_max_bytes=config.delay_max_bytes,
            replicas=config.nats_replicas,
        ),
    )
    options.ssl_context()
    return options
