import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from shipway.adapters.otlp.http import OtlpHttpTarget
from shipway.telemetry.otlp import CLIENT, Source, Span

SOURCE = Source({"service.name": "helpdesk"}, "1")
SPAN = Span("chat small", CLIENT, "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "", 1, 2, {"a": "b"})


@dataclass
class Receiver:
    """An OTLP receiver: one answer (status, headers, body) for each request, the last one repeated."""

    answers: list[tuple[int, dict[str, str], bytes]]
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    cut: int = 0
    """How many requests are answered by closing the connection."""
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def names(self) -> list[str]:
        found = []
        for body in self.bodies:
            request = ExportTraceServiceRequest()
            request.ParseFromString(body)
            found += [span.name for part in request.resource_spans[0].scope_spans for span in part.spans]
        return found


@contextmanager
def receiving(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[Receiver]:
    receiver = Receiver(list(answers) or [(200, {}, b"")])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            receiver.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if receiver.cut:
                receiver.cut -= 1
                self.close_connection = True
                return
            receiver.bodies.append(body)
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
            number = min(len(receiver.bodies), len(receiver.answers)) - 1
            status, headers, reply = receiver.answers[number]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_args: object) -> None:
            pass

    receiver.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


def at(receiver: Receiver, **options: object) -> OtlpHttpTarget:
    return OtlpHttpTarget(receiver.url, SOURCE, uniform=lambda: 0.0, **options)


def test_a_receiver_gets_spans_as_protobuf_with_the_configured_headers():
    with receiving() as receiver:
        target = at(receiver, headers={"x-api-key": "secret"})
        assert target.export([SPAN]) == 0
        target.close()
        assert receiver.names() == ["chat small"]
        sent = receiver.headers[0]
        assert (sent["content-type"], sent["x-api-key"], sent["path"]) == (
            "application/x-protobuf",
            "secret",
            "/v1/traces",
        )


def test_one_connection_serves_many_batches():
    with receiving() as receiver:
        target = at(receiver)
        for _ in range(5):
            target.export([SPAN])
        target.close()
        assert (receiver.connections, len(receiver.bodies)) == (1, 5)


def test_a_partial_success_says_how_many_spans_were_refused():
    reply = ExportTraceServiceResponse()
    reply.partial_success.rejected_spans = 1
    with receiving((200, {}, reply.SerializeToString())) as receiver:
        target = at(receiver)
        assert target.export([SPAN, SPAN]) == 1
        target.close()


def test_a_receiver_that_answers_200_with_text_has_taken_all():
    with receiving((200, {}, b"\xffok")) as receiver:
        target = at(receiver)
        assert target.export([SPAN]) == 0
        target.close()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_refusal_is_tried_again(status):
    with receiving((status, {}, b""), (200, {}, b"")) as receiver:
        target = at(receiver)
        assert target.export([SPAN]) == 0
        target.close()
        assert receiver.names() == ["chat small", "chat small"]


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_a_lasting_refusal_is_not_repeated_and_names_status_and_host(status):
    with receiving((status, {}, b"no")) as receiver:
        target = at(receiver)
        with pytest.raises(OSError, match=f"127.0.0.1 took no spans: status {status}"):
            target.export([SPAN])
        target.close()
        assert len(receiver.bodies) == 1


def test_a_receiver_that_stays_busy_is_given_up_after_four_attempts():
    with receiving((503, {}, b"")) as receiver:
        target = at(receiver)
        with pytest.raises(OSError, match="status 503"):
            target.export([SPAN])
        target.close()
        assert len(receiver.bodies) == 4


def test_a_kept_connection_that_was_closed_meanwhile_costs_no_batch():
    with receiving() as receiver:
        target = at(receiver)
        target.export([SPAN])
        receiver.cut = 1
        assert target.export([SPAN]) == 0
        target.close()
        assert len(receiver.bodies) == 2


def test_nobody_listening_is_an_error_without_a_secret_in_it():
    with receiving() as receiver:
        url = receiver.url
    target = OtlpHttpTarget(f"{url}?token=s3cret", SOURCE, headers={"x-api-key": "s3cret"}, uniform=lambda: 0.0)
    with pytest.raises(OSError, match="took no spans") as caught:
        target.export([SPAN])
    assert "s3cret" not in str(caught.value)
    target.close()


def test_a_closed_target_does_not_wait_before_another_attempt():
    with receiving((503, {"retry-after": "600"}, b"")) as receiver:
        target = OtlpHttpTarget(receiver.url, SOURCE)
        target.close()
        with pytest.raises(OSError, match="status 503"):
            target.export([SPAN])
        target.close()
        assert len(receiver.bodies) == 1
