from shipway.gateway.patience cimport Patience
from shipway.gateway.stream cimport ChatStream

cdef class Passing:
    cdef public object _wire
    cdef public object _stream
    cdef public ChatStream _plain
    cdef public Patience _patience
    cdef public object _first_token
    cdef public object start
    cdef public Py_ssize_t _left_bytes
    cdef public Py_ssize_t _limit_bytes
    cpdef bint knows(self, bytes data, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef bint passed(self) except -1
