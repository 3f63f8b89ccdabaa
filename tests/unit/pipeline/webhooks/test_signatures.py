"""Signatures of GitHub and GitLab: the vectors that are published, and everything that is not signed."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import ConfigError
from shipway.pipeline.webhooks.signatures import (
    SignedHeaders,
    github_signed,
    signing_key,
    standard_problem,
    token_matches,
)

# GitHub, "Validating webhook deliveries", section on testing.
GITHUB_SECRET = "It's a Secret to Everybody"
GITHUB_BODY = b"Hello, World!"
GITHUB_SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
# The example of the Standard Webhooks specification and its libraries.
TOKEN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STANDARD_BODY = b'{"test": 2432232314}'
AT_S = 1614265330
STANDARD = SignedHeaders("msg_p5jXN8AQM9LWM0D4loKWxJek", str(AT_S), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")


def problem(headers: SignedHeaders = STANDARD, body: bytes = STANDARD_BODY, now_s: float = AT_S) -> str:
    return standard_problem(headers, body, signing_key(TOKEN), now_s=now_s, tolerance_s=300)


def signed(message_id: str, timestamp: str, body: bytes = STANDARD_BODY) -> SignedHeaders:
    content = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(signing_key(TOKEN), content, hashlib.sha256).digest()
    return SignedHeaders(message_id, timestamp, f"v1,{base64.b64encode(digest).decode()}")


def test_the_example_of_githubs_documentation_is_signed():
    assert github_signed(GITHUB_BODY, GITHUB_SIGNATURE, [GITHUB_SECRET])


def test_the_secret_before_is_taken_beside_the_new_one():
    assert github_signed(GITHUB_BODY, GITHUB_SIGNATURE, ["a new one", GITHUB_SECRET])


@pytest.mark.parametrize(
    "header",
    [
        "",
        "sha256=",
        GITHUB_SIGNATURE.removeprefix("sha256="),
        GITHUB_SIGNATURE.upper(),
        f"{GITHUB_SIGNATURE} ",
        GITHUB_SIGNATURE.replace("sha256", "sha1"),
        "sha256=" + hashlib.sha256(GITHUB_BODY).hexdigest(),
        "sha256=é",
    ],
)
def test_any_other_header_is_no_signature(header):
    assert not github_signed(GITHUB_BODY, header, [GITHUB_SECRET])


def test_without_a_secret_nothing_is_signed():
    assert not github_signed(GITHUB_BODY, GITHUB_SIGNATURE, [])


@given(st.binary(), st.binary(min_size=1), st.text(min_size=1))
def test_a_signature_is_of_one_body_and_one_secret(body, more, secret):
    raw = secret.encode(errors="replace").decode()
    header = "sha256=" + hmac.new(raw.encode(), body, hashlib.sha256).hexdigest()

    assert github_signed(body, header, [raw])
    assert not github_signed(body + more, header, [raw])
    assert not github_signed(body, header, [raw + "x"])


def test_the_example_of_the_standard_is_signed():
    assert problem() == ""


def test_one_good_signature_among_several_is_enough():
    several = SignedHeaders(STANDARD.message_id, STANDARD.timestamp, f"v1a,abc v1,bad {STANDARD.signatures}")

    assert problem(several) == ""


@pytest.mark.parametrize("now_s", [AT_S - 300, AT_S + 300])
def test_a_time_at_the_edge_of_the_tolerance_is_taken(now_s):
    assert problem(now_s=now_s) == ""


@pytest.mark.parametrize("now_s", [AT_S - 301, AT_S + 301])
def test_an_old_or_a_future_time_is_refused(now_s):
    assert "too far" in problem(now_s=now_s)


@pytest.mark.parametrize(
    ("message_id", "timestamp", "signatures", "body"),
    [
        ("other", STANDARD.timestamp, STANDARD.signatures, STANDARD_BODY),
        (STANDARD.message_id, str(AT_S + 1), STANDARD.signatures, STANDARD_BODY),
        (STANDARD.message_id, STANDARD.timestamp, STANDARD.signatures, b"{}"),
        (STANDARD.message_id, STANDARD.timestamp, "", STANDARD_BODY),
        (STANDARD.message_id, STANDARD.timestamp, STANDARD.signatures.removeprefix("v1,"), STANDARD_BODY),
        (STANDARD.message_id, STANDARD.timestamp, STANDARD.signatures.replace("v1,", "v1a,"), STANDARD_BODY),
        (STANDARD.message_id, STANDARD.timestamp, "v1,bad " * 16 + STANDARD.signatures, STANDARD_BODY),
    ],
)
def test_what_the_key_did_not_sign_is_refused(message_id, timestamp, signatures, body):
    assert problem(SignedHeaders(message_id, timestamp, signatures), body) == "the signature is not of this body"


@pytest.mark.parametrize("timestamp", ["", "now", "1614265330.5", "-1614265330", "٣", "9" * 13, " 1614265330"])
def test_a_signed_time_that_is_none_is_refused(timestamp):
    assert problem(signed("msg_1", timestamp)) == "webhook-timestamp is no time"


@pytest.mark.parametrize("message_id", ["", "a.1614265330"])
def test_an_id_that_could_be_read_in_two_ways_is_refused(message_id):
    assert problem(signed(message_id, STANDARD.timestamp)) == "webhook-id is empty or has a dot"


@pytest.mark.parametrize("token", ["", "whsec_", "whsec_***", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_é"])
def test_what_is_no_signing_token_is_refused_without_being_repeated(token):
    with pytest.raises(ConfigError, match="not a signing token") as caught:
        signing_key(token)

    assert len(token) < len("whsec_?") or token not in str(caught.value)


@given(st.text(), st.text())
def test_a_token_matches_itself_alone(given_token, token):
    same = given_token.encode(errors="replace") == token.encode(errors="replace")

    assert token_matches(given_token, token) is same
    assert token_matches(token, token)
