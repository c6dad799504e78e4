"""The settings ``[limits]`` and ``[proxies]``: what one address and one user may have, and who says where a client comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mdstream.gateway.settings import Group, NetworkList, Text, Whole

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
PROXY_PROTOCOLS: Final = ("x-forwarded-for", "forwarded", "proxy-v2")

_limits = Group(
    "limits for all connections of one address (IPv6: of one /64), and of one user; 0 is no limit", rank=2
)
_proxies = Group("proxies and load balancers in front", rank=2)
_COUNT = Whole(0, 1_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """A part of ``GatewayConfig``."""

    limits_address_connections: int | None = _limits(
        None,
        _COUNT,
        "connections of one address at a time; further ones are answered 429 (default: a tenth of max_connections)",
    )
    limits_address_handshakes: int | None = _limits(
        None,
        _COUNT,
        "connections of one address that have not sent their upgrade request; further ones are answered 429 at once "
        "(default: a tenth of max_handshakes)",
    )
    limits_address_subscriptions: int = _limits(
        20_000, _COUNT, "subscriptions of one address; more are refused as limit_subscriptions"
    )
    limits_address_commands_per_second: int = _limits(
        2_000,
        _COUNT,
        "commands of one address per second, ten times as many at once; more are refused as rate_limited",
    )
    limits_address_received_bytes_per_second: int = _limits(
        1_048_576,
        _COUNT,
        "bytes of messages from one address per second, ten times as many at once; more are refused as rate_limited",
    )
    limits_address_sent_bytes_per_second: int = _limits(
        0,
        _COUNT,
        "bytes of answers to one address per second (snapshots, recovered data; not updates), ten times as many at once",
    )
    limits_user_connections: int | None = _limits(
        None,
        _COUNT,
        "connections of one user at a time; further ones are answered 429 (default: a tenth of max_connections)",
    )
    limits_user_subscriptions: int = _limits(
        10_000, _COUNT, "subscriptions of one user; more are refused as limit_subscriptions"
    )
    limits_user_commands_per_second: int = _limits(
        1_000,
        _COUNT,
        "commands of one user per second, ten times as many at once; more are refused as rate_limited",
    )
    limits_user_received_bytes_per_second: int = _limits(
        1_048_576,
        _COUNT,
        "bytes of messages from one user per second, ten times as many at once; more are refused as rate_limited",
    )
    limits_user_sent_bytes_per_second: int = _limits(
        0, _COUNT, "bytes of answers to one user per second, as for one address"
    )
    limits_exempt: tuple[str, ...] = _limits(
        LOOPBACK,
        NetworkList(),
        "addresses whose connections have none of these limits; none: every address has them",
    )
    proxies_trusted: tuple[str, ...] = _proxies(
        (),
        NetworkList(),
        "addresses of the proxies that say who their client is; from others, what they say of that counts for nothing",
    )
    proxies_protocol: str = _proxies(
        "x-forwarded-for",
        Text(PROXY_PROTOCOLS, placeholder="|".join(PROXY_PROTOCOLS)),
        "how they say it: in the header X-Forwarded-For or Forwarded, or by the binary PROXY protocol (proxy-v2), with which "
        "each of their connections must then begin",
    )
