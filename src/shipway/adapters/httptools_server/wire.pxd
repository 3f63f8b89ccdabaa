from shipway.gateway.outbox cimport OutboxTransport

cdef class ReplyWire:
    cdef public OutboxTransport _transport
    cdef public object _loop
    cdef public bint _old
    cdef public bint _bodiless
    cdef public bint _chunked
    cdef public bytes _head
    cdef public bint keeps
    cdef public bint whole
    cdef public object room
    cpdef bint push(self, data) except -1
    cpdef OutboxTransport way_out(self)
    cpdef _send(self, data)
