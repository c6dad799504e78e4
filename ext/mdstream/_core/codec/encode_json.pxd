from mdstream._core.codec.message cimport Encoder

cdef Encoder json_encoder
