cimport cython

cdef class Quota:
    cdef public tuple buckets
    cdef public object handle
    cdef public object generation
    cdef public object day
    cdef public bint holds
    cdef public tuple requests
    cdef public tuple tokens
    cdef public tuple places
    cdef public tuple money

cdef class Ledger:
    cdef public object _storage
    cdef public double[::1] _cells
    cdef public unsigned long long[::1] _tags
    cdef public Py_ssize_t _slots
    cdef public object _lock
    cdef public object _unlock
    cdef public object _monotonic_s
    cdef public object _calendar
    cdef public object _on_alert
    cdef public object _seed
    cdef public dict _budgets
    @cython.locals(now_s=double)
    cpdef reserve(self, Quota quota, tokens, nano_usd)
    @cython.locals(
        cells=double[::1], slot=Py_ssize_t, reserved=Py_ssize_t, mine=Py_ssize_t,
        due_s=double, step_s=double, room_s=double, held=double, level_s=double, before=double, wait_s=double,
        capacity=double)
    cpdef _take(self, Quota quota, double tokens, double nano_usd, double now_s)
    @cython.locals(
        cells=double[::1], slot=Py_ssize_t, reserved=Py_ssize_t, mine=Py_ssize_t, before=double, capacity=double)
    cpdef _take_money(self, Quota quota, double tokens, double nano_usd, double now_s)
    @cython.locals(
        cells=double[::1], slot=Py_ssize_t, reserved=Py_ssize_t, mine=Py_ssize_t, quota=Quota,
        now_s=double, held=double, due_s=double, step_s=double, capacity=double, held_tokens=double)
    cpdef settle(self, hold, tokens, nano_usd)
    @cython.locals(
        cells=double[::1], slot=Py_ssize_t, reserved=Py_ssize_t, mine=Py_ssize_t, now_spent=double, capacity=double)
    cpdef _spend(self, Quota quota, double held, double spent, double now_s)
    cpdef _turn_quota(self, Quota quota, double now_s)
