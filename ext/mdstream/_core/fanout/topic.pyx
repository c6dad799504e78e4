"""Members and where they stand: a dense array per variant, those in step first. Each knows its place in its sink."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

cimport cython

cdef enum:
    FIRST_MEMBERS = 16      # prefetched before a flush; the processor finds the pattern of those that follow

cdef extern from "Python.h":
    ctypedef struct ListObject "PyListObject":
        PyObject** ob_item

from mdstream._core.base.check cimport check
from mdstream._core.base.prefetch cimport prefetch_range
from mdstream._core.codec.message cimport REASON_RECOVER, REASON_SLOW, REASON_SUBSCRIBE
from mdstream._core.fanout.outbox cimport PREFETCH_AHEAD, link_frame, prefetch_sink
from mdstream._core.fanout.sink cimport Place, release_items, reserve_item


@cython.trashcan(True)      # a chain of those that are dirty may be long
cdef class TopicGroup:
    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.topics = []

    cdef void c_note_topics(self) noexcept:
        self.topics_at = (<ListObject*>self.topics).ob_item
        self.first_topic = <PyObject*>self.topics[0] if self.topics else NULL

    cdef void c_prefetch_members(self) noexcept:
        cdef const Members* members
        cdef int variant
        if self.first_topic == NULL:
            return
        for variant in range(VARIANTS):
            members = &(<Topic>self.first_topic).members[variant]
            if members.in_step:
                prefetch_range(members.items, min(members.in_step, <uint32_t>FIRST_MEMBERS) * sizeof(Member))


cdef class Topic:
    """One shared view (instrument, channel, depth, group, interval) and who is subscribed to it. Made by ``Hub.topic``.

    ``number`` is the ``sub`` of everyone subscribed to it, unique on its hub, from 1. ``seq`` is where it stands: the last number
    sent to all. ``alive`` is False after its last subscriber left.
    """

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
    def held_bytes(self) -> int:
        """Memory of its view, and of the snapshots that are kept until the next change."""
        return 0

    @property
    def subscription_bytes(self) -> int:
        """Memory that its subscriptions take here; ``Sink.subscription_bytes`` is the rest."""
        cdef Py_ssize_t room = 0
        cdef int variant
        for variant in range(VARIANTS):
            room += self.members[variant].capacity
        return room * sizeof(Member)

    # ---- what a channel does

    cdef int c_start(self, Outbox out) except -1:
        raise NotImplementedError

    cdef int c_end(self, Outbox out) except -1:
        return 0

    cdef int c_emit(self, Outbox out) except -1:
        raise NotImplementedError

    cdef int c_emit_first(self, Outbox out) except -1:
        raise NotImplementedError

    cdef bint c_admit(self, Outbox out, Member* member, bint resume, uint64_t epoch, uint64_t seq) except -1:
        raise NotImplementedError

    cdef int c_rewind(self, Member* member, uint64_t from_seq) except -1:
        raise NotImplementedError

    cdef int64_t c_recover_work(self, int variant, uint64_t from_seq) except -1:
        return 1

    cdef int c_send_missing(self, Outbox out, Member* member) except -1:
        raise NotImplementedError

    cdef uint64_t c_position(self) noexcept:
        return self.seq

    cdef bint c_has_reached(self, const Member* member) noexcept:
        return member.seq <= self.c_position()

    cdef bint c_shows(self) noexcept:
        return True

    # ---- members

    cdef Member* c_join(self, Sink sink) except NULL:
        """A new member, held. The caller says where it stands."""
        cdef Members* members = &self.members[sink.variant]
        cdef Member* member
        reserve_item(<void**>&members.items, &members.capacity, members.count, sizeof(Member))
        sink.c_add_place(<PyObject*>self, members.count)
        member = &members.items[members.count]
        member.sink = <PyObject*>sink
        member.seq = 0
        member.resumed_at = NEVER
        member.deadline_us = 0
        member.place = sink.n_places - 1
        member.beat_version = self.version
        member.state = EMPTY
        member.reason = REASON_SUBSCRIBE
        member.apart = False
        member.held = True
        members.count += 1
        sink.grouped += self.costly
        return member

    cdef int c_leave(self, Sink sink, Py_ssize_t place) except -1:
        cdef Members* members = &self.members[sink.variant]
        cdef Member* member = self.c_set_state(self.c_member(sink, place), BEHIND)
        members.count -= 1
        sink.grouped -= self.costly
        swap_members(members, member, members.count)
        release_items(<void**>&members.items, &members.capacity, members.count, sizeof(Member))
        remove_place(sink, place)
        return 0

    cdef uint32_t c_count_members(self) noexcept:
        cdef uint32_t count = 0
        cdef int variant
        for variant in range(VARIANTS):
            count += self.members[variant].count
        return count

    cdef Member* c_member(self, Sink sink, Py_ssize_t place) noexcept:
        cdef Member* member = &self.members[sink.variant].items[sink.places[place].index]
        check(member.sink == <PyObject*>sink and member.place == place)
        return member

    cdef Member* c_set_state(self, Member* member, MemberState state) noexcept:
        cdef Members* members = &self.members[(<Sink>member.sink).variant]
        cdef uint8_t before = member.state
        check(may_become(before, state))
        member.state = state
        self.n_ahead += (state == AHEAD) - (before == AHEAD)
        if before == IN_STEP:
            members.in_step -= 1
            return swap_members(members, member, members.in_step)
        if state == IN_STEP:
            members.in_step += 1
            return swap_members(members, member, members.in_step - 1)
        return member

    cdef Member* c_fall_behind(self, Member* member, Reason reason) noexcept:
        member = self.c_set_state(member, BEHIND)
        member.reason = reason
        member.seq = self.c_position()
        return member

    cdef int c_on_blocked(self, Sink sink, Py_ssize_t place) except -1:
        cdef Member* member = self.c_member(sink, place)
        if member.state == IN_STEP:
            self.c_fall_behind(member, REASON_SLOW)
        return 0

    cdef int c_recover(self, Outbox out, Sink sink, Py_ssize_t place, uint64_t from_seq) except -1:
        cdef Member* member = self.c_member(sink, place)
        cdef uint64_t had
        member.held = False
        if member.state == IN_STEP or member.state == AHEAD:
            self.c_fall_behind(member, REASON_RECOVER)
        self.c_emit_first(out)      # after that: so that the answer covers what is new as well
        member = self.c_member(sink, place)
        if member.state == IN_STEP:
            return 0                # by a snapshot for all
        member.reason = REASON_RECOVER
        if member.state == EMPTY:
            return 0
        had = member.seq
        self.c_rewind(member, from_seq)
        member.seq = min(member.seq, had)   # it may lack more than it asks for
        return 0

    cdef int c_catch_up(self, Outbox out, Sink sink, Py_ssize_t place) except -1:
        """What one member lacks, after which it is in step; nothing yet for one that is held, or ahead of the topic."""
        cdef Member* member = self.c_member(sink, place)
        if member.held or member.state == IN_STEP:
            return 0
        self.c_emit_first(out)
        member = self.c_member(sink, place)
        if member.state == IN_STEP or member.state == AHEAD and not self.c_has_reached(member):
            return 0
        return self.c_bring_into_step(out, member)

    cdef int c_bring_into_step(self, Outbox out, Member* member) except -1:
        check(not member.held)
        if self.c_shows():
            self.c_send_missing(out, member)
            self.c_arrive(out, self.c_set_state(member, IN_STEP))
        return 0

    cdef int c_arrive(self, Outbox out, Member* member) except -1:
        if member.apart:
            member.apart = False
            out.arrived.append((<Sink>member.sink, self))
        return 0

    cdef int c_serve_waiting(self, Outbox out) except -1:
        cdef int variant
        cdef uint32_t i
        cdef Member* member
        for variant in range(VARIANTS):
            for i in range(self.members[variant].in_step, self.members[variant].count):
                member = &self.members[variant].items[i]
                if member.state == AHEAD and not self.c_has_reached(member):
                    continue
                if not member.held and not (<Sink>member.sink).blocked:
                    self.c_bring_into_step(out, member)
        return 0

    cdef int c_serve_ahead(self, Outbox out, uint64_t now_us) except -1:
        cdef int variant
        cdef uint32_t i
        cdef Member* member
        if not self.n_ahead:
            return 0
        for variant in range(VARIANTS):
            for i in range(self.members[variant].in_step, self.members[variant].count):
                member = &self.members[variant].items[i]
                if member.state != AHEAD or member.held or (<Sink>member.sink).blocked:
                    continue
                if self.c_has_reached(member):
                    self.c_bring_into_step(out, member)
                elif now_us >= member.deadline_us:
                    self.c_stop_waiting(out, member)
        return 0

    cdef int c_stop_waiting(self, Outbox out, Member* member) except -1:
        raise NotImplementedError

    cdef int c_send_all(self, Outbox out, int variant, Frame frame) except -1:
        cdef Members* members = &self.members[variant]
        cdef uint32_t i
        for i in range(min(members.in_step, <uint32_t>PREFETCH_AHEAD)):
            prefetch_sink(members.items[i].sink)
        for i in range(members.in_step):
            if i + PREFETCH_AHEAD < members.in_step:
                prefetch_sink(members.items[i + PREFETCH_AHEAD].sink)
            link_frame(out, <Sink>members.items[i].sink, &frame)
        out.counters.deliveries += members.in_step
        return 0

    cdef int c_count_message(self, Outbox out) except -1:
        cdef uint64_t reached = 0
        cdef int variant
        for variant in range(VARIANTS):
            check(members_agree(self, variant))
            reached += self.members[variant].in_step
        self.version += 1
        return out.c_note_update(self.ts_us, reached)


cdef bint may_become(uint8_t before, uint8_t after) noexcept nogil:
    """The table at `MemberState`. BEHIND and EMPTY may be set again."""
    if before == IN_STEP:
        return after == BEHIND
    return before == EMPTY or after != AHEAD


cdef bint members_agree(Topic topic, int variant) noexcept:
    """Those in step stand first, and each member and its place in its sink name each other."""
    cdef const Members* members = &topic.members[variant]
    cdef const Member* member
    cdef const Place* place
    cdef uint32_t i
    cdef uint32_t n_ahead = 0
    for i in range(members.count):
        member = &members.items[i]
        place = &(<Sink>member.sink).places[member.place]
        n_ahead += member.state == AHEAD
        if (member.state == IN_STEP) != (i < members.in_step) or (member.held and member.state == IN_STEP):
            return False
        if place.topic != <PyObject*>topic or place.index != i or (<Sink>member.sink).variant != variant:
            return False
    return members.in_step <= members.count <= members.capacity and n_ahead <= topic.n_ahead


cdef Member* swap_members(Members* members, Member* member, uint32_t index) noexcept:
    """Has a member change places with the one at `index`. Returns where it is now."""
    cdef Member* other = &members.items[index]
    cdef Member moved
    if member != other:
        moved = member[0]
        member[0] = other[0]
        other[0] = moved
        (<Sink>member.sink).places[member.place].index = <uint32_t>(member - members.items)
        (<Sink>other.sink).places[other.place].index = index
    return other


cdef void remove_place(Sink sink, Py_ssize_t place) noexcept:
    cdef Place* moved
    sink.c_remove_place(place)
    if place < sink.n_places:
        moved = &sink.places[place]
        (<Topic>moved.topic).members[sink.variant].items[moved.index].place = place
