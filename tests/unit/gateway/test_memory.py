import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.conversation import Conversation
from shipway.gateway.memory import MemoryPolicy, Owner, Turn, kept, owner_of, turn_of, with_memory


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_two_owners_have_one_key_only_when_they_are_one(tenant, conversation, other_tenant, other):
    same = (tenant, conversation) == (other_tenant, other)

    assert (Owner(tenant, conversation).key == Owner(other_tenant, other).key) == same


@pytest.mark.parametrize(
    ("tenant", "source", "remembers"),
    [
        ("acme", "header", True),
        ("acme", "metadata", True),
        ("acme", "hash", False),
        ("acme", "request", False),
        ("acme", "previous_response_id", False),
        ("", "header", False),
    ],
)
def test_only_a_tenants_named_conversation_has_a_memory(tenant, source, remembers):
    assert (owner_of(tenant, Conversation("c", source)) is not None) == remembers


def test_what_was_said_stands_between_the_system_message_and_the_question():
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "now"}]
    found = with_memory(messages, [Turn("q", "a")])

    assert [(item["role"], item["content"]) for item in found] == [
        ("system", "s"),
        ("user", "q"),
        ("assistant", "a"),
        ("user", "now"),
    ]


def test_a_client_that_keeps_its_own_history_gets_nothing_added():
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "n"},
    ]

    assert with_memory(messages, [Turn("old", "old")]) == messages


@pytest.mark.parametrize("messages", [[], [{"role": "user", "content": " "}], [{"role": "system", "content": "x"}]])
def test_a_request_without_a_question_makes_no_turn(messages):
    assert turn_of(messages, "answer") is None
    assert turn_of([{"role": "user", "content": "q"}], " ") is None


@given(st.lists(st.builds(Turn, st.text(max_size=9), st.text(max_size=9))), st.integers(1, 4), st.integers(0, 40))
def test_what_is_kept_is_the_newest_that_fits(turns, max_turns, max_chars):
    found = kept(turns, MemoryPolicy(max_turns=max_turns, max_chars=max_chars))

    assert list(found) == turns[len(turns) - len(found) :]
    assert len(found) <= max_turns
    assert sum(turn.chars for turn in found) <= max_chars
