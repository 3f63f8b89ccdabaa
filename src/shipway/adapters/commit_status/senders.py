"""Commit statuses by the APIs of GitHub and GitLab; implements `pipeline.webhooks.ports.StatusSender`.

Source: GitHub REST API, "Create a commit status"; GitLab REST API, "Set commit pipeline status".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import aiohttp

from shipway.core.errors import UnavailableError, UpstreamError
from shipway.pipeline.webhooks.model import Entry, EntryState

_TIMEOUT_S = 20.0
_LONGEST_TEXT = 140
_FIRST_ERROR = 300
_GITHUB = {
    EntryState.QUEUED: "pending",
    EntryState.INTERRUPTED: "pending",
    EntryState.RUNNING: "pending",
    EntryState.PASSED: "success",
    EntryState.FAILED: "failure",
    EntryState.UNDECIDED: "failure",
    EntryState.ERROR: "error",
    EntryState.SUPERSEDED: "error",
    EntryState.CANCELLED: "error",
}
_GITLAB = {
    EntryState.QUEUED: "pending",
    EntryState.INTERRUPTED: "pending",
    EntryState.RUNNING: "running",
    EntryState.PASSED: "success",
    EntryState.FAILED: "failed",
    EntryState.UNDECIDED: "failed",
    EntryState.ERROR: "failed",
    EntryState.SUPERSEDED: "canceled",
    EntryState.CANCELLED: "canceled",
}


@dataclass(frozen=True, slots=True)
class Forge:
    """Where statuses go, and as what."""

    api_url: str
    slug: str
    context: str
    token: str = field(repr=False)


class GitHubStatus:
    """Statuses at GitHub."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge

    async def send(self, entry: Entry, text: str) -> None:
        """Report the state of an entry once."""
        forge = self._forge
        body = {"state": _GITHUB[entry.state], "context": forge.context, "description": text[:_LONGEST_TEXT]}
        headers = {
            "Authorization": f"Bearer {forge.token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        await _post(f"{forge.api_url}/repos/{forge.slug}/statuses/{entry.commit}", headers, body)


class GitLabStatus:
    """Statuses at GitLab."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge

    async def send(self, entry: Entry, text: str) -> None:
        """Report the state of an entry once."""
        forge = self._forge
        body = {"state": _GITLAB[entry.state], "name": forge.context, "description": text[:_LONGEST_TEXT]}
        project = quote(forge.slug, safe="")
        await _post(f"{forge.api_url}/projects/{project}/statuses/{entry.commit}", {"PRIVATE-TOKEN": forge.token}, body)


async def _post(url: str, headers: Mapping[str, str], body: Mapping[str, str]) -> None:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.post(url, json=dict(body), headers=dict(headers), allow_redirects=False) as response,
        ):
            status = response.status
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise UnavailableError(f"{url}: {type(error).__name__}: {error}") from error
    if status >= _FIRST_ERROR:
        raise UpstreamError(f"{url} answered {status}", status=status)
