from mdstream._core.fanout.sender cimport Job, Sender

cdef extern from "uring.h":
    struct Ring "mds_ring":
        int fd                  # 0: none

cdef class UringSender(Sender):
    cdef Ring ring

    cdef void c_give_up(self, int error) noexcept
