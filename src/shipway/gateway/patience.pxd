cdef class Watch:
    cdef public set _calls
    cdef public object _rounds
    cdef public object _timer
    cpdef add(self, call)
    cpdef discard(self, call)

cdef class Patience:
    cdef public Watch _watch
    cdef public object _loop
    cdef public object _reason
    cdef public object _task
    cdef public object _cut
    cdef public double _end_s
    cdef public double _idle_s
    cdef public double _due_s
    cdef public double wake_s
    cdef public bint _client_reads
    cdef public bint _expired
    cdef public bint is_short
    cpdef heard(self)
