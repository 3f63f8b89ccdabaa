import anyio
import pytest

from shipway.core.errors import DeadlineError
from shipway.evals.ports import HttpCall
from shipway.gateway.ports import EngineBrokenError
from shipway.services.engine_caller import EngineCaller, shown


class Slow:
    """A reply that never ends; it knows whether it was closed."""

    status, headers = 200, (("content-type", "application/json"),)
    closed = False

    async def pour(self, sink):
        sink(b"{")
        await anyio.sleep_forever()

    def close(self):
        self.closed = True


class Engines:
    def __init__(self, response=None):
        self.response = response
        self.asked = []

    async def send(self, request):
        self.asked.append(request)
        if self.response is None:
            await anyio.sleep_forever()
        return self.response


def call(timeout_s, **fields):
    return HttpCall("POST", "http://h:1/ask?q=hush", (("x-a", "1"),), b"{}", timeout_s, **fields)


@pytest.mark.parametrize("response", [None, Slow()])
async def test_no_whole_answer_in_time_is_an_error_and_the_connection_is_let_go(response):
    with pytest.raises(DeadlineError) as caught:
        await EngineCaller(Engines(response), lambda: 0.0).call(call(0.01))

    assert caught.value.message == "http://h:1/ask: no whole answer within 0.01 s"
    assert response is None or response.closed


@pytest.mark.parametrize(("timeout_s", "connect_s"), [(3.0, 3.0), (600.0, 10.0)])
async def test_connecting_takes_no_longer_than_the_call(timeout_s, connect_s):
    class Cut(Slow):
        async def pour(self, sink):
            raise EngineBrokenError("gone")

    engines = Engines(Cut())
    with pytest.raises(Exception, match="gone"):
        await EngineCaller(engines, lambda: 0.0).call(call(timeout_s))

    (asked,) = engines.asked
    assert (asked.connect_timeout_s, asked.method, asked.headers, asked.body) == (
        connect_s,
        "POST",
        (("x-a", "1"),),
        b"{}",
    )
    assert engines.response.closed


def test_errors_show_an_address_without_its_query():
    assert shown("http://h/a?key=hush") == "http://h/a"
