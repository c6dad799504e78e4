"""How many ticks a price group has where a client asks for significant figures of the price instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError

if TYPE_CHECKING:
    from mdstream.gateway.commands import Subscribe
    from mdstream.gateway.open_instrument import OpenInstrument

_STEPS: Final = (5, 2, 1)


def group_of(price_ticks: int, digits: int, tick: int) -> int:
    """The greatest of 1, 2, 5, 10, 20, 50 … times ``tick`` that leaves a price so many figures; 1 where none does."""
    most = abs(price_ticks) // int(10 ** (digits - 1)) // tick
    if most < 1:
        return 1
    zeros = int(10 ** (len(str(most)) - 1))
    return tick * next(step * zeros for step in _STEPS if step * zeros <= most)


def with_groups(command: Subscribe, found: Sequence[OpenInstrument]) -> Sequence[Subscribe]:
    """The command as it is for each instrument. Raises CommandError ``unavailable`` where there is no price yet."""
    if not command.group_digits:
        return [command] * len(found)
    return [_with_group(command, instrument) for instrument in found]


def _with_group(command: Subscribe, instrument: OpenInstrument) -> Subscribe:
    bid, ask = instrument.core.book.best()
    best = bid or ask
    if best is None:
        raise CommandError(
            ErrorCode.UNAVAILABLE, f"{instrument.name} has no price yet, which group_digits needs; try again"
        )
    group = group_of(best[0], command.group_digits, instrument.ref.tick)
    return replace(command, group=group, group_digits=0)
