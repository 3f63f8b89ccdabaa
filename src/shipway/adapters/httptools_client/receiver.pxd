from shipway.adapters.httptools_client.known_replies cimport KnownReplies
from shipway.adapters.httptools_client.reply cimport Reply
from shipway.gateway.outbox cimport Outbox, OutboxTransport

cdef class ReplyReceiver:
    cdef object __weakref__
    cdef public KnownReplies _known
    cdef public Outbox _outbox
    cdef public object _loop
    cdef public OutboxTransport _transport
    cdef public Reply _reply
    cdef public object _failure
    cdef public object _news
    cdef public bint _holding
    cdef public bint _is_first
    cdef public bint _streams
    cdef public bint _pours
    cdef public object _tail
    cdef public object _headers
    cdef public object _taker
    cdef public object _sink
    cdef public object _sink_error
    cdef public object _direct
    cdef public object _way
    cpdef _unread_of(self, data, sink)
    cpdef Py_ssize_t _known_bytes(self, bytes data, direct) except -1
    cpdef _stop_pouring(self)
    cpdef close(self)
    cpdef abort(self)
    cpdef _taken_whole(self, data)
    cpdef _pass_on(self)
    cpdef bint _passed(self, data, sink) except -1
    cpdef _fail(self, error)
    cpdef _tell(self)
    cpdef _tell_taker(self, taker)
    cpdef _end_tail(self)
