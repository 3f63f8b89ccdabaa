"""Taking one request of GitHub or GitLab: is it theirs, what does it say, what does it start. The HTTP server calls it.

A body is looked into when its signature is right, never before. An answer of 202 means that the run is stored.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shipway.config.secrets import resolve_secret
from shipway.config.sections.secrets import SecretRef
from shipway.config.sections.webhooks import Webhooks
from shipway.core.clock import Clock
from shipway.core.errors import ConfigError, StoreError, UsageError
from shipway.core.ids import ulid
from shipway.pipeline.webhooks.deliveries import github_change, gitlab_change, payload_of
from shipway.pipeline.webhooks.model import Change, Entry, Ignored, Provider
from shipway.pipeline.webhooks.rules import rule_for, run_arguments
from shipway.pipeline.webhooks.signatures import (
    SignedHeaders,
    github_signed,
    signed_content,
    signing_key,
    standard_problem,
    token_matches,
)
from shipway.services.webhooks.queue import RunQueue

_RETRY_S = 60
_SHORTEST_CHARS = 16
_DELIVERY = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
Note = Callable[..., None]
Headers = Mapping[str, str]
"""By name in lower case."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with."""

    status: int
    document: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class HookSecrets:
    """What senders prove themselves by; empty where a provider is not configured."""

    github: tuple[str, ...] = ()
    gitlab_key: bytes = b""
    gitlab_token: str = ""

    @classmethod
    def of(cls, settings: Webhooks, root: Path, environ: Mapping[str, str]) -> "HookSecrets":
        """Read the secrets.

        Raises:
            ConfigError: one is missing, empty, short or not what it should be.
        """

        def read(reference: SecretRef, key: str = "") -> str:
            value = resolve_secret(reference, root=root, environ=environ).strip()
            if key and len(value) < _SHORTEST_CHARS:
                where = f"environment variable {reference.env}" if reference.env else str(reference.file)
                raise ConfigError(
                    [f"webhooks.{key}: the secret of {where} has {len(value)} characters and can be guessed"],
                    hint=f"give one of at least {_SHORTEST_CHARS}, such as `openssl rand -hex 32` prints",
                )
            return value

        hub, lab = settings.github, settings.gitlab
        return cls(
            # The one before may be short: a short one is to be replaced.
            (read(hub.secret, "github.secret"), *((read(old),) if (old := hub.previous_secret) else ())) if hub else (),
            signing_key(read(lab.signing_token)) if lab and lab.signing_token else b"",
            read(lab.token, "gitlab.token") if lab and lab.token else "",
        )


class Receiver:
    """Takes requests for one project."""

    def __init__(self, settings: Webhooks, secrets: HookSecrets, queue: RunQueue, clock: Clock, note: Note) -> None:
        self._settings = settings
        self._secrets = secrets
        self._queue = queue
        self._clock = clock
        self._note = note

    def takes(self, provider: Provider) -> bool:
        """Tell whether a provider is configured."""
        return (self._settings.github if provider == "github" else self._settings.gitlab) is not None

    async def receive(self, provider: Provider, headers: Headers, body: bytes, content_type: str) -> Answer:
        """Take one request."""
        problem = self._problem(provider, headers, body)
        if problem:
            return self.refused(provider, _error(401, problem), len(body))
        try:
            payload = payload_of(body, content_type)
            event = headers.get("x-github-event", "")
            change = github_change(event, payload) if provider == "github" else gitlab_change(payload)
        except UsageError as error:
            return self.refused(provider, _error(400, error.message), len(body))
        if isinstance(change, Change):
            change = self._other_repository(change) or change
        if isinstance(change, Ignored):
            return Answer(200, {"status": "ignored", "reason": change.reason})
        return await self._queued(change, self._marks(provider, headers, body))

    def refused(self, provider: str, answer: Answer, size_bytes: int = 0) -> Answer:
        """Note that a request is refused, of which so much was read, and return the answer."""
        reason = str(answer.document.get("error", ""))
        self._note("webhook_refused", provider=provider, status=answer.status, reason=reason, size_bytes=size_bytes)
        return answer

    def _problem(self, provider: Provider, headers: Headers, body: bytes) -> str:
        """Return why a request is not to be believed; every proof that is configured must hold."""
        secrets = self._secrets
        if provider == "github":
            # What nobody has a secret for is nobody's.
            good = github_signed(body, headers.get("x-hub-signature-256", ""), secrets.github)
            return "" if good else "X-Hub-Signature-256 is not of this body"
        if not secrets.gitlab_key and not secrets.gitlab_token:
            return "no secret is configured"
        if secrets.gitlab_token and not token_matches(headers.get("x-gitlab-token", ""), secrets.gitlab_token):
            return "X-Gitlab-Token is not the one"
        if not secrets.gitlab_key:
            return ""
        now_s, tolerance_s = self._clock.now_s(), self._settings.tolerance_s
        return standard_problem(_signed(headers), body, secrets.gitlab_key, now_s=now_s, tolerance_s=tolerance_s)

    def _other_repository(self, change: Change) -> Ignored | None:
        slug = self._settings.slug
        if slug and change.repository.lower() != slug.lower():
            return Ignored(f"it is about another repository than {slug}")
        if change.fork and not self._settings.forks:
            return Ignored("pull requests of forks are off (webhooks.forks)")
        return None

    def _marks(self, provider: Provider, headers: Headers, body: bytes) -> tuple[str, ...]:
        """Return by what a request is known again: what is signed, and the id of the delivery."""
        if provider == "github":
            signed, delivery = body, headers.get("x-github-delivery", "")
        elif self._secrets.gitlab_key:
            signed, delivery = signed_content(_signed(headers), body), headers.get("webhook-id", "")
        else:
            # Nothing is signed: whoever has the token may write any body. Two pushes alike have different ids.
            delivery = headers.get("idempotency-key", "")
            signed = delivery.encode(errors="replace") + b"." + body
        marks = [f"{provider}/body/{hashlib.sha256(signed).hexdigest()}"]
        if _DELIVERY.fullmatch(delivery):
            marks.append(f"{provider}/id/{delivery}")
        return tuple(marks)

    async def _queued(self, change: Change, marks: tuple[str, ...]) -> Answer:
        rule = rule_for(change, self._settings.rules)
        if isinstance(rule, Ignored):
            return Answer(200, {"status": "ignored", "reason": rule.reason})
        now_s = self._clock.now_s()
        entry = Entry(
            id=ulid(now_s),
            provider=change.provider,
            event=change.event,
            branch=change.shown_branch,
            ref=change.ref,
            commit=change.commit,
            fork=change.fork,
            arguments=run_arguments(rule),
            timeout_s=rule.timeout_s,
            cancels=rule.running == "cancel",
            marks=marks,
            queued_at_s=now_s,
        )
        try:
            added = await self._queue.add(entry)
        except StoreError as error:
            # Without the store there is no promise: the sender is to come again.
            self._note("webhook_not_stored", provider=change.provider, error=error.message)
            return _error(503, "the run cannot be stored", retry_s=_RETRY_S)
        if not added.entry_id:
            self._note("webhook_queue_full", provider=change.provider, ref=change.ref)
            return _error(429, f"{self._settings.max_queued} runs wait already", retry_s=_RETRY_S)
        if added.known:
            return Answer(200, {"status": "duplicate", "reason": "it was taken before", "run": added.entry_id})
        self._note("webhook_queued", provider=change.provider, run=entry.id, ref=change.ref, commit=change.commit)
        return Answer(202, {"status": "queued", "run": entry.id})


def _signed(headers: Headers) -> SignedHeaders:
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return SignedHeaders(*(headers.get(name, "") for name in names))


def _error(status: int, message: str, *, retry_s: int = 0) -> Answer:
    return Answer(status, {"error": message}, {"Retry-After": str(retry_s)} if retry_s else {})
