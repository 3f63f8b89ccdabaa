"""The built-in stage that tells people and systems what a run has come to so far."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shipway.config.sections.section import Section
from shipway.pipeline.builtins import Builtin


class Notify(Section):
    """The options of `notify`; whatever is secret is named as env:NAME or file:PATH."""

    to: Literal["slack", "webhook", "email", "github", "gitlab"]
    """Who is told: a Slack-compatible webhook, any webhook, people by mail, or the comment of a pull request."""
    url: str = ""
    """The webhook's address, for slack as env:NAME or file:PATH; of a code host of one's own its API."""
    token: str = ""
    """What the webhook or code host wants as a token."""
    secret: str = ""
    """What signs the body of a webhook: header X-Shipway-Signature-256, HMAC with SHA-256."""
    repository: str = ""
    """owner/name at GitHub, the project's number or path at GitLab; by default as the CI system says."""
    number: Annotated[int, Field(ge=0)] = 0
    """The pull or merge request; by default as the CI system says."""
    server: str = ""
    """The mail server, host or host:port."""
    encryption: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection to the mail server is protected."""
    user: str = ""
    """The mail server's user."""
    password: str = ""
    """The mail server's password."""
    sender: str = ""
    """The address that mail comes from."""
    recipients: tuple[Annotated[str, Field(pattern=r"^[^@\s,;]+@[^@\s,;]+$")], ...] = ()
    """The addresses that mail goes to."""
    title: str = ""
    """Stands before the verdict; by default the app's name."""
    link: str = ""
    """An address to look at, such as that of the CI job."""
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """How often delivery is tried."""
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 20.0
    """Seconds for each attempt."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needed = {
            "slack": ("url",),
            "webhook": ("url",),
            "email": ("server", "sender", "recipients"),
            "github": ("token",),
            "gitlab": ("token",),
        }
        missing = [name for name in needed[self.to] if not getattr(self, name)]
        if missing:
            raise ValueError(f"to: {self.to} needs {', '.join(missing)}")
        written = [name for name in ("token", "secret", "password") if not _named(getattr(self, name))]
        if self.to == "slack" and not _named(self.url):
            written.append("url")
        if written:
            raise ValueError(f"{written[0]}: secrets are named, not written: env:NAME or file:PATH")
        return self


def _named(text: str) -> bool:
    return not text or text.startswith(("env:", "file:"))


STAGES = (
    Builtin("notify", "shipway.entrypoints.stages.work.notify:notify", "Tell what the run has come to so far.", Notify),
)
