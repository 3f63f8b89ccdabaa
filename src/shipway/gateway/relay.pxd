cdef class Splice:
    cdef readonly bytes route
    cdef readonly bytes model
    cdef readonly tuple defaults
    cdef readonly object most
    cdef readonly bytes prefix
    cpdef of(self, raw, body)
    cpdef _prefixed(self, part)
