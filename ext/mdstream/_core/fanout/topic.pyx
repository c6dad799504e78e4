"""Members and where they stand: a dense array per variant, those in step first, each knowing its place in its sink."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from mdstream._core.codec.message cimport REASON_RECOVER, REASON_SLOW, REASON_SUBSCRIBE
from mdstream._core.fanout.outbox cimport SOON, hand, prefetch_sink
from mdstream._core.fanout.sink cimport Place, fit_capacity, next_capacity


cdef class TopicGroup:
    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.topics = []


cdef class Topic:
    def __dealloc__(self) -> None:
        cdef int variant
        for variant in range(VARIANTS):
            free(self.members[variant].items)

    def __repr__(self) -> str:
        view = f" depth {self.depth} group {self.group}" if self.channel == "book" else ""
        return f"<Topic {self.number} {self.instrument.name} {self.channel}{view} every {self.interval_ms} ms at {self.seq}>"

    @property
    def subscribers(self) -> int:
        return self.c_count_members()

    @property
    def subscription_bytes(self) -> int:
        cdef Py_ssize_t room = 0
        cdef int variant
        for variant in range(VARIANTS):
            room += self.members[variant].capacity
        return room * sizeof(Member)

    # ---- what a channel does

    cdef int c_start(self, Outbox out) except -1:
        raise NotImplementedError

    cdef int c_emit(self, Outbox out) except -1:
        raise NotImplementedError

    cdef int c_settle(self, Outbox out) except -1:
        raise NotImplementedError

    cdef bint c_admit(self, Outbox out, Member* member, bint resume, uint64_t epoch, uint64_t seq) except -1:
        raise NotImplementedError

    cdef int c_rewind(self, Member* member, uint64_t from_seq) except -1:
        raise NotImplementedError

    cdef int c_bring(self, Outbox out, Member* member) except -1:
        raise NotImplementedError

    cdef uint64_t c_position(self) noexcept:
        return self.seq

    # ---- members

    cdef Member* c_join(self, Sink sink) except NULL:
        """A new member, lagging and held; the caller says where it stands."""
        cdef Members* members = &self.members[sink.variant]
        cdef Member* member
        reserve_member(members)
        sink.c_add_place(<PyObject*>self, members.count)
        member = &members.items[members.count]
        member.sink = <PyObject*>sink
        member.seq = 0
        member.unsent = NEVER
        member.deadline_us = 0
        member.place = sink.n_places - 1
        member.heard = self.version
        member.lag = FRESH
        member.reason = REASON_SUBSCRIBE
        member.held = True
        members.count += 1
        return member

    cdef int c_leave(self, Sink sink, Py_ssize_t place) except -1:
        cdef Members* members = &self.members[sink.variant]
        cdef uint32_t index = sink.places[place].index
        if members.items[index].lag == AHEAD and index >= members.in_step:
            self.n_ahead -= 1
        if index < members.in_step:
            members.in_step -= 1
            swap_members(members, index, members.in_step)
            index = members.in_step
        members.count -= 1
        swap_members(members, index, members.count)
        release_members(members)
        remove_place(sink, place)
        return 0

    cdef uint32_t c_count_members(self) noexcept:
        cdef uint32_t count = 0
        cdef int variant
        for variant in range(VARIANTS):
            count += self.members[variant].count
        return count

    cdef Member* c_member(self, Sink sink, Py_ssize_t place) noexcept:
        return &self.members[sink.variant].items[sink.places[place].index]

    cdef bint c_in_step(self, Sink sink, Py_ssize_t place) noexcept:
        return sink.places[place].index < self.members[sink.variant].in_step

    cdef int c_lag(self, int variant, uint32_t index, Lag lag, Reason reason) except -1:
        cdef Members* members = &self.members[variant]
        cdef Member* member
        if index < members.in_step:
            members.in_step -= 1
            swap_members(members, index, members.in_step)
            index = members.in_step
        elif members.items[index].lag == AHEAD:
            self.n_ahead -= 1
        member = &members.items[index]
        member.lag = lag
        member.reason = reason
        member.seq = self.c_position()
        return 0

    cdef int c_mark(self, Sink sink, Py_ssize_t place) except -1:
        if self.c_in_step(sink, place):
            self.c_lag(sink.variant, sink.places[place].index, BEHIND, REASON_SLOW)
        return 0

    cdef int c_recover(self, Outbox out, Sink sink, Py_ssize_t place, uint64_t from_seq) except -1:
        cdef Member* member = self.c_member(sink, place)
        cdef uint64_t had
        member.held = False
        if self.c_in_step(sink, place) or member.lag == AHEAD:
            self.c_lag(sink.variant, sink.places[place].index, BEHIND, REASON_RECOVER)
        self.c_settle(out)      # after that: so that the answer covers what is new as well
        if self.c_in_step(sink, place):
            return 0            # by a snapshot for all
        member = self.c_member(sink, place)
        member.reason = REASON_RECOVER
        if member.lag == FRESH:
            return 0
        had = member.seq
        self.c_rewind(member, from_seq)
        if member.seq > had:
            member.seq = had    # it lacks more than it asks for
        return 0

    cdef int c_catch_up(self, Outbox out, Sink sink, Py_ssize_t place) except -1:
        """What one member lacks, after which it is in step; nothing yet for one that is held, or ahead of the topic."""
        cdef Member* member = self.c_member(sink, place)
        if member.held or self.c_in_step(sink, place):
            return 0
        self.c_settle(out)
        member = self.c_member(sink, place)
        if self.c_in_step(sink, place) or member.lag == AHEAD and member.seq > self.c_position():
            return 0
        return self.c_step(out, sink.variant, sink.places[place].index)

    cdef int c_step(self, Outbox out, int variant, uint32_t index) except -1:
        """Brings a lagging member into step."""
        cdef Members* members = &self.members[variant]
        self.c_bring(out, &members.items[index])
        if members.items[index].lag == AHEAD:
            self.n_ahead -= 1
        members.items[index].lag = BEHIND
        swap_members(members, index, members.in_step)
        members.in_step += 1
        return 0

    cdef int c_reached(self, Outbox out, uint64_t now_us) except -1:
        cdef int variant
        cdef uint32_t index
        cdef Member* member
        if not self.n_ahead:
            return 0
        for variant in range(VARIANTS):
            index = self.members[variant].in_step
            while index < self.members[variant].count:
                member = &self.members[variant].items[index]
                if member.lag == AHEAD and not member.held and not (<Sink>member.sink).blocked:
                    if now_us >= member.deadline_us and member.seq > self.c_position():
                        self.n_ahead -= 1
                        member.lag = FRESH
                    if member.lag == FRESH or member.seq <= self.c_position():
                        self.c_step(out, variant, index)
                index += 1
        return 0

    cdef int c_fan(self, Outbox out, int variant, Frame frame) except -1:
        cdef Members* members = &self.members[variant]
        cdef uint32_t i
        for i in range(members.in_step):
            if i + SOON < members.in_step:
                prefetch_sink(members.items[i + SOON].sink)
            hand(out, <Sink>members.items[i].sink, &frame)
        out.counters.deliveries += members.in_step
        return 0

    cdef int c_sent(self, Outbox out) except -1:
        cdef uint64_t told = 0
        cdef int variant
        for variant in range(VARIANTS):
            told += self.members[variant].in_step
        self.version += 1
        return out.c_note(self.ts_us, told)


cdef int reserve_member(Members* members) except -1:
    cdef uint32_t capacity
    cdef Member* items
    if members.count < members.capacity:
        return 0
    capacity = next_capacity(members.capacity)
    items = <Member*>realloc(members.items, capacity * sizeof(Member))
    if items == NULL:
        raise MemoryError(f"no memory for {capacity} subscribers of a topic")
    members.items = items
    members.capacity = capacity
    return 0


cdef void release_members(Members* members) noexcept:
    """Gives back what those who left no longer need."""
    cdef uint32_t capacity = fit_capacity(members.capacity, members.count)
    cdef Member* items
    if capacity == 0:
        free(members.items)
        members.items = NULL
        members.capacity = 0
    elif capacity < members.capacity:
        items = <Member*>realloc(members.items, capacity * sizeof(Member))
        if items != NULL:
            members.items = items
            members.capacity = capacity


cdef void swap_members(Members* members, uint32_t a, uint32_t b) noexcept:
    cdef Member other
    if a == b:
        return
    other = members.items[a]
    members.items[a] = members.items[b]
    members.items[b] = other
    (<Sink>members.items[a].sink).places[members.items[a].place].index = a
    (<Sink>members.items[b].sink).places[members.items[b].place].index = b


cdef void remove_place(Sink sink, Py_ssize_t place) noexcept:
    cdef Place* moved
    sink.c_remove_place(place)
    if place < sink.n_places:
        moved = &sink.places[place]
        (<Topic>moved.topic).members[sink.variant].items[moved.index].place = place
