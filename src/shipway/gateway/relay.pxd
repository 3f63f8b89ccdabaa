from shipway.gateway.exchange cimport Exchange
from shipway.gateway.patience cimport Patience
from shipway.gateway.stream cimport ChatStream

cdef class Passing:
    cdef public Exchange _exchange
    cdef public object _account
    cdef public object _stream
    cdef public ChatStream _plain
    cdef public Patience _patience
    cdef public Py_ssize_t _left_bytes
    cdef public Py_ssize_t _limit_bytes
    cpdef bint knows(self, bytes data, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef bint passed(self) except -1

cdef class Splice:
    cdef readonly bytes route
    cdef readonly bytes model
    cdef readonly tuple defaults
    cpdef of(self, raw, body)
