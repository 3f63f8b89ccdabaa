from shipway.gateway.lane_route cimport Arm, LaneRoute

cdef class LaneRoutes:
    cdef public object _serving
    cdef public object _admission
    cdef public object _calls
    cdef public object _dispatch
    cdef public object _engines
    cdef public object _kept
    cdef public object _settings
    cdef public object _quotas
    cdef public object _reserve
    cdef public object _state
    cdef public object era
    cdef public dict _routes
    cpdef state(self)
    cpdef of(self, caller, call)
    cpdef arm(self, LaneRoute route, call, conversation)
    cpdef reserved(self, LaneRoute route, body, size_bytes)
