cdef class LaneTools:
    cdef readonly object clock
    cdef readonly object settings
    cdef readonly object records
    cdef readonly object desk
    cdef readonly object places
    cdef readonly object watch
    cdef readonly object limits
    cdef readonly object new_id
    cdef readonly object count_request
    cdef readonly object calls
    cdef readonly object publish
    cdef readonly object ended
    cpdef leave(self, loaded)

cdef class Arm:
    cdef public object traffic
    cdef public object release
    cdef public object loaded
    cdef public object runtime
    cdef public object route
    cdef public object engine
    cdef public object pause_key
    cdef public object breaker
    cdef public object price
    cdef public double deadline_s
    cdef public double first_s
    cdef public double idle_s
    cdef public bint is_stream
    cdef public Py_ssize_t max_chars
    cdef public bytes head
    cdef public object take
    cdef public tuple stamps
    cdef public bytes stamped
    cdef public object splice
    cdef public bint is_candidate
    cpdef stamp(self, request_id)

cdef class LaneRules:
    cdef public Py_ssize_t sure_chars
    cdef public object sure
    cdef public object table

cdef class LaneRoute:
    cdef public object traffic
    cdef public object key
    cdef public object quota
    cdef public object demand
    cdef public dict rules
    cdef public dict arms
