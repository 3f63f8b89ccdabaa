from shipway.gateway.outbox cimport OutboxTransport

cdef class ShortWay:
    cdef public object _lanes
    cdef public object _find
    cdef public object _long
    cdef public OutboxTransport _transport
    cdef public bytes _raw
    cdef public bytes _early
    cdef public Py_ssize_t _pieces
    cdef public double _since_s
    cdef public bint _keeps
    cdef public object flight
    cpdef received(self, data)
    cpdef _declined(self, data)
    cpdef before_sending(self, work)
    cpdef answer(self, headers, body)
    cpdef resume(self, flight)
    cpdef _ended(self)
