from shipway.gateway.exchange cimport Exchange
from shipway.gateway.patience cimport Patience

cdef class Passing:
    cdef public Exchange _exchange
    cdef public object _account
    cdef public object _stream
    cdef public Patience _patience
    cdef public Py_ssize_t _left_bytes
    cdef public Py_ssize_t _limit_bytes

cdef class Splice:
    cdef readonly bytes route
    cdef readonly bytes model
    cdef readonly tuple defaults
    cpdef of(self, raw, body)
