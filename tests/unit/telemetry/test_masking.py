from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.telemetry.masking import DROPPED, DropBodies, carries_body, mask_text


@dataclass
class Request:
    prompt: str


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    "key",
    [
        "prompt",
        "question",
        "answer",
        "messages",
        "content",
        "body",
        "text",
        "input",
        "output",
        "passage",
        "authorization",
        "api_key",
        "secret",
        "password",
        "token",
        "Authorization",
        "X-Api-Key",
        "apiKey",
        "apikey",
        "user_prompt",
        "userPrompt",
        "raw.body",
        "access_token",
        "TEXT",
        "message-content",
    ],
)
def test_a_field_named_for_a_body_or_a_secret_is_dropped_whatever_it_holds(key):
    for value in ("harmless", 1, ["a"], {"a": "b"}, None):
        assert DropBodies().mask({key: value}) == {key: DROPPED}


@pytest.mark.parametrize(
    "key", ["event", "tokens", "tokens_in", "prompt_version", "context", "question_hash", "content_type", "key_id"]
)
def test_a_field_that_only_resembles_one_is_kept(key):
    assert not carries_body(key)
    assert DropBodies().mask({key: "v2"}) == {key: "v2"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mail ada.l+x@example.co.uk now", "mail [email] now"),
        ("ada@localhost", "[email]"),
        ("/login?user=ada%40example.com", "/login?user=[email]"),
        ("card 4111 1111-1111 1111.", "card [number]."),
        ("card 4111111111111", "card [number]"),
        ("order 123456789012 shipped", "order 123456789012 shipped"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: [secret]"),
        ("got bearer abcdef123", "got bearer [secret]"),
        ("key sk-abcdef0123456789 and swk_live_9f8e7d6c", "key [secret] and [secret]"),
        ("https://x/?api_key=hunter2&page=3", "https://x/?api_key=[secret]&page=3"),
        ('{"password": "hunter2"}', '{"password": "[secret]"}'),
        ("at 2026-11-21T04:16:36.123456Z", "at 2026-11-21T04:16:36.123456Z"),
        ("a task-force of 12", "a task-force of 12"),
    ],
)
def test_patterns_are_masked_in_free_text(text, masked):
    assert mask_text(text) == masked


def test_digests_and_release_ids_survive_even_with_long_runs_of_digits():
    text = f"sha256:{'1' * 64} rel_123456789012345"
    assert mask_text(text) == text


def test_masking_reaches_every_depth_and_the_keys_too():
    event = {"a": [{"ada@example.com": {"note": ("sk-abcdef0123", {"text": "x"})}}]}
    assert DropBodies().mask(event) == {"a": [{"[email]": {"note": ["[secret]", {"text": DROPPED}]}}]}


def test_a_structure_that_contains_itself_comes_to_an_end():
    event: dict = {"a": 1}
    event["self"] = event
    assert DROPPED in str(DropBodies().mask(event))


def test_plain_values_keep_their_meaning():
    event = {"n": 3, "share": 0.25, "ok": True, "none": None, "at": datetime(2026, 1, 2, tzinfo=UTC)}
    assert DropBodies().mask(event) == event | {"at": "2026-01-02T00:00:00+00:00"}
    assert DropBodies().mask({"colour": Colour.RED, "path": Path("a/b")}) == {"colour": "red", "path": "a/b"}


def test_a_card_number_is_masked_as_a_number_as_well():
    assert DropBodies().mask({"n": 4111111111111111, "f": 4111111111111111.0}) == {"n": "[number]", "f": "[number]"}


def test_an_unknown_object_shows_its_type_alone():
    masked = DropBodies().mask(
        {"request": Request("my illness"), "raw": b"my illness", "error": ValueError("my illness")}
    )
    assert masked == {"request": "[Request]", "raw": "[bytes]", "error": "[ValueError]"}


@given(st.from_regex(r"[a-z0-9._]{1,70}@[a-z0-9-]{1,20}\.[a-z]{2,5}", fullmatch=True), st.text(max_size=20))
def test_no_address_survives_whatever_surrounds_it(address, around):
    assert address not in mask_text(f"{around} {address} {around}")


@given(st.text(max_size=300))
def test_masking_twice_is_masking_once(text):
    assert mask_text(mask_text(text)) == mask_text(text)


def test_long_text_without_a_match_is_scanned_once_not_once_per_character():
    # Quadratic scanning of this would take minutes, and the test's time limit would end it.
    assert mask_text("a" * 400_000) == "a" * 400_000
