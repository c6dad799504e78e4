"""What a gateway checks of a change of a user's alerts before it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdstream.alert import Alert, read_new_alert
from mdstream.auth.entitlements import MAX_MS
from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.model import Channel
from mdstream.wording import shown

if TYPE_CHECKING:
    from mdstream.auth.entitlements import Entitlements
    from mdstream.auth.identity import Identity
    from mdstream.gateway.map_commands import Put

_SHOWN_BY: Final = {
    "bid": (Channel.TICKER, Channel.BOOK),
    "ask": (Channel.TICKER, Channel.BOOK),
    "last": (Channel.TICKER, Channel.TRADES),
}
"""Channels that show a price; an alert tells no more than one of them does."""


def check_alerts(identity: Identity, command: Put) -> None:
    """Raises CommandError: ``bad_value`` for what is no alert, ``not_entitled`` for a price that the user may not see live. Asks nobody
    what exists."""
    for key, value in command.set.items():
        try:
            alert = read_new_alert(value)
        except ValueError as error:
            raise CommandError(ErrorCode.BAD_VALUE, f"alert {shown(key)}: {error}") from None
        check_may_see(identity.entitlements, alert)


def check_may_see(entitlements: Entitlements, alert: Alert) -> None:
    """Raises CommandError ``not_entitled``."""
    name, channels = str(alert.instrument), _SHOWN_BY[alert.on]
    delays = [entitlements.delay_ms(channel.value, name, 1, MAX_MS) for channel in channels]
    if 0 in delays:
        return
    if all(each is None for each in delays):
        needed = " or ".join(channels)
        why = entitlements.check(channels[0].value, name, 1, MAX_MS)
        raise CommandError(ErrorCode.NOT_ENTITLED, f"{why}; an alert on its {alert.on} needs {needed}")
    raise CommandError(ErrorCode.NOT_ENTITLED, f"you may see {name} only late, and alerts are of live prices")
