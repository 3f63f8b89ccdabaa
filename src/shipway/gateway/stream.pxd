cdef class EventSplitter:
    cdef public object _buffer
    cdef public object _searched
    cpdef feed(self, data)
    cpdef rest(self)

cdef class ChatStream:
    cdef public EventSplitter _splitter
    cdef public bint _keep_usage
    cdef public object _usage
    cdef public bytes _before
    cdef public bytes _behind
    cdef public object _error
    cdef public Py_ssize_t _start
    cdef public Py_ssize_t _behind_bytes
    cdef public Py_ssize_t _misses
    cdef public Py_ssize_t data_events
    cdef public Py_ssize_t passed_bytes
    cdef public bint done
    cdef public bint failed
    cdef public object last_words
    cpdef feed(self, data)
    cpdef bint knows(self, bytes data, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef bint _is_plain(self, bytes data, Py_ssize_t start, Py_ssize_t end) except -1
