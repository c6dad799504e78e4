"""What one session may cost: a token bucket for each kind of cost. A cost is charged before the work that it is of."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from mdstream._core.base.budget import Allowances, Budget, ClockedBudgets
from mdstream._core.entry.usual_subscribe import ANSWER_BYTES, COMMANDS, ERRORS, LEVELS
from mdstream.codes import ErrorCode
from mdstream.errors import CommandError

if TYPE_CHECKING:
    from mdstream.gateway.config import GatewayConfig

__all__ = ["Budget", "Charge", "Cost", "OverBudget", "SessionBudgets", "allowances_of", "beyond"]

_ERRORS_PERIOD_S: Final = 60.0


class Cost(StrEnum):
    """What a budget is of; also a ``limit`` of ``mdstream_limited_total``."""

    __hash__ = (
        str.__hash__
    )  # that of enumerations is a function in Python, and these are keys for each command

    COMMANDS = "commands"
    DECODED_BYTES = "decoded_bytes"
    """Of messages from the client, decompressed."""
    LEVELS = "levels"
    """Levels, changes and trades that are read to answer one client."""
    ANSWER_BYTES = "answer_bytes"
    """Sent to one client because it asked; what all subscribers are sent does not count."""
    CONTROL_FRAMES = "control_frames"


_COMMANDS, _DECODED_BYTES, _LEVELS, _ANSWER_BYTES = (
    Cost.COMMANDS,
    Cost.DECODED_BYTES,
    Cost.LEVELS,
    Cost.ANSWER_BYTES,
)
"""Read once: to read a member of an enumeration takes as long as a call."""

Charge: TypeAlias = Callable[[Cost, float], str | None]
"""Charges a cost to somebody else, such as the user or the address of a session. Why it must be refused, else None."""


class SessionBudgets(ClockedBudgets):
    """The budgets of one session, made of ``allowances_of`` and a clock."""

    __slots__ = ()

    def charge(self, cost: Cost, amount: float = 1) -> None:
        """Raises CommandError ``rate_limited`` if a budget is spent, OverBudget if it is the session's own.

        What costs more than is left is allowed once.
        """
        own = _OWN.get(cost)
        if own is not None and not self.take(own, self._now_s(), amount):
            raise beyond(cost)
        if self.also is not None and (why := self.also(cost, amount)) is not None:
            raise CommandError(ErrorCode.RATE_LIMITED, why)

    def charge_message(self, size: int) -> None:
        """Charges the bytes of a message to others; those of the session are charged in the core."""
        self.charge(_DECODED_BYTES, size)

    def charge_command(self) -> None:
        self.charge(_COMMANDS)

    def charge_answer(self, levels: int, answer_bytes: int) -> None:
        """Charges both, as ``charge``."""
        if self.also is not None:
            self.charge(_LEVELS, levels)
            self.charge(_ANSWER_BYTES, answer_bytes)
            return
        now_s = self._now_s()
        if not self.take(LEVELS, now_s, levels):
            raise beyond(_LEVELS)
        if not self.take(ANSWER_BYTES, now_s, answer_bytes):
            raise beyond(_ANSWER_BYTES)

    def charge_error(self) -> bool:
        """False if the session has spent its error budget."""
        return self.take(ERRORS, self._now_s())


_OWN: Final = {Cost.COMMANDS: COMMANDS, Cost.LEVELS: LEVELS, Cost.ANSWER_BYTES: ANSWER_BYTES}
"""The number of each budget that is kept here; those of the others are in the core."""


def allowances_of(config: GatewayConfig) -> Allowances:
    """What each session may cost."""
    return Allowances(
        (config.commands_burst, config.commands_per_second),
        (config.levels_burst, config.levels_per_second),
        (config.answer_bytes_burst, config.answer_bytes_per_second),
        (config.max_errors, config.max_errors / _ERRORS_PERIOD_S),
    )


_WHAT: Final = {
    Cost.COMMANDS: "too many commands",
    Cost.DECODED_BYTES: "too many bytes of messages; this one was not read",
    Cost.LEVELS: "too many levels asked for",
    Cost.ANSWER_BYTES: "too many bytes asked for",
    Cost.CONTROL_FRAMES: "too many pings and pongs",
}


class OverBudget(CommandError):
    """A command is refused because ``cost`` is beyond a budget of the session."""

    def __init__(self, cost: Cost, message: str) -> None:
        super().__init__(ErrorCode.RATE_LIMITED, message)
        self.cost = cost


def beyond(cost: Cost) -> OverBudget:
    """Says which limit of ``welcome`` it is."""
    return OverBudget(cost, f"{_WHAT[cost]}: {cost}_burst is spent, and refills with {cost}_per_second")
