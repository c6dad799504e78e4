from mdstream._core.codec.message cimport Encoder

cdef Encoder[2] ENCODERS    # by Format
