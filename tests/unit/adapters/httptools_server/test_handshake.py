import pytest

from shipway.adapters.httptools_server.handshake import acceptance, wants_websocket, with_key
from shipway.gateway.exchange import Headers
from shipway.gateway.replies import RefusedError

NONCE = b"dGhlIHNhbXBsZSBub25jZQ=="


def opening(**fields: str) -> Headers:
    given = {"sec-websocket-version": "13", "sec-websocket-key": NONCE.decode(), **fields}
    return Headers([(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()])


def test_the_accepting_token_is_the_one_of_the_standards_example() -> None:
    assert ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in acceptance(opening())


def test_a_protocol_is_chosen_but_never_the_one_that_is_a_key() -> None:
    accepted = dict(acceptance(opening(sec_websocket_protocol="openai-insecure-api-key.swk_1, shipway")))

    assert accepted["sec-websocket-protocol"] == "shipway"
    assert "swk_1" not in str(accepted)
    alone = dict(acceptance(opening(sec_websocket_protocol="openai-insecure-api-key.swk_1")))
    assert "sec-websocket-protocol" not in alone


def test_a_browsers_key_stands_where_other_clients_have_it() -> None:
    fields = [(b"sec-websocket-protocol", b"realtime, openai-insecure-api-key.swk_1")]

    assert Headers(with_key(fields)).get("authorization") == "Bearer swk_1"
    own = [*fields, (b"authorization", b"Bearer swk_2")]
    assert Headers(with_key(own)).get("authorization") == "Bearer swk_2"
    assert with_key([(b"host", b"x")]) == [(b"host", b"x")]


@pytest.mark.parametrize(
    "fields",
    [
        {"sec-websocket-version": "8"},
        {"sec-websocket-key": "short"},
        {"sec-websocket-key": "dGhlIHNhbXBsZQ=="},
        {"sec-websocket-key": "ü"},
        {"sec-websocket-key": ""},
    ],
)
def test_what_is_no_opening_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(RefusedError) as caught:
        acceptance(opening(**fields))
    assert caught.value.status == 400


def test_only_a_get_for_a_websocket_wants_one() -> None:
    assert wants_websocket("GET", Headers([(b"upgrade", b"WebSocket")]))
    assert not wants_websocket("POST", Headers([(b"upgrade", b"websocket")]))
    assert not wants_websocket("GET", Headers([(b"upgrade", b"h2c")]))
    assert not wants_websocket("GET", Headers([]))
