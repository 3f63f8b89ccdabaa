"""Which heads the short way takes, and what it keeps of them."""

import gc
import weakref

import pytest

from shipway.gateway.exchange import Headers
from shipway.gateway.lane import lane_head
from shipway.gateway.validate import Endpoint

PLAIN = {"host": "x", "content-type": "application/json", "authorization": "Bearer swk_a", "content-length": "5"}


def fields(**more: str) -> Headers:
    named = {**PLAIN, **{name.replace("_", "-"): value for name, value in more.items()}}
    return Headers([(name.encode(), value.encode("latin-1")) for name, value in named.items()])


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        (b"/v1/chat/completions", Endpoint.CHAT),
        (b"/v1/completions", Endpoint.COMPLETIONS),
        (b"/v1/embeddings", Endpoint.EMBEDDINGS),
        (b"/v1/rerank", Endpoint.RERANK),
        (b"/v2/rerank", Endpoint.RERANK),
        (b"/rerank", Endpoint.RERANK),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else str(value),
)
def test_the_plain_endpoints_have_a_short_way(path, endpoint):
    head = lane_head(path, fields(x_shipway_conversation=" c1 "))
    assert head is not None
    assert (head.path, head.endpoint) == (path.decode(), endpoint)
    assert (head.authorization, head.conversation) == ("Bearer swk_a", "c1")


@pytest.mark.parametrize("path", [b"/v1/responses", b"/generate", b"/v1/chat/completions/", b"/V1/rerank", b"*", b""])
def test_other_paths_have_none(path):
    assert lane_head(path, fields()) is None


@pytest.mark.parametrize(
    "more",
    [
        {"expect": "100-continue"},
        {"upgrade": "websocket"},
        {"te": "trailers"},
        {"trailer": "x"},
        {"transfer_encoding": "chunked"},
        {"traceparent": "x"},
        {"tracestate": "x=y"},
        {"x_shipway_release": ""},
        {"x_request_timeout_ms": "10"},
        {"content_encoding": "gzip"},
        {"content_type": "application/json; charset=latin-1"},
        {"content_type": ""},
    ],
    ids=lambda more: "-".join(f"{name}={value}" for name, value in more.items()),
)
def test_headers_that_ask_for_more_go_the_long_way(more):
    assert lane_head(b"/v1/chat/completions", fields(**more)) is None


def test_a_header_that_stands_there_twice_goes_the_long_way():
    twice = Headers([*fields().fields, (b"x", b"1"), (b"x", b"1")])
    assert lane_head(b"/v1/chat/completions", twice) is None


def test_a_head_keeps_nothing_of_the_fields_that_it_was_read_from():
    class Kept(Headers):
        __slots__ = ("__weakref__",)

    read = Kept(fields().fields)
    head, seen = lane_head(b"/v1/chat/completions", read), weakref.ref(read)
    del read
    gc.collect()
    assert head is not None
    assert seen() is None
