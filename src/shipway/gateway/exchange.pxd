cdef class Exchange:
    cdef object __weakref__
    cdef public object method
    cdef public object query
    cdef public object raw_path
    cdef public object path
    cdef public object headers
    cdef public object client_host
    cdef public object wire
    cdef public object stamp
    cdef public bint gone
    cdef public bint started
    cdef public bint complete
    cdef public bint whole
    cdef public object body_bytes
    cdef public object on_room
    cdef public object say_error
    cdef public object _chunks
    cdef public Py_ssize_t _buffered_bytes
    cdef public object _refusal
    cdef public object _arrival
