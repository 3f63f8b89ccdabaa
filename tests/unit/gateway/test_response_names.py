import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.replies import RefusedError
from shipway.gateway.response_names import ResponseNames, sealed_reply

NAMES = ResponseNames(b"key", "acme", "http://one/v1")
_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,60}", fullmatch=True)


@given(_IDS)
def test_a_sealed_id_opens_to_the_engines_own_even_when_that_looks_sealed(own):
    once = NAMES.sealed(own)

    assert NAMES.opened(once) == own
    assert NAMES.opened(NAMES.sealed(once)) == once
    assert NAMES.is_here(once)


@given(_IDS, st.integers(0, 400), st.sampled_from("0123456789abcdefX_"))
def test_an_id_that_was_changed_anywhere_opens_to_nothing_but_itself(own, place, letter):
    sealed = NAMES.sealed(own)
    place %= len(sealed)
    changed = sealed[:place] + letter + sealed[place + 1 :]

    opened = NAMES.opened(changed)

    # The engine's part says where to look, not whose it is.
    assert opened is None or opened == own


@pytest.mark.parametrize(
    ("other", "opens"),
    [
        (ResponseNames(b"key", "rival", "http://one/v1"), None),
        (ResponseNames(b"other", "acme", "http://one/v1"), None),
        (ResponseNames(b"key", "acme", "http://two/v1"), "resp_1"),
    ],
    ids=["tenant", "installation", "engine"],
)
def test_only_the_tenant_and_installation_that_got_an_id_can_open_it(other, opens):
    sealed = NAMES.sealed("resp_1")

    assert other.opened(sealed) == opens
    assert not (other.opened(sealed) and other.is_here(sealed))


def test_ids_in_a_reply_are_sealed_and_equal_words_in_texts_are_not():
    raw = b'{"id": "resp_1", "previous_response_id": "resp_0", "output": [{"id": "msg_resp_1", "text": "see resp_1"}]}'

    assert sealed_reply(NAMES, raw) == (
        b'{"id": "%b", "previous_response_id": "%b", "output": [{"id": "msg_resp_1", "text": "see resp_1"}]}'
        % (NAMES.sealed("resp_1").encode(), NAMES.sealed("resp_0").encode())
    )


@pytest.mark.parametrize("raw", [b"", b"[]", b"no", b'{"id": 3}', b'{"id": "a\\"b"}', b'{"id": ""}'])
def test_a_reply_without_an_id_that_can_be_sealed_passes_as_it_is(raw):
    assert sealed_reply(NAMES, raw) == raw


@given(st.text(max_size=80))
def test_no_text_from_a_caller_upsets_the_reader(given_id):
    with pytest.raises(RefusedError) as caught:
        NAMES.asked({"previous_response_id": given_id})

    assert (caught.value.status, caught.value.param) == (400, "previous_response_id")
