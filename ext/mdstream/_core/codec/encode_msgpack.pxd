from mdstream._core.codec.message cimport Encoder

cdef Encoder msgpack_encoder
