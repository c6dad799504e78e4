from weakref import WeakValueDictionary

from mdstream._core.fanout.topic_book cimport BookTopic
from mdstream._core.fanout.topic_composed cimport ComposedTopic
from mdstream._core.fanout.topic_ticker cimport TickerTopic
from mdstream._core.fanout.topic_trades cimport TradesTopic

cdef dict CHANNELS = {"book": BookTopic, "trades": TradesTopic, "ticker": TickerTopic}


cdef class TopicTable:
    """What there is, by name and by key. A topic is kept while it has members; only then it is computed."""

    def __init__(self, dict options) -> None:
        self.options = options
        self.topic_groups = {}
        self.names = {}
        self.by_key = {}
        self.made = WeakValueDictionary()
        self.intervals = {}

    # ---- instruments

    cdef Instrument c_add_instrument(self, str name, object price_exp, object size_exp):
        if name in self.names:
            raise ValueError(f"instrument {name} exists already")
        instrument = Instrument(name, price_exp, size_exp, **self.options)
        instrument.topics = []
        self.names[name] = instrument
        self.topic_groups[instrument] = TopicGroup(instrument)
        return instrument

    cdef int c_remove_instrument(self, Instrument instrument) except -1:
        del self.topic_groups[instrument]
        del self.names[instrument.name]
        return 0

    cdef TopicGroup c_group(self, object instrument):
        topic_group = self.topic_groups.get(instrument)
        if topic_group is None:
            raise ValueError(f"{instrument!r} is no instrument of this hub")
        return topic_group

    # ---- topics

    cdef Topic c_topic(self, tuple key):
        cdef Topic topic = self.by_key.get(key)
        return self.c_make(key) if topic is None else topic

    cdef Topic c_make(self, tuple key):
        cdef Topic topic
        instrument, channel, depth, group, interval_ms = key
        cls = CHANNELS.get(channel)
        if cls is None:
            raise ValueError(f"channel is {channel!r}; it must be one of {', '.join(CHANNELS)}")
        if channel != "book":
            depth, group = 0, 1
        if depth < 0 or group < 1 or interval_ms < 0:
            raise ValueError(f"depth {depth}, group {group}, interval_ms {interval_ms}: at least 0, 1 and 0")
        key = (instrument, channel, depth, group, interval_ms)
        topic = self.by_key.get(key) or self.made.get(key)
        if topic is not None:
            return topic
        topic = cls()
        topic.key = key
        topic.topic_group = self.c_group(instrument)
        topic.instrument = instrument
        topic.channel = channel
        topic.depth = depth
        topic.group = group
        topic.interval_ms = interval_ms
        topic.costly = topic.group != 1
        topic.may_stretch = channel != "trades"
        topic.number = self.last_number = self.last_number + 1
        self.made[key] = topic
        return topic

    cdef ComposedTopic c_compose(self, str name, str channel, uint32_t interval_ms, object source, uint64_t epoch):
        cdef ComposedTopic topic = ComposedTopic()
        topic.instrument = Instrument(name, 0, 0, log_capacity=1, trade_capacity=1, max_levels=1)
        topic.topic_group = TopicGroup(topic.instrument)
        topic.source = source
        topic.channel = channel
        topic.group = 1
        topic.interval_ms = interval_ms
        topic.epoch = epoch
        topic.number = self.last_number = self.last_number + 1
        topic.key = (topic.instrument, channel, 0, 1, interval_ms)
        return topic

    cdef int c_enlist(self, Topic topic) except -1:
        if topic.key in self.by_key:
            raise ValueError(f"{topic!r} ended with its last subscriber; ask the hub for the topic again")
        self.by_key[topic.key] = topic
        self.made.pop(topic.key, None)
        topic.topic_group.topics.append(topic)
        topic.topic_group.c_note_topics()
        topic.topic_group.deferred = False
        topic.alive = True
        topic.instrument.topics = list(topic.topic_group.topics)
        return self.c_count_interval(topic, 1)

    cdef int c_drop(self, Topic topic) except -1:
        topic.alive = False
        del self.by_key[topic.key]
        topic.topic_group.topics.remove(topic)
        topic.topic_group.c_note_topics()
        topic.instrument.topics = list(topic.topic_group.topics)
        return self.c_count_interval(topic, -1)

    cdef int c_count_interval(self, Topic topic, int change) except -1:
        count = self.intervals.get(topic.interval_ms, 0) + change
        if count:
            self.intervals[topic.interval_ms] = count
        else:
            del self.intervals[topic.interval_ms]
        self.shortest_us = 1000 * min(filter(None, self.intervals), default=0)
        return 0
