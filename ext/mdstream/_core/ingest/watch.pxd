"""Which of many instruments have to be looked at, because time has passed."""

from mdstream._core.ingest.intake cimport InstrumentReceiver

cdef class Watch:
    cdef dict checks    # of each receiver
