"""The instruments of a hub, and the topics of each."""

from libc.stdint cimport uint32_t, uint64_t

from mdstream._core.fanout.instrument cimport Instrument
from mdstream._core.fanout.topic cimport Topic, TopicGroup
from mdstream._core.fanout.topic_composed cimport ComposedTopic

cdef class TopicTable:
    cdef dict options           # of new instruments
    cdef dict topic_groups      # Instrument → TopicGroup
    cdef dict names             # name → Instrument
    cdef dict by_key            # key → Topic with members
    cdef object made            # key → Topic without a member yet; weak
    cdef dict intervals         # ms → how many topics have it
    cdef uint64_t shortest_us   # of these, without 0; 0: there is none
    cdef uint32_t last_number

    # ValueError if there is one of that name, or an exponent is beyond ±18.
    cdef Instrument c_add_instrument(self, str name, object price_exp, object size_exp)
    cdef int c_remove_instrument(self, Instrument instrument) except -1
    # ValueError if the instrument is not of this hub.
    cdef TopicGroup c_group(self, object instrument)
    # The topic of a key (instrument, channel, depth, group, interval_ms), made on first use.
    cdef Topic c_topic(self, tuple key)
    cdef Topic c_make(self, tuple key)
    # A topic of many instruments, see `Hub.compose`; it is in no group.
    cdef ComposedTopic c_compose(self, str name, str channel, uint32_t interval_ms, object source, uint64_t epoch)
    # Its first member comes.
    cdef int c_enlist(self, Topic topic) except -1
    # Its last member has left.
    cdef int c_drop(self, Topic topic) except -1
    cdef int c_count_interval(self, Topic topic, int change) except -1
