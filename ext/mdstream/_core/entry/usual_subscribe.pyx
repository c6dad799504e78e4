"""Answers what many clients send alike, without an interpreter frame of its own; each is judged, charged and counted by itself."""

from weakref import ref as weak

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t

from mdstream._core.base.budget cimport ClockedBudgets
from mdstream._core.base.turn_time cimport TurnTime
from mdstream._core.codec.variant cimport PLAIN, compression_of
from mdstream._core.entry.budget_numbers cimport (
    ANSWER_BYTES_BUDGET, COMMANDS_BUDGET, DECODED_BYTES_BUDGET, ERRORS_BUDGET, LEVELS_BUDGET
)
from mdstream._core.entry.costs cimport Beginning, cost_of_beginning, weigh
from mdstream._core.entry.counters cimport count_one
from mdstream._core.entry.headcount cimport Headcount
from mdstream._core.entry.load_state cimport LoadState
from mdstream._core.entry.visitor cimport ClientState, Visitor
from mdstream._core.fanout.hub cimport Hub
from mdstream._core.fanout.instrument cimport Instrument
from mdstream._core.fanout.sink cimport Sink
from mdstream._core.fanout.topic cimport Topic

from mdstream.errors import CommandError

# The same for `mdstream.gateway.budget` and `mdstream.gateway.limits`.
COMMANDS, LEVELS, ANSWER_BYTES, ERRORS = COMMANDS_BUDGET, LEVELS_BUDGET, ANSWER_BYTES_BUDGET, ERRORS_BUDGET
DECODED_BYTES = DECODED_BYTES_BUDGET


cdef class UsualSubscribe:
    """A message that is one ``subscribe`` as most clients send it. All that send the same bytes share it, and what was found out of it."""

    def __init__(self, command, Py_ssize_t size) -> None:
        """``size``: of the message, in bytes."""
        self.command = command
        self.id = command.id
        self.size = size
        self.name = command.instruments[0]
        self.view = command.view
        self.of_book = self.view[0] == "book"
        self.depth = command.depth
        self.echo_bytes = command.echo_bytes

    cdef Topic c_topic(self, Instrument instrument):
        cdef Topic topic = None if self.topic is None else self.topic()
        return topic if topic is not None and topic.alive and topic.instrument is instrument else None

    cdef bytes c_answer(self, Topic topic, object ref):
        return self.answer if ref is self.ref and self.c_topic(topic.instrument) is topic else None

    cdef int c_remember(self, Topic topic, object ref, bytes answer) except -1:
        self.topic = weak(topic)
        self.ref = ref
        self.answer = answer
        return 0


cdef class UsualSubscribes:
    """``received`` is what a session calls with a message. What is unusual is for the other objects, which are Python's: a message that
    is not known, or has to wait, for ``sessions``; an instrument that is not open, or whatever is refused, for ``subscriptions``."""

    cdef object sessions
    cdef object subscriptions
    cdef object instruments
    cdef Headcount limits
    cdef LoadState load
    cdef Hub hub
    cdef tuple known
    cdef Py_ssize_t most
    cdef object no_id
    cdef object live

    def __init__(
        self, sessions, subscriptions, instruments, Headcount limits not None, LoadState load not None, Hub hub, *, tuple known,
        Py_ssize_t most, no_id, live
    ) -> None:
        """``known``: by format, messages and the ``UsualSubscribe`` that each is. ``most``: subscriptions of a session. ``no_id``: in
        place of the ``id`` of a command that was not read. ``live``: the state of an instrument whose data may be shown at once."""
        self.sessions = sessions
        self.subscriptions = subscriptions
        self.instruments = instruments
        self.limits = limits
        self.load = load
        self.hub = hub
        self.known = known
        self.most = most
        self.no_id = no_id
        self.live = live

    def received(self, session, bytes payload) -> None:
        """Answers one WebSocket message, now or in slices; raises nothing, whatever the message holds."""
        cdef Sink sink = session.sink
        cdef UsualSubscribe usual = (<dict>self.known[sink.format]).get(payload)
        cdef TurnTime turns = self.sessions.turns
        cdef int64_t began_us
        if usual is None:
            self.sessions.answer(session, payload)
            return
        if not turns.c_may_begin(session):
            turns.run(session, LateSubscribe(self, session, payload, usual))
            return
        began_us = turns.c_clock_us()
        self.c_answer(session, sink, usual)
        turns.c_spend_since(began_us)

    cdef int c_answer(self, object session, Sink sink, UsualSubscribe usual) except -1:
        """As ``Sessions.answer``, of a message that is known."""
        cdef ClientState client = <ClientState?>session.context
        cdef ClockedBudgets budgets = client.budgets
        cdef double now_s = budgets._now_s()
        id = self.no_id
        try:
            if not budgets.c_charge_others(DECODED_BYTES_BUDGET, usual.size, now_s):
                budgets.charge_message(usual.size)
            id = usual.id
            if not budgets.c_charge(COMMANDS_BUDGET, 1, now_s):
                budgets.charge_command()
            count_one(self.sessions.commands_total, "subscribe")
            if session.open:        # a message before it, in the same read, may have ended it
                self.c_subscribe(session, sink, client, usual, now_s)
        except CommandError as error:
            self.sessions.refuse(session, id, error)
        return 0

    cdef int c_subscribe(self, object session, Sink sink, ClientState client, UsualSubscribe usual, double now_s) except -1:
        """As ``Subscriptions.subscribe``, in one step."""
        self.c_check(session, client, usual)
        instrument = self.c_instrument(sink, client, usual)
        if instrument is None:
            self.sessions.turns.run(session, self.subscriptions.subscribe(session, usual.command))
            return 0
        self.c_charge(sink, client, usual, instrument.core, now_s)
        self.c_join(session, sink, usual, instrument)
        if not client.visitor.is_exempt:
            self.subscriptions.tally(session)
        return 0

    cdef object c_instrument(self, Sink sink, ClientState client, UsualSubscribe usual):
        """None if it is not open, or there may be no room for one more subscription."""
        cdef Visitor visitor = client.visitor
        instrument = self.instruments.find(usual.name)
        if sink.n_places + client.opening >= self.most or not (visitor.is_exempt or self.limits.c_without_room(visitor, 1) is None):
            return None
        return instrument

    cdef int c_check(self, object session, ClientState client, UsualSubscribe usual) except -1:
        """Raises CommandError if the client may not have it, or nobody may now."""
        entitlements = client.identity.entitlements
        if usual.allowed_by is not entitlements:    # most clients have the same
            self.subscriptions.check_entitled(session, usual.command)
            usual.allowed_by = entitlements
        if self.load.refuses is not None:
            self.subscriptions.check_load()
        return 0

    cdef int c_charge(self, Sink sink, ClientState client, UsualSubscribe usual, Instrument core, double now_s) except -1:
        cdef Beginning cost = cost_of_beginning(core, usual.of_book, usual.depth, sink.format, usual.echo_bytes)
        cdef Py_ssize_t size = weigh(cost.size, compression_of(sink.variant) != PLAIN)
        if not client.budgets.c_charge_both(LEVELS_BUDGET, cost.levels, ANSWER_BYTES_BUDGET, size, now_s):
            client.budgets.charge_answer(cost.levels, size)
        return 0

    cdef int c_join(self, object session, Sink sink, UsualSubscribe usual, object instrument) except -1:
        cdef Instrument core = instrument.core
        cdef Topic topic = usual.c_topic(core)
        cdef bytes answer
        if topic is None:
            topic = self.hub.table.c_topic((core,) + usual.view)
        ref = instrument.ref
        answer = usual.c_answer(topic, ref)
        resumed = None if sink.c_find(<PyObject*>topic) >= 0 else self.hub.c_subscribe(sink, topic, None)
        if resumed is False and answer is not None and self.subscriptions.usage is None and self.subscriptions.activity is None:
            self.c_show(sink, topic, instrument, answer)
            return 0
        answer = self.subscriptions.begin(session, usual.id, instrument, topic, resumed, None)
        if resumed is False:
            usual.c_remember(topic, ref, answer)
        return 0

    cdef int c_show(self, Sink sink, Topic topic, object instrument, bytes answer) except -1:
        """As ``OpenInstruments.begin``, to which it leaves all that is not shown as it is."""
        if instrument.statuses[topic.channel].state is self.live and not self.instruments.strain.is_told:
            self.hub.c_catch_up(sink, topic, answer, 0)
        else:
            self.instruments.begin(sink, topic, instrument, answer, None)
        return 0


cdef class LateSubscribe:
    """The step, or the steps, of a ``subscribe`` that is known and has to wait for its turn."""

    cdef UsualSubscribes usuals
    cdef object session
    cdef bytes payload
    cdef UsualSubscribe usual
    cdef object steps

    def __init__(self, UsualSubscribes usuals not None, session, bytes payload not None, UsualSubscribe usual not None) -> None:
        self.usuals = usuals
        self.session = session
        self.payload = payload
        self.usual = usual

    def __iter__(self):
        return self

    def __next__(self):
        cdef UsualSubscribes usuals = self.usuals
        cdef Sink sink
        cdef ClientState client
        if self.steps is None:
            sink, client = self.session.sink, <ClientState?>self.session.context
            if usuals.c_instrument(sink, client, self.usual) is not None:
                usuals.c_answer(self.session, sink, self.usual)
                raise StopIteration
            self.steps = usuals.sessions.steps_of(self.session, self.payload)
        return next(self.steps)
