cdef class RouteDemand:
    cdef readonly object input_tokens
    cdef readonly object output_tokens
    cdef readonly double input_usd
    cdef readonly double output_usd
    cdef readonly bint is_metered
    cpdef of(self, body, size_bytes)
    cpdef _output(self, asked)
