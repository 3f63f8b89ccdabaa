"""Commit statuses as GitHub and GitLab want them, against a server that writes down what it is sent."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from tests.unit.adapters.git.test_checkouts import entry

from shipway.adapters.commit_status.senders import Forge, GitHubStatus, GitLabStatus
from shipway.core.errors import UnavailableError, UpstreamError
from shipway.pipeline.webhooks.model import EntryState

pytestmark = pytest.mark.anyio
COMMIT = "a" * 40


class Provider:
    """A provider's API, which answers with `status`."""

    def __init__(self) -> None:
        self.status = 201
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.raw_path, dict(request.headers), await request.json()))
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    found, app = Provider(), web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def forge(provider: Provider, slug: str = "acme/assistant") -> Forge:
    return Forge(provider.url, slug, "shipway", "a token")


async def test_github_is_told_in_its_words(provider):
    await GitHubStatus(forge(provider)).send(entry(COMMIT), "waits")

    ((path, headers, body),) = provider.asked
    assert path == f"/repos/acme/assistant/statuses/{COMMIT}"
    assert headers["Authorization"] == "Bearer a token"
    assert body == {"state": "pending", "context": "shipway", "description": "waits"}


async def test_gitlab_is_told_in_its_words(provider):
    await GitLabStatus(forge(provider, "group/sub/assistant")).send(entry(COMMIT), "waits")

    ((path, headers, body),) = provider.asked
    assert path == f"/projects/group%2Fsub%2Fassistant/statuses/{COMMIT}"
    assert headers["PRIVATE-TOKEN"] == "a token"
    assert body == {"state": "pending", "name": "shipway", "description": "waits"}


@pytest.mark.parametrize("state", list(EntryState))
async def test_every_state_has_a_word_that_the_providers_know(provider, state):
    for sender in (GitHubStatus(forge(provider)), GitLabStatus(forge(provider))):
        await sender.send(replace(entry(COMMIT), state=state), "x" * 500)

    (_, _, hub), (_, _, lab) = provider.asked
    assert hub["state"] in {"error", "failure", "pending", "success"}
    assert lab["state"] in {"pending", "running", "success", "failed", "canceled", "skipped"}
    assert len(hub["description"]) <= 140


@pytest.mark.parametrize("status", [302, 401, 404, 422, 500])
async def test_what_is_no_success_is_an_error_with_its_status(provider, status):
    provider.status = status
    with pytest.raises(UpstreamError) as caught:
        await GitHubStatus(forge(provider)).send(entry(COMMIT), "waits")

    assert caught.value.status == status
    assert "a token" not in str(caught.value)
    assert len(provider.asked) == 1


async def test_a_provider_that_is_not_there_is_unavailable(provider):
    nobody = Forge("http://127.0.0.1:9", "acme/assistant", "shipway", "a token")
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
        await GitHubStatus(nobody).send(entry(COMMIT), "waits")


def test_a_token_does_not_show_itself():
    assert "a token" not in repr(Forge("x", "y", "z", "a token"))
