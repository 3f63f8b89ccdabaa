from shipway.gateway.lane_route cimport LaneTools
from shipway.gateway.lane_routes cimport LaneRoutes

cdef class LaneHead:
    cdef public object path
    cdef public object endpoint
    cdef public object authorization
    cdef public object conversation
    cdef public object era
    cdef public object caller

cdef class Lane:
    cdef public LaneTools _tools
    cdef public LaneRoutes _routes
    cdef public object _tracer
    cdef public object _settings
    cpdef take(self, LaneHead head, raw, client)
    cpdef _caller(self, LaneHead head, state, at_s)
    cpdef _planned(self, LaneHead head, raw, caller)
    cpdef _begin(self, flight, connection, body, path)
