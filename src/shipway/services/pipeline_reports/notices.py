"""Telling others about a run: messages for webhooks, comments that are edited in place, and trying again.

Addresses and tokens are secrets: no error repeats them.
"""

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from shipway import __version__
from shipway.core.errors import UnavailableError, UpstreamError, UsageError
from shipway.evals.ports import HttpCall, HttpReply, JsonCaller
from shipway.evals.report_text import one_line
from shipway.pipeline.findings import RunFindings, StageFindings
from shipway.pipeline.render import one_sentence
from shipway.services.pipeline_reports.forms import told
from shipway.services.pipeline_reports.markdown import MARKER, markdown

GITHUB_API = "https://api.github.com"
GITLAB_API = "https://gitlab.com/api/v4"
_SLACK_CHARS = 3_000
_LINE_CHARS = 300
_PAGES = 20
_PER_PAGE = 100
_FIRST_PAUSE_S = 1.0
_OK = range(200, 300)
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_SIGNS = {"PASS": "✅", "FAIL": "❌", "ERROR": "💥"}


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told."""

    run: RunFindings
    title: str
    link: str = ""

    @property
    def headline(self) -> str:
        """Return the whole in one line."""
        return one_line(f"{self.title}: pipeline {self.run.verdict.value}, run {self.run.run.run_id}", _LINE_CHARS)

    @property
    def lines(self) -> list[str]:
        """Return a line for each stage, and the link."""
        rows = [f"{stage.result.name}: {told(stage)}" for stage in self.run.stages]
        return [one_line(line, _LINE_CHARS) for line in (*rows, *([self.link] if self.link else []))]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How something is sent; `secrets` are taken out of every error."""

    caller: JsonCaller
    sleep: Callable[[float], Awaitable[None]]
    attempts: int = 3
    timeout_s: float = 20.0
    secrets: Sequence[str] = field(default=(), repr=False)

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> HttpReply:
        """Send a request until it is taken.

        Raises:
            UnavailableError: it was not, after all attempts or because it is refused for good.
        """
        given = {"user-agent": f"shipway/{__version__}", "accept-encoding": "identity", **headers}
        call = HttpCall(method, url, tuple(given.items()), body, self.timeout_s)
        said = ""
        for attempt in range(self.attempts):
            if attempt:
                await self.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
            try:
                reply = await self.caller.call(call)
            except (UnavailableError, UpstreamError) as error:
                said = error.message
                continue
            if reply.status in _OK:
                return reply
            said = f"status {reply.status}: {one_line(reply.body.decode(errors='replace'), _LINE_CHARS)}"
            if reply.status not in _AGAIN:
                break
        raise UnavailableError(f"not delivered: {self._clean(said)}", hint="look at the address and the token")

    def _clean(self, text: str) -> str:
        for secret in sorted(filter(None, self.secrets), key=len, reverse=True):
            text = text.replace(secret, "[secret]")
        return text


async def send_slack(delivery: Delivery, url: str, notice: Notice) -> None:
    """Post a message to a webhook that takes what Slack's take.

    Source: Slack's documentation, "Formatting text": & < > are escaped, so that nothing becomes a mention or a link.
    """
    sign = _SIGNS.get(notice.run.verdict.value, "❔")
    text = "\n".join([f"{sign} {notice.headline}", *(f"• {line}" for line in notice.lines)])
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    body = json.dumps({"text": escaped[:_SLACK_CHARS]}).encode()
    await delivery.send("POST", url, {"content-type": "application/json"}, body)


async def send_webhook(delivery: Delivery, url: str, notice: Notice, *, token: str = "", secret: str = "") -> None:
    """Post the run as JSON; `secret` signs the body, so that the receiver knows who it is from."""
    run = notice.run
    document = {
        "event": "pipeline",
        "title": notice.title,
        "run": run.run.run_id,
        "verdict": run.verdict.value,
        "link": notice.link,
        "stages": [_stage(stage) for stage in run.stages],
    }
    body = json.dumps(document, ensure_ascii=True).encode()
    headers = {"content-type": "application/json"}
    headers |= {"authorization": f"Bearer {token}"} if token else {}
    if secret:
        headers["x-shipway-signature-256"] = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
    await delivery.send("POST", url, headers, body)


async def comment_github(delivery: Delivery, place: "Comment", notice: Notice) -> str:
    """Write the comment of a pull request, or edit the one that was written before; return which of both.

    Source: GitHub's REST API, "Issue comments".
    """
    headers = {"authorization": f"Bearer {place.token}", "accept": "application/vnd.github+json"}
    owner, _, name = place.repository.partition("/")
    base = f"{place.api or GITHUB_API}/repos/{quote(owner, safe='')}/{quote(name, safe='')}/issues"
    known = await _earlier(delivery, f"{base}/{place.number}/comments", headers)
    body = json.dumps({"body": markdown(notice.run, told)}).encode()
    sent = {**headers, "content-type": "application/json"}
    if known is None:
        await delivery.send("POST", f"{base}/{place.number}/comments", sent, body)
        return "written"
    await delivery.send("PATCH", f"{base}/comments/{known}", sent, body)
    return "edited"


async def comment_gitlab(delivery: Delivery, place: "Comment", notice: Notice) -> str:
    """Write the note of a merge request, or edit the one that was written before; return which of both.

    Source: GitLab's REST API, "Notes".
    """
    headers = {"private-token": place.token}
    project = quote(place.repository, safe="")
    base = f"{place.api or GITLAB_API}/projects/{project}/merge_requests/{place.number}/notes"
    known = await _earlier(delivery, base, headers)
    body = json.dumps({"body": markdown(notice.run, told)}).encode()
    sent = {**headers, "content-type": "application/json"}
    await delivery.send("POST" if known is None else "PUT", base if known is None else f"{base}/{known}", sent, body)
    return "written" if known is None else "edited"


@dataclass(frozen=True, slots=True)
class Comment:
    """Where a comment stands."""

    repository: str
    number: int
    token: str = field(repr=False)
    api: str = ""


def ci_place(to: str, environ: Mapping[str, str]) -> tuple[str, int]:
    """Return repository and number of the pull or merge request, as the CI system says.

    Source: GitHub's documentation, "Default environment variables"; GitLab's, "Predefined CI/CD variables".
    """
    if to == "github":
        parts = environ.get("GITHUB_REF", "").split("/")
        number = parts[2] if parts[:2] == ["refs", "pull"] and len(parts) > 2 else ""  # noqa: PLR2004 - refs/pull/NUMBER
        return environ.get("GITHUB_REPOSITORY", ""), int(number) if number.isdecimal() else 0
    number = environ.get("CI_MERGE_REQUEST_IID", "")
    return environ.get("CI_PROJECT_ID", ""), int(number) if number.isdecimal() else 0


async def _earlier(delivery: Delivery, url: str, headers: Mapping[str, str]) -> int | None:
    """Return the number of the comment that begins with the marker."""
    for page in range(1, _PAGES + 1):
        reply = await delivery.send("GET", f"{url}?per_page={_PER_PAGE}&page={page}", headers)
        try:
            rows = json.loads(reply.body)
        except ValueError:
            rows = None
        if not isinstance(rows, list):
            raise UsageError(
                "the code host did not answer with a list of comments", hint="look at the address of its API"
            )
        for row in rows:
            if isinstance(row, dict) and str(row.get("body", "")).startswith(MARKER) and isinstance(row.get("id"), int):
                return int(row["id"])
        if len(rows) < _PER_PAGE:
            return None
    return None


def _stage(stage: StageFindings) -> dict[str, Any]:
    result = stage.result
    return {
        "stage": result.name,
        "state": result.state.value,
        "verdict": result.verdict.value,
        "counts": dict(stage.counts),
        "metrics": result.metrics,
        "duration_s": round(result.duration_s, 3),
        "problem": one_line(one_sentence(result.problem), _LINE_CHARS),
    }
