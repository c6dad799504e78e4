from libc.stdint cimport uint64_t

from mdstream._core.ingest.intake cimport InstrumentReceiver


cdef class Watch:
    """Notes which instruments were heard, and calls for a check of those whose time has come (``InstrumentReceiver.check_at``).

    An instrument that is heard costs a comparison at each look, and its updates cost nothing. A time is exact to the time
    between two looks.
    """

    def __init__(self):
        self.checks = {}

    def __len__(self):
        return len(self.checks)

    def add(self, InstrumentReceiver receiver not None, check not None):
        """``check`` is called without arguments."""
        self.checks[receiver] = check

    def discard(self, receiver):
        self.checks.pop(receiver, None)

    def look(self, uint64_t now_us):
        """Calls every check that is due. ``now_us``: of the clock that ``check_at`` was given times of; it never goes back."""
        due = [check for receiver, check in self.checks.items() if is_due(<InstrumentReceiver>receiver, now_us)]
        for check in due:
            check()


cdef inline bint is_due(InstrumentReceiver receiver, uint64_t now_us) noexcept:
    if receiver.heard:
        receiver.heard = False
        receiver.heard_us = now_us
        if receiver.calm_us:
            receiver.due_us = max(receiver.due_us, now_us + receiver.calm_us)
    return now_us >= receiver.due_us
