cdef class KnownReplies:
    cdef public set _heads
    cpdef body_of(self, data)
