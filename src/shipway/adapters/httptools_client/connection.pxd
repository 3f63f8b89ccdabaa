from shipway.adapters.httptools_client.receiver cimport ReplyReceiver

cdef class EngineConnection(ReplyReceiver):
    cdef public object _give_back
    cdef public object _room
    cdef public bint _half_sent
    cdef public double idle_since_s
    cpdef post(self, request, taker, bint streams)
    cpdef leave(self)
    cpdef detach(self)
    cpdef _write(self, data)
