cdef class Reply:
    cdef public object _parser
    cdef public object body
    cdef public object fields
    cdef public object status
    cdef public object _head_bytes
    cdef public Py_ssize_t buffered
    cdef public Py_ssize_t received
    cdef public bint ended
    cdef public bint is_between_chunks
    cdef public bint _bodiless
    cdef public bint _last
    cdef public bint _until_close
    cpdef chunk_in(self, data)
    cpdef feed(self, data)
