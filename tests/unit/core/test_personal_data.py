from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.personal_data import PII_KINDS, RegexPii


def found(text):
    return [(hit.kind, text[hit.start : hit.end]) for hit in RegexPii().find(text)]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "jo.smith+x@mail.example.org"),
        ("email", "müller@exämple.de"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("iban", "GB82WEST12345698765432"),
        ("card", "4111 1111 1111 1111"),
        ("card", "3782-822463-10005"),
        ("card", "5555555555554444"),
        ("ssn", "123-45-6789"),
        ("ip", "203.0.113.9"),
        ("ip", "2001:db8::1"),
        ("phone", "+49 30 1234567"),
        ("phone", "(030) 123 45 67"),
        ("phone", "030/1234567"),
        ("phone", "+1 555-123-4567"),
    ],
)
@pytest.mark.parametrize("around", ["{}", "It is {}.", "({}), or", "{} EUR"])
def test_personal_data_is_found_where_it_stands(kind, text, around):
    assert found(around.format(text)) == [(kind, text)]


@pytest.mark.parametrize(
    "text",
    [
        "within 45 days, for EUR 1,234.50",
        "order 2026-11-21-0042",
        "on 01/02/2026 or 01.02.2026 or 1-2-2026",
        "DE88 3704 0044 0532 0130 00",
        "4111 1111 1111 1112",
        "1111 1111 1111 1111",
        "000-12-3456 and 900-12-3456",
        "at 127.0.0.1 or 0.0.0.0 or 999.1.1.1",
        "it takes 12:30:45",
        "std::vector and a::b",
        "at @shipway, or a@b",
        "article 4006381333931000",
        "at 1795338248218, to be exact at 1795338248208002",
        "https://example.org/a?b=c",
        "",
    ],
)
def test_what_only_looks_like_it_is_not_found(text):
    assert found(text) == []


def test_findings_come_in_the_order_of_the_text_and_never_overlap():
    text = "Call +49 30 1234567, pay to DE89 3704 0044 0532 0130 00 BANK, write to a@example.org."
    assert [kind for kind, _ in found(text)] == ["phone", "iban", "email"]


@given(st.text(alphabet="DE89 370400@.-:+()abf", max_size=80))
def test_findings_of_any_text_are_parts_of_it_that_do_not_overlap(text):
    hits = RegexPii().find(text)
    assert all(hit.kind in PII_KINDS and 0 <= hit.start < hit.end <= len(text) for hit in hits)
    assert all(a.end <= b.start for a, b in pairwise(hits))


@pytest.mark.parametrize("unit", ["a", "1", "1 ", "a.", "a@", "a@b.", "(1", "DE89 ", "f:", "12-"])
def test_a_megabyte_of_nearly_personal_data_is_read_in_linear_time(unit):
    assert all(hit.end <= 1_000_000 for hit in RegexPii().find(unit * (1_000_000 // len(unit))))
