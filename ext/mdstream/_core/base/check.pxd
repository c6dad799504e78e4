"""``check(condition)`` asserts an invariant in the debug build, and compiles to nothing in the release build."""

cdef extern from "base/check.h":
    void check "MDS_CHECK"(bint condition) noexcept nogil
