cdef class ModelCall:
    cdef public object endpoint
    cdef public object route
    cdef public dict body
    cdef public bint stream
    cdef public bint wants_usage
    cdef public Py_ssize_t input_chars
