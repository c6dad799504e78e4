"""What JetStream has stored of the state that was published. Nothing that is live waits for it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nats.aio.subscription import Subscription

from mdstream.bus import Bus
from mdstream.bus.streams import WRONG_LAST_SEQUENCE
from mdstream.errors import BusError, BusUnavailable

log = logging.getLogger("mdstream.feed")

LATE_US = 5_000_000
"""What is not confirmed after this time is not stored."""
RETRY_S = (2.0, 30.0)
"""Without a sign of JetStream we try again after the first of these, then less and less often, down to the second."""


@dataclass(slots=True)
class _State:
    """The newest message of one subject; ``waiting_us`` is since when a confirmation is due, None if none is."""

    subject: str
    slot: int
    sent: int = 0
    waiting_us: int | None = None
    refusal: str = ""
    expected_seq: int | None = None
    """Only if this is still the subject's newest number, the next message may be stored."""
    answered: int = 0
    """The last of our messages that was answered."""
    sent_expecting: int | None = None
    """What the newest message expected."""
    outrun: bool = False
    """The newest was refused because one of ours before it was stored meanwhile: what it said is to be sent again."""

    @property
    def is_stored(self) -> bool:
        return self.waiting_us is None and not self.refusal


class Storage:
    """Publishes state and follows its confirmations. Trouble is reported once when it begins and once when it is over.

    ``on_outrun`` gets the subject of a message that was not stored because it was sent before the one before it was confirmed,
    ``on_conflict`` that of one that was not stored because another writer's was there; ``on_retry`` the subjects whose state must be
    published again; ``on_restored`` is called when the trouble is over.
    """

    def __init__(
        self,
        bus: Bus,
        venue: str,
        *,
        report: Callable[[BusError], None],
        on_outrun: Callable[[str], None],
        on_conflict: Callable[[str], None],
        on_retry: Callable[[Collection[str]], None],
        on_restored: Callable[[], None],
        monotonic_us: Callable[[], int],
    ) -> None:
        self.in_trouble = False
        self._bus = bus
        self._venue = venue
        self._report = report
        self._on_outrun = on_outrun
        self._on_conflict = on_conflict
        self._on_retry = on_retry
        self._on_restored = on_restored
        self._monotonic_us = monotonic_us
        self._states: dict[str, _State] = {}
        self._slots: list[_State] = []
        self._has_streams = True
        self._answered = asyncio.Event()
        self._inbox = bus.new_inbox()
        self._answers: Subscription | None = None
        self._mending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._answers = await self._bus.subscribe(f"{self._inbox}.*.*", self._on_answer)

    async def stop(self) -> None:
        if self._mending is not None:
            self._mending.cancel()
        if self._answers is not None:
            await self._bus.unsubscribe(self._answers)

    # ---- for the publisher

    async def publish(self, subject: str, payload: bytes) -> None:
        """Publishes without waiting for the confirmation. Raises BusError."""
        state = self._state(subject)
        state.sent += 1
        state.sent_expecting, state.outrun = state.expected_seq, False
        if state.waiting_us is None:
            state.waiting_us = self._monotonic_us()
        reply = f"{self._inbox}.{state.slot}.{state.sent}"
        await self._bus.publish(subject, payload, reply=reply, expected_seq=state.expected_seq)

    def is_ours(self, reply: bytes) -> bool:
        """Whether a message with this reply subject was published here."""
        return reply.startswith(self._inbox.encode())

    def expect(self, subject: str, seq: int) -> None:
        """From now on a subject's messages are stored only if no other writer has stored one since number ``seq``."""
        self._state(subject).expected_seq = seq

    def expects_other(self, subject: str, seq: int) -> bool:
        """Whether a subject's messages are stored only over another number than this."""
        expected = self._state(subject).expected_seq
        return expected is not None and expected != seq

    def expect_nothing(self) -> None:
        """Another writes from now on."""
        for state in self._slots:
            state.expected_seq, state.outrun = None, False
        self.forget(self._states)

    def forget(self, subjects: Collection[str]) -> None:
        """These subjects are another writer's now, or hold what they should."""
        for subject in subjects:
            state = self._state(subject)
            state.waiting_us, state.refusal = None, ""

    async def settled(self, subjects: Collection[str]) -> None:
        """Returns when the newest state of these subjects is stored."""
        while not all(self._state(subject).is_stored for subject in subjects):
            self._answered.clear()
            await self._answered.wait()

    def reconnected(self) -> None:
        """What waits for a confirmation is published again: its time begins now."""
        for state in self._slots:
            if state.waiting_us is not None:
                state.waiting_us = self._monotonic_us()

    def all_subjects(self) -> Collection[str]:
        return self._states.keys()

    def check(self, at_us: int) -> None:
        """Notices what was not confirmed in time, and that everything is confirmed again."""
        unstored = [state for state in self._slots if not state.is_stored]
        late = [
            state
            for state in unstored
            if state.refusal or (state.waiting_us is not None and at_us - state.waiting_us >= LATE_US)
        ]
        if late and not self.in_trouble:
            why = late[0].refusal or "JetStream does not confirm it"
            self.begin_trouble(f"{late[0].subject} and {len(unstored) - 1} more: {why}")
        elif self.in_trouble and not unstored and self._has_streams:
            self._end_trouble()

    def begin_trouble(self, why: str) -> None:
        """From now on nothing is taken for stored until everything is confirmed."""
        if self.in_trouble:
            return
        self.in_trouble, self._has_streams = True, False
        self._report(
            BusUnavailable(
                f"{self._venue}: not stored: {why}. Live data goes on, but gateways cannot open these instruments or recover gaps "
                "until it is stored"
            )
        )
        self._mending = asyncio.create_task(self._mend())

    def _end_trouble(self) -> None:
        self.in_trouble = False
        if self._mending is not None:
            self._mending.cancel()
        self._report(BusError(f"{self._venue}: everything is stored again"))
        self._on_restored()

    # ---- within

    def _state(self, subject: str) -> _State:
        state = self._states.get(subject)
        if state is None:
            state = self._states[subject] = _State(subject, len(self._slots))
            self._slots.append(state)
        return state

    def _on_answer(self, name: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        slot, sent = map(int, name.rsplit(b".", 2)[1:])
        state = self._slots[slot]
        answer = _parsed(payload)
        before, state.answered = state.answered, max(sent, state.answered)
        if "error" not in answer and isinstance(answer.get("seq"), int):
            self._on_stored(state, sent, answer["seq"])
        elif sent == state.sent or state.outrun:
            self._on_refused(state, answer.get("error"), before)
        self._answered.set()

    def _on_stored(self, state: _State, sent: int, seq: int) -> None:
        state.refusal = ""
        state.waiting_us = None if sent == state.sent else self._monotonic_us()
        if state.expected_seq is not None:
            state.expected_seq = seq
        if state.outrun:
            self._on_outrun(state.subject)

    def _on_refused(self, state: _State, error: dict[str, Any] | None, answered: int) -> None:
        """``answered``: the last one that was answered before this one."""
        if error is None:
            state.refusal = "no stream takes it"  # an empty answer: no responders
        elif error.get("err_code") == WRONG_LAST_SEQUENCE:
            self._on_wrong_number(state, answered)
        else:
            state.refusal = str(error.get("description", error))

    def _on_wrong_number(self, state: _State, answered: int) -> None:
        """Another writer has stored something, or we have: a message is not held back until the one before it is confirmed."""
        if state.expected_seq != state.sent_expecting:
            self._on_outrun(state.subject)
        elif answered < state.sent - 1:
            state.outrun = True
        else:
            self._on_conflict(state.subject)

    async def _mend(self) -> None:
        """Sees to it that the streams exist, and has unstored state published again when JetStream answers."""
        delay_s = RETRY_S[0]
        while True:
            self._answered.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._answered.wait()
                    delay_s = RETRY_S[0] / 2
            with suppress(TimeoutError, BusError):
                async with asyncio.timeout(LATE_US / 1e6):
                    await self._bus.ensure_streams()
                # The streams may be new and empty: then what was stored is lost.
                lost, self._has_streams = not self._has_streams, True
                self._on_retry([state.subject for state in self._slots if lost or not state.is_stored])
            await asyncio.sleep(RETRY_S[0] / 4)
            delay_s = min(delay_s * 2, RETRY_S[1])


def _parsed(payload: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(payload)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
