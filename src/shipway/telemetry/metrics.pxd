cdef class _Series:
    cdef public list classes
    cdef public list duration
    cdef public double duration_sum_ms
    cdef public list ttft
    cdef public double ttft_sum_ms
    cdef public list speed
    cdef public double speed_sum
    cdef public object uncached
    cdef public object cache_read
    cdef public object output
    cdef public double cost
    cdef public dict events
    cdef public dict errors
