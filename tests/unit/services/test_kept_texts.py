import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.served import served_request

from shipway.core.snapshot import KeyEntry
from shipway.services.kept_texts import Asker, KeptText, asker_of, line_text

KEYS = [KeyEntry("key_1", "ab", "acme", ("staff", "beta"), ("invoke",))]


def test_a_request_line_gives_its_question_masked():
    line = b'{"event":"request","request_id":"r","route":"ask","release":"rel","question":"I am ann@example.com"}'

    found = line_text(line)

    assert found is not None
    assert (found.request_id, found.route, found.release, found.at_s) == ("r", "ask", "rel", 0.0)
    assert found.question == "I am [email]"


@pytest.mark.parametrize(
    "line",
    [
        b'{"question":"00112233445566778899aabbccddeeff"}',
        b'{"question":null}',
        b'{"question":" "}',
        b'{"question":7}',
        b"{}",
    ],
)
def test_a_line_with_a_hash_or_without_a_question_gives_none(line):
    assert line_text(line) is None


@pytest.mark.parametrize(
    ("line", "named"), [(b'{"question":"Why?","id":"a"}', "a"), (b'{"question":"Why?","request_id":7}', "")]
)
def test_other_logs_may_name_the_request_in_their_own_way(line, named):
    assert line_text(line) == KeptText(named, "Why?")


@given(st.binary(max_size=80))
def test_whatever_stands_in_a_line_is_a_text_none_or_a_value_error(line):
    try:
        found = line_text(line)
    except (TypeError, ValueError):
        return
    assert found is None or found.question.strip()


def test_the_asker_has_the_groups_of_a_key_in_force_and_none_of_a_revoked_one():
    known, revoked = (served_request("c", tenant="acme", key_id=name) for name in ("key_1", "key_0"))

    assert asker_of(known, KEYS) == Asker("acme", ("staff", "beta"))
    assert asker_of(revoked, KEYS) == Asker("acme", ())
    assert asker_of(None, KEYS) == Asker("", ())
