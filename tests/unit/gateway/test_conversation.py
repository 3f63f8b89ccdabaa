import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.conversation import identify, identify_call
from shipway.gateway.replies import RefusedError

TEXT = st.text(max_size=20)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]), "content": TEXT})


def chat(system: str, user: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def test_the_header_wins_then_metadata_then_the_previous_response():
    body = {"metadata": {"conversation_id": "m"}, "previous_response_id": "p", "messages": chat("s", "u")}
    assert (identify("h", body, key_id="k").id, identify("h", body, key_id="k").source) == ("h", "header")
    assert identify(None, body, key_id="k").source == "metadata"
    assert identify("", body, key_id="k").id == "m"
    del body["metadata"]
    found = identify(None, body, key_id="k")
    assert (found.id, found.source) == ("p", "previous_response_id")
    del body["previous_response_id"]
    assert identify(None, body, key_id="k").source == "hash"


@given(TEXT, TEXT, st.lists(MESSAGE, max_size=6))
def test_a_conversation_keeps_its_identity_while_it_grows(system, user, turns):
    start = chat(system, user)
    assert identify(None, {"messages": start}, key_id="k") == identify(None, {"messages": start + turns}, key_id="k")


@given(st.tuples(TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT))
def test_two_conversations_share_an_identity_only_when_key_system_and_first_words_are_the_same(one, two):
    first, second = (identify(None, {"messages": chat(s, u)}, key_id=k) for k, s, u in (one, two))
    assert (first == second) == (one == two)


@given(st.text().filter(lambda text: not text.isprintable() or len(text) > 200))
def test_an_identity_that_cannot_be_printed_or_is_too_long_is_refused(value):
    with pytest.raises(RefusedError) as caught:
        identify(None, {"metadata": {"conversation_id": value}}, key_id="k")
    assert (caught.value.status, caught.value.param) == (400, "metadata.conversation_id")


def test_a_prompt_counts_as_the_first_words():
    one, two = ({"prompt": text} for text in ("a", "b"))
    assert identify(None, one, key_id="k") == identify(None, dict(one), key_id="k")
    assert identify(None, one, key_id="k") != identify(None, two, key_id="k")


def test_a_service_call_without_the_header_is_a_conversation_of_its_own():
    assert identify_call(None, request_id="req_1").source == "request"
    assert identify_call("c", request_id="req_1") == identify_call("c", request_id="req_2")
