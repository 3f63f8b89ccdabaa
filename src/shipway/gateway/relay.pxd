cdef class Splice:
    cdef readonly bytes route
    cdef readonly bytes model
    cdef readonly tuple defaults
    cpdef of(self, raw, body)
