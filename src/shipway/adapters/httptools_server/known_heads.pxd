cdef class KnownHeads:
    cdef public dict _heads
    cpdef find(self, data)
