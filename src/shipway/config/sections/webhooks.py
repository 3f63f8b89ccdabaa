"""`webhooks`: which pushes of which repository queue a pipeline run, and how their senders prove who they are."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from shipway.config.sections.pipeline import Tier
from shipway.config.sections.secrets import SecretRef
from shipway.config.sections.section import Section

_SCP_LIKE = re.compile(r"[\w.-]+@[\w.-]+:(?!/?/)[^\s:]+")
_HERE = {"localhost", "127.0.0.1", "::1"}


def _repository(text: str) -> str:
    if not text.strip() or text.startswith("-") or any(ord(sign) < ord(" ") for sign in text):
        raise ValueError("give the URL or the path of the repository")
    if "::" in text.partition("/")[0]:
        raise ValueError(f"{text!r} would call a transport program; give an https or ssh URL, or a path")
    scheme, host = urlsplit(text).scheme, urlsplit(text).hostname
    if "://" in text and scheme not in {"https", "ssh", "file", "http"}:
        raise ValueError(f"{scheme}:// is not fetched from; give an https or ssh URL, or a path")
    if scheme == "http" and host not in _HERE:
        raise ValueError("http:// lets anybody on the way change the code; give an https URL")
    return text


def _folder(text: str) -> str:
    if text.startswith(("/", "~")) or ".." in PurePosixPath(text).parts or "\0" in text:
        raise ValueError(f"{text!r} leaves the repository; give a folder inside it")
    return text


def _api(text: str) -> str:
    if urlsplit(text).scheme != "https" and urlsplit(text).hostname not in _HERE:
        raise ValueError(f"{text!r}: a token is sent there; give an https URL")
    return text.rstrip("/")


Glob = Annotated[str, Field(min_length=1)]
Api = Annotated[str, AfterValidator(_api)]


class RunOptions(Section):
    """Which part of the pipeline runs, and how; as the options of `shipway pipeline run`."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    only: str = ""
    """This stage alone."""
    from_: Annotated[str, Field(alias="from")] = ""
    """This stage and all that need it."""
    until: str = ""
    """This stage and all that it needs."""
    jobs: Annotated[int, Field(ge=0)] = 0
    """Processors to use; 0 for all."""
    fail_fast: bool = False
    """End what runs as soon as a stage has failed."""
    no_cache: bool = False
    """Run stages although their result is known."""


class WebhookRule(Section):
    """What happens when branches or tags of a pattern change; the first rule that matches decides."""

    branch: Glob | None = None
    """Pattern of branch names, such as feature/*; of a pull request it is the branch that it is to be merged into."""
    tag: Glob | None = None
    """Pattern of tag names, instead of a branch."""
    events: tuple[Literal["push", "pull_request"], ...] = ("push",)
    """What starts a run on these branches."""
    ignore: bool = False
    """Nothing runs for what matches."""
    tier: Tier | None = None
    """The tier of the run; without one, every stage whose other conditions hold."""
    options: RunOptions = RunOptions()
    """Which part of the pipeline runs, and how."""
    running: Literal["finish", "cancel"] = "finish"
    """What becomes of the run of an older commit of the same branch when a newer one arrives."""
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 7200.0
    """Seconds after which the whole run is stopped."""

    @model_validator(mode="after")
    def _one_pattern(self) -> Self:
        if (self.branch is None) == (self.tag is None):
            raise ValueError("give exactly one of branch, tag")
        return self


class GitHubHook(Section):
    """What GitHub signs with."""

    secret: SecretRef
    """The secret of the webhook."""
    previous_secret: SecretRef | None = None
    """The secret before, which is still taken while a new one is being set."""
    status_token: SecretRef | None = None
    """A token that may write commit statuses; without one no status is reported."""
    api_url: Api = "https://api.github.com"
    """Where statuses are reported."""


class GitLabHook(Section):
    """What GitLab signs with, or names itself by."""

    signing_token: SecretRef | None = None
    """The signing token of the webhook (whsec_...): GitLab signs id, time and body with it."""
    token: SecretRef | None = None
    """The secret token, which GitLab sends along; for a GitLab that cannot sign."""
    status_token: SecretRef | None = None
    """A token that may write commit statuses; without one no status is reported."""
    api_url: Api = "https://gitlab.com/api/v4"
    """Where statuses are reported."""

    @model_validator(mode="after")
    def _some_proof(self) -> Self:
        if self.signing_token is None and self.token is None:
            raise ValueError("give signing_token, or token for a GitLab that cannot sign")
        return self


DEFAULT_RULES = (
    WebhookRule(branch="main"),
    WebhookRule(branch="develop"),
    WebhookRule(branch="feature/*", tier="pr"),
)


class Webhooks(Section):
    """The receiver that `shipway pipeline serve` runs."""

    repository: Annotated[str, AfterValidator(_repository)]
    """URL or path of the one repository that is fetched from, whatever a request names."""
    name: Annotated[str, Field(pattern=r"^$|^[\w.-]+(/[\w.-]+)+$")] = ""
    """Owner and name at GitHub or GitLab; by default taken from the URL."""
    folder: Annotated[str, AfterValidator(_folder)] = "."
    """The project's folder inside the repository."""
    git_token: SecretRef | None = None
    """A token for fetching by https."""
    github: GitHubHook | None = None
    """Takes POST /github."""
    gitlab: GitLabHook | None = None
    """Takes POST /gitlab."""
    rules: tuple[WebhookRule, ...] = DEFAULT_RULES
    """What runs for which branch, in this order; what no rule matches is ignored."""
    forks: bool = False
    """Pull requests of forks run too, without any secret; they are code of strangers on this machine."""
    env: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], ...] = ()
    """Names of environment variables that runs may see beside PATH, HOME, LANG and TMPDIR."""
    context: Annotated[str, Field(min_length=1, max_length=100)] = "shipway"
    """The name of the commit status."""
    max_queued: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Runs that may wait; more are refused with 429."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=26_214_400)] = 5_242_880
    """The longest request; GitHub sends at most 25 MB."""
    tolerance_s: Annotated[float, Field(ge=1, le=3600)] = 300.0
    """How far the time of a request that GitLab signed may be from this machine's."""
    remember_days: Annotated[float, Field(gt=0, le=365)] = 30.0
    """How long a request that was taken is not taken again."""
    kept_checkouts: Annotated[int, Field(ge=0, le=1000)] = 5
    """How many folders of finished runs are kept."""

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.github is None and self.gitlab is None:
            raise ValueError("give github or gitlab with the secret of the webhook; without one nothing is taken")
        hidden = {reference.env for reference in self.secrets() if reference.env}
        shown = sorted(hidden & set(self.env))
        if shown:
            raise ValueError(f"env: {', '.join(shown)} holds a secret of the receiver, which no run may see")
        return self

    def secrets(self) -> tuple[SecretRef, ...]:
        """Return every secret that the receiver uses."""
        hub, lab = self.github, self.gitlab
        found = [self.git_token]
        found += [hub.secret, hub.previous_secret, hub.status_token] if hub else []
        found += [lab.signing_token, lab.token, lab.status_token] if lab else []
        return tuple(reference for reference in found if reference is not None)

    @property
    def slug(self) -> str:
        """Return owner and name at GitHub or GitLab; empty when nobody knows them."""
        if self.name or ("://" not in self.repository and not _SCP_LIKE.fullmatch(self.repository)):
            return self.name
        if urlsplit(self.repository).scheme == "file":
            return ""
        path = urlsplit(self.repository).path if "://" in self.repository else self.repository.partition(":")[2]
        return path.strip("/").removesuffix(".git")
