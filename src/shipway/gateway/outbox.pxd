cdef class Outbox:
    cdef public object _loop
    cdef public list _letters
    cdef public list _work
    cdef public bint _works
    cpdef put(self, transport, data)
    cpdef first(self, work)
    cpdef flush(self)
    cpdef put_now(self, transport, data)

cdef class OutboxTransport:
    cdef public object _transport
    cdef public Outbox _outbox
    cpdef write(self, data)
    cpdef write_now(self, data)
