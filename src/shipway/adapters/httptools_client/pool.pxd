from shipway.adapters.httptools_client.connection cimport EngineConnection

cdef class ConnectionPool:
    cdef public object idle
    cdef public Py_ssize_t most
    cpdef take(self)
    cpdef keep(self, EngineConnection connection)
