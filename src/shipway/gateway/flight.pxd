from shipway.gateway.lane_route cimport Arm, LaneTools
from shipway.gateway.passing cimport Passing
from shipway.gateway.patience cimport Patience
from shipway.gateway.stream cimport ChatStream

cdef class Flight:
    cdef public LaneTools tools
    cdef public Arm arm
    cdef public object client
    cdef public object connection
    cdef public object id
    cdef public double at_s
    cdef public double started_s
    cdef public double wake_s
    cdef public object state
    cdef public object caller
    cdef public object call
    cdef public object conversation
    cdef public object question
    cdef public object question_hash
    cdef public object hold
    cdef public object trace
    cdef public object generation
    cdef public object failure
    cdef public object usage
    cdef public bint is_handed_over
    cdef public bint is_landing
    cdef public ChatStream stream
    cdef public Passing passing
    cdef public Patience patience
    cdef public object wire
    cdef public object ttft_ms
    cpdef answered(self, raw)
    cpdef acknowledged(self, record, reply)
    cpdef unrecorded(self, error)
    cpdef unusual(self)
    cpdef flows(self, headers)
    cpdef stopped(self)
    cpdef _recorded(self, usage)
