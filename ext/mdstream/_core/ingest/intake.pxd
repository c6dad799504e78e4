"""From the bus into the hub: takes the live messages of one instrument."""

from libc.stdint cimport uint64_t

from mdstream._core.fanout.flush_scheduler cimport FlushScheduler
from mdstream._core.orderbook.book cimport NextWrites
from mdstream._core.fanout.hub cimport Hub
from mdstream._core.fanout.instrument cimport NOTHING, Agreement, Instrument, Outcome
from mdstream._core.ingest.receiver cimport Receiver
from mdstream._core.fanout.topic cimport TopicGroup

cdef struct Footprint:      # the memory that the next payload will need, to be prefetched; book NULL: not known
    const void* intake
    const void* instrument
    const void* book
    const void* topic_group
    const void* topics          # of the group: the list, its items, the first of them; NULL: it is not flushed soon
    const void* topics_at
    const void* first_topic
    NextWrites writes

cdef class Intake:
    cdef Hub hub
    cdef Instrument instrument
    cdef TopicGroup topic_group

    cdef Outcome c_take(self, const char* payload, Py_ssize_t size) except? NOTHING

cdef class BookIntake(Intake):
    pass

cdef class TradeIntake(Intake):
    pass

cdef class InstrumentReceiver(Receiver):
    cdef object fallback            # called with the bytes of each message that does not go straight to the core
    cdef object on_heard
    cdef FlushScheduler scheduler
    cdef public Intake book         # None: not straight to the core
    cdef public Intake trades
    cdef bint heard                 # something was accepted since the watch last looked
    cdef bint silent                # the next message that is accepted is told to on_heard
    cdef Footprint footprint        # of the book
    cdef readonly uint64_t heard_us     # when the watch last found that something was accepted; 0: never
    cdef uint64_t due_us            # when the watch calls for a check
    cdef uint64_t calm_us           # how long after heard_us that is; 0: due_us stays as it is

    cdef bint c_apply(self, Intake intake, const char* payload, Py_ssize_t size) except -1
    cdef bint c_is_confirmed(self, const char* snap, Py_ssize_t size) except -1
    cdef void c_predict(self) noexcept
