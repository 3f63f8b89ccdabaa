"""Whether a request was made by someone who knows the secret; compared in constant time. `services.webhooks` asks.

Source: GitHub, "Validating webhook deliveries" (X-Hub-Signature-256); the Standard Webhooks specification 1.0.0, which
GitLab's signing tokens follow; GitLab, "Webhooks" (X-Gitlab-Token).
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from shipway.core.errors import ConfigError

_GITHUB = "sha256="
_KEY = "whsec_"
_VERSION = "v1,"
_MOST_SIGNATURES = 16
# Unix seconds; longer ones are no time that this could run at.
_LONGEST_TIME = 12


@dataclass(frozen=True, slots=True)
class SignedHeaders:
    """The three headers of Standard Webhooks, as they came."""

    message_id: str
    timestamp: str
    signatures: str


def github_signed(body: bytes, header: str, secrets: Iterable[str]) -> bool:
    """Tell whether the header signs the body with one of the secrets."""
    given = header.encode(errors="replace")
    good = False
    for secret in secrets:
        wanted = _GITHUB + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        # Every secret is tried, so that the time does not tell which one it was.
        good |= hmac.compare_digest(wanted.encode(), given)
    return good


def token_matches(given: str, token: str) -> bool:
    """Tell whether a token is the one; digests of both, so that the time does not tell their length either."""
    digests = [hashlib.sha256(text.encode(errors="replace")).digest() for text in (given, token)]
    return hmac.compare_digest(*digests)


def signing_key(token: str) -> bytes:
    """Return the key that a signing token stands for.

    Raises:
        ConfigError: it is none.
    """
    try:
        key = base64.b64decode(token.strip().removeprefix(_KEY), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not token.strip().startswith(_KEY) or not key:
        # The token itself is not repeated: this message ends in terminals and CI logs.
        raise ConfigError(["webhooks.gitlab.signing_token: not a signing token; GitLab shows one as whsec_ and base64"])
    return key


def signed_content(headers: SignedHeaders, body: bytes) -> bytes:
    """Return what Standard Webhooks sign."""
    return f"{headers.message_id}.{headers.timestamp}.".encode(errors="replace") + body


def standard_problem(headers: SignedHeaders, body: bytes, key: bytes, *, now_s: float, tolerance_s: float) -> str:
    """Return why a request is not to be believed; empty when it is."""
    wanted = _VERSION.encode() + base64.b64encode(hmac.new(key, signed_content(headers, body), hashlib.sha256).digest())
    good = False
    for given in headers.signatures.split(" ")[:_MOST_SIGNATURES]:
        good |= hmac.compare_digest(wanted, given.encode(errors="replace"))
    if not good:
        return "the signature is not of this body"
    # Signed, so whatever stands there is what the sender wrote; but a dot inside an id would make two readings of it.
    if "." in headers.message_id or not headers.message_id:
        return "webhook-id is empty or has a dot"
    at_s = headers.timestamp
    if not (at_s.isascii() and at_s.isdigit() and len(at_s) <= _LONGEST_TIME):
        return "webhook-timestamp is no time"
    if abs(now_s - int(at_s)) > tolerance_s:
        return "webhook-timestamp is too far from this machine's time"
    return ""
