cdef class Outbox:
    cdef public object _loop
    cdef public list _letters
    cdef public list _work
    cpdef put(self, transport, data)
    cpdef first(self, work)
    cpdef flush(self)
    cpdef bint is_empty(self)

cdef class OutboxTransport:
    cdef public object _transport
    cdef public Outbox _outbox
    cpdef write(self, data)
    cpdef write_now(self, data)
