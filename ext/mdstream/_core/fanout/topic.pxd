"""One shared view and who is subscribed to it.

The base: members and where they stand. What is sent, and how one member is brought up to date, is the channel's:
``topic_book``, ``topic_trades``, ``topic_ticker``.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from cpython.ref cimport PyObject

from mdstream._core.codec.message cimport Reason
from mdstream._core.codec.variant cimport VARIANTS
from mdstream._core.fanout.instrument cimport Instrument
from mdstream._core.fanout.outbox cimport Frame, Outbox
from mdstream._core.fanout.sink cimport Sink

# state    has                             may become
# IN_STEP  all that the topic sent         BEHIND: its sink blocks, or it asks to recover
# BEHIND   what leads up to its `seq`      IN_STEP; EMPTY: no delta leads from there to where the topic stands
# AHEAD    resumed at a `seq` that the     IN_STEP: the topic reaches it; BEHIND: it asks to recover, or a new epoch of trades
#          topic has not reached yet       began; EMPTY: it waited too long, or the book was replaced
# EMPTY    nothing of use                  BEHIND or AHEAD, when it joins; IN_STEP, by a snapshot
cdef enum MemberState:
    IN_STEP = 0
    BEHIND = 1
    AHEAD = 2
    EMPTY = 3

cdef struct Member:
    PyObject* sink      # borrowed: a sink leaves its topics when it is closed
    uint64_t seq        # unless in step: where it stands (see c_position)
    uint64_t resumed_at     # the number at which it came into step without having been sent anything; NEVER once it was
    uint64_t deadline_us    # AHEAD: when to stop waiting; NEVER if it was told so already
    uint32_t place      # index in the sink's places
    uint32_t beat_version   # the topic's version at the last heartbeat
    uint8_t state       # MemberState
    uint8_t reason      # Reason, of the snapshot that it may come to
    uint8_t apart       # told `recovering` alone, since it joined AHEAD; until it arrives, states of its topic are not for it
    bint held           # subscribed, but catch_up was not called yet: it is sent nothing, and is not in step

cdef struct Members:    # the first `in_step` are IN_STEP
    Member* items
    uint32_t count
    uint32_t in_step
    uint32_t capacity

cdef enum:
    NEVER = 0xFFFFFFFFFFFFFFFF
    AHEAD_LIMIT_US = 2000000    # how long a member waits ahead of its topic for what nothing bears out

cdef class TopicGroup:
    """What the topics of one instrument share."""
    cdef Instrument instrument
    cdef list topics
    cdef const void* topics_at      # where that has its items: with the first of them, what a flush reads first, to be prefetched
    cdef PyObject* first_topic      # borrowed; NULL: none
    cdef bint dirty                 # among those that the hub is to flush
    cdef TopicGroup next_dirty      # the one of them that follows
    cdef bint deferred               # each topic waits for the end of its interval: until then there is nothing to flush
    cdef uint32_t loads             # snapshots loaded so far: a change of it makes older numbers unusable
    cdef bint crc_known             # of the ungrouped book's best ten levels, at:
    cdef uint64_t crc_epoch
    cdef uint64_t crc_seq
    cdef uint32_t crc_loads
    cdef uint32_t crc

    # `topics` have changed.
    cdef void c_note_topics(self) noexcept
    # Fetches who is subscribed to the first of them into the cache: it will be flushed soon.
    cdef void c_prefetch_members(self) noexcept

cdef class Topic:
    cdef readonly Instrument instrument
    cdef readonly uint32_t number
    cdef readonly str channel
    cdef readonly Py_ssize_t depth
    cdef readonly int64_t group
    cdef readonly uint32_t interval_ms
    cdef readonly bint alive
    cdef readonly uint64_t epoch
    cdef readonly uint64_t seq
    cdef TopicGroup topic_group
    cdef object key
    cdef uint64_t ts_us
    cdef uint32_t version           # messages sent to all so far
    cdef uint64_t next_us           # with an interval: when it may send again
    cdef bint waiting               # with an interval: it has something to send then
    cdef bint costly                # its view is summed from all levels for each message: it takes turns with others
    cdef bint may_stretch           # its interval may grow while the gateway cannot keep up
    cdef bint queued                # costly, with something to send: it waits for its turn
    cdef uint32_t n_ahead
    cdef Members[VARIANTS] members     # by variant
    cdef object __weakref__

    # ---- what a channel does
    # Take over where the instrument stands; nothing is sent.
    cdef int c_start(self, Outbox out) except -1
    # Its last member has left: give back what it holds. What is on its way out may still point there.
    cdef int c_end(self, Outbox out) except -1
    # Bring the topic to where the instrument stands, and send the change to all members in step.
    cdef int c_emit(self, Outbox out) except -1
    # Before one member is served: emit, if what it lacks could not be computed otherwise, or would be out of date.
    cdef int c_emit_first(self, Outbox out) except -1
    # Set the state of a new member, given (epoch, seq) if `resume`; True if it goes on from there.
    cdef bint c_admit(self, Outbox out, Member* member, bint resume, uint64_t epoch, uint64_t seq) except -1
    # `recover` from a number on: set what the member lacks.
    cdef int c_rewind(self, Member* member, uint64_t from_seq) except -1
    # Levels, changes or trades that the answer to that takes at most: what it costs.
    cdef int64_t c_recover_work(self, int variant, uint64_t from_seq) except -1
    # Send one member what leads to where the topic stands.
    cdef int c_send_missing(self, Outbox out, Member* member) except -1
    # What the `seq` of a member that is behind is compared with.
    cdef uint64_t c_position(self) noexcept
    # Whether a member that is ahead can be shown what there is now.
    cdef bint c_has_reached(self, const Member* member) noexcept
    # Whether there is anything to show yet. If not, nobody is brought into step.
    cdef bint c_shows(self) noexcept

    # ---- members
    cdef Member* c_join(self, Sink sink) except NULL
    cdef int c_leave(self, Sink sink, Py_ssize_t place) except -1
    cdef uint32_t c_count_members(self) noexcept
    cdef Member* c_member(self, Sink sink, Py_ssize_t place) noexcept
    # The only place where a state changes. Returns the member, which may have moved.
    cdef Member* c_set_state(self, Member* member, MemberState state) noexcept
    # A member in step, or ahead, is behind from here on.
    cdef Member* c_fall_behind(self, Member* member, Reason reason) noexcept
    # The sink takes no more now.
    cdef int c_on_blocked(self, Sink sink, Py_ssize_t place) except -1
    cdef int c_catch_up(self, Outbox out, Sink sink, Py_ssize_t place) except -1
    # `recover`: from here on it lacks what follows `from_seq` - 1.
    cdef int c_recover(self, Outbox out, Sink sink, Py_ssize_t place, uint64_t from_seq) except -1
    # Members that waited ahead of the topic: those it has reached; with `now_us`, also those whose time is up.
    cdef int c_serve_ahead(self, Outbox out, uint64_t now_us) except -1
    cdef int c_bring_into_step(self, Outbox out, Member* member) except -1
    # The time of a member that waits ahead is up.
    cdef int c_stop_waiting(self, Outbox out, Member* member) except -1
    # A member that was told apart is told the state of its topic from here on.
    cdef int c_arrive(self, Outbox out, Member* member) except -1
    # Brings into step all that are not and can be: neither held nor blocked.
    cdef int c_serve_waiting(self, Outbox out) except -1
    cdef int c_send_all(self, Outbox out, int variant, Frame frame) except -1
    # A message for all was made: count it, for heartbeats and the latency histogram.
    cdef int c_count_message(self, Outbox out) except -1
