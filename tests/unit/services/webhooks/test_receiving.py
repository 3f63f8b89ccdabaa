"""Taking requests: who is believed, what is queued, and that nothing is taken twice."""

import json

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.pipeline.webhooks.payloads import NOTHING, A, B, github_pull, github_push, gitlab_push
from tests.unit.services.webhooks.hooks import DAY_S, SECRET, TOKEN, Hook, settings

from shipway.config.sections.webhooks import Webhooks
from shipway.core.errors import ConfigError, StoreError
from shipway.pipeline.webhooks.deliveries import JSON
from shipway.pipeline.webhooks.model import EntryState
from shipway.services.webhooks.receiving import HookSecrets

pytestmark = pytest.mark.anyio
PULLS = [{"branch": "main", "events": ["push", "pull_request"]}]


@pytest.fixture
async def hook() -> Hook:
    return await Hook().opened()


async def test_a_push_is_queued_and_stored_before_the_answer(hook):
    answer = await hook.github(github_push())

    assert (answer.status, answer.document["status"]) == (202, "queued")
    (entry,) = (await hook.reopened()).queue.entries()
    assert (entry.id, entry.state, entry.commit) == (answer.document["run"], "queued", B)
    assert (entry.branch, entry.event, entry.provider) == ("main", "push", "github")


async def test_a_request_that_nobody_signed_is_refused_with_one_line_that_does_not_repeat_it(hook):
    for more in ({"x-hub-signature-256": ""}, {"x-hub-signature-256": "sha256=" + "0" * 64}):
        answer = await hook.github(b'{"secret words": 1}', **more)
        assert answer.status == 401

    assert [event for event, _ in hook.notes] == ["webhook_refused"] * 2
    assert "secret words" not in str(hook.notes)
    assert hook.states() == []


async def test_what_is_not_signed_is_not_even_looked_into(hook):
    answer = await hook.github(b"{no json", **{"x-hub-signature-256": "sha256=bad"})

    assert answer.status == 401
    assert (await hook.github(b"{no json")).status == 400


@given(body=st.binary(max_size=80), header=st.text(max_size=80), event=st.text(max_size=12))
async def test_whatever_a_stranger_sends_is_refused(body, header, event):
    hook = await Hook().opened()
    for provider in ("github", "gitlab"):
        headers = dict.fromkeys(("x-hub-signature-256", "webhook-id", "webhook-signature", "x-gitlab-token"), header)
        answer = await hook.receiver.receive(provider, headers | {"x-github-event": event}, body, JSON)
        assert answer.status == 401
    assert hook.states() == []


async def test_a_delivery_that_is_sent_again_is_a_duplicate(hook):
    first = await hook.github(github_push(), **{"x-github-delivery": "d1"})
    again = await hook.github(github_push(), **{"x-github-delivery": "d1"})

    assert (first.status, again.status) == (202, 200)
    assert again.document == {"status": "duplicate", "reason": "it was taken before", "run": first.document["run"]}


async def test_a_signed_body_under_another_delivery_id_is_a_duplicate_too(hook):
    first = await hook.github(github_push())
    await hook.queue.update(first.document["run"], state=EntryState.PASSED)

    assert (await (await hook.reopened()).github(github_push())).document["status"] == "duplicate"


async def test_another_body_under_a_known_delivery_id_is_a_duplicate(hook):
    await hook.github(github_push(), **{"x-github-delivery": "d1"})
    other = await hook.github(github_push(after=A), **{"x-github-delivery": "d1"})

    assert other.document["status"] == "duplicate"


async def test_what_was_taken_is_forgotten_when_it_is_old(hook):
    first = await hook.github(github_push())
    await hook.queue.update(first.document["run"], state=EntryState.PASSED)
    hook.clock.advance(31 * DAY_S)

    assert (await hook.github(github_push())).status == 202
    assert len(await hook.documents.list("pipeline_seen")) == 2


async def test_the_same_delivery_many_times_at_once_is_queued_once(hook):
    answers: list[int] = []

    async def send() -> None:
        answers.append((await hook.github(github_push(), **{"x-github-delivery": "d1"})).status)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(send)

    assert sorted(answers) == [200] * 19 + [202]
    assert hook.states() == ["queued"]


async def test_a_killed_receiver_that_had_stored_the_run_alone_knows_the_request_again(hook):
    taken = await hook.github(github_push(), **{"x-github-delivery": "d1"})
    await hook.queue.update(taken.document["run"], state=EntryState.PASSED)
    for mark, _, _ in await hook.documents.list("pipeline_seen"):
        await hook.documents.delete("pipeline_seen", mark)

    later = await hook.reopened()
    assert (await later.github(github_push(more=1), **{"x-github-delivery": "d1"})).document["status"] == "duplicate"
    assert (await later.github(github_push())).document["status"] == "duplicate"


async def test_a_commit_that_is_under_way_is_not_queued_beside_itself(hook):
    await hook.pushed(B)

    assert (await hook.github(github_push(after=B, before=NOTHING))).document["status"] == "duplicate"


async def test_a_full_queue_refuses_with_the_time_to_come_again():
    hook = await Hook(settings=settings(max_queued=2, rules=[{"branch": "*"}])).opened()
    await hook.pushed(A, "a")
    await hook.pushed(A, "b")

    answer = await hook.github(github_push("refs/heads/c"))
    assert (answer.status, answer.headers) == (429, {"Retry-After": "60"})
    # What takes the place of a waiting one is no more than before.
    await hook.pushed(B, "a")
    await hook.queue.update(hook.queue.entries()[1].id, state=EntryState.PASSED)
    assert (await hook.github(github_push("refs/heads/c"))).status == 202


async def test_a_store_that_fails_is_an_answer_that_makes_the_sender_come_again(hook, monkeypatch):
    async def full(*_: object, **__: object) -> int:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(hook.documents, "put", full)
        answer = await hook.github(github_push())

    assert (answer.status, answer.headers) == (503, {"Retry-After": "60"})
    assert (await hook.github(github_push())).status == 202


@pytest.mark.parametrize(
    ("payload", "event", "reason"),
    [
        (github_push("refs/heads/other"), "push", "no rule for event push of branch other"),
        (github_push(after=NOTHING), "push", "a branch or tag was deleted"),
        (github_push(repository={"full_name": "evil/assistant"}), "push", "about another repository"),
        ({"zen": "Design for failure."}, "ping", "starts nothing"),
        (github_pull(), "pull_request", "no rule for event pull_request of branch main"),
        (github_pull(source_id=2), "pull_request", "forks are off"),
    ],
)
async def test_what_starts_nothing_says_why_and_is_not_remembered(hook, payload, event, reason):
    for _ in range(2):
        answer = await hook.github(payload, **{"x-github-event": event})

        assert (answer.status, answer.document["status"]) == (200, "ignored")
        assert reason in answer.document["reason"]
    assert hook.states() == []


async def test_a_request_that_is_signed_and_wrong_is_400(hook):
    answer = await hook.github(github_push("refs/heads/--upload-pack=x"))

    assert answer.status == 400
    assert "no name that git takes" in answer.document["error"]


async def test_a_fork_that_is_allowed_runs_without_the_name_of_its_branch():
    hook = await Hook(settings=settings(forks=True, rules=PULLS)).opened()
    answer = await hook.github(github_pull(source_id=2, head="main"), **{"x-github-event": "pull_request"})

    assert answer.status == 202
    (entry,) = hook.queue.entries()
    assert (entry.fork, entry.branch, entry.ref) == (True, "pull/7", "refs/pull/7/head")


async def test_gitlab_is_believed_by_signature_and_its_ids_are_remembered(hook):
    assert (await hook.gitlab(gitlab_push(), "msg_1")).status == 202
    assert (await hook.gitlab(gitlab_push(), "msg_1")).document["status"] == "duplicate"
    hook.clock.advance(301)
    late = await hook.gitlab(gitlab_push(), "msg_2", **{"webhook-timestamp": str(int(hook.clock.now_s()) - 301)})
    assert late.status == 401


async def test_a_signed_gitlab_takes_no_token_instead(hook):
    answer = await hook.gitlab(gitlab_push(), **{"webhook-signature": "", "x-gitlab-token": TOKEN})

    assert answer.status == 401


async def test_with_both_proofs_configured_both_must_hold():
    hook = await Hook().opened()
    hook.secrets = HookSecrets(gitlab_key=hook.secrets.gitlab_key, gitlab_token=TOKEN)

    assert (await hook.gitlab(gitlab_push())).status == 401
    assert (await hook.gitlab(gitlab_push(), **{"x-gitlab-token": TOKEN})).status == 202


async def test_a_gitlab_that_cannot_sign_is_believed_by_its_token():
    hook = await Hook(secrets=HookSecrets(gitlab_token=TOKEN)).opened()
    body = json.dumps(gitlab_push()).encode()

    async def send(token: str, key: str) -> tuple[int, str]:
        headers = {"x-gitlab-token": token, "idempotency-key": key}
        answer = await hook.receiver.receive("gitlab", headers, body, JSON)
        return answer.status, str(answer.document.get("status", ""))

    assert await send("another", "k1") == (401, "")
    assert await send(TOKEN, "k1") == (202, "queued")
    assert await send(TOKEN, "k1") == (200, "duplicate")
    (entry,) = hook.queue.entries()
    await hook.queue.update(entry.id, state=EntryState.PASSED)
    # The branch went back and forth: the body is the same, the delivery is another.
    assert await send(TOKEN, "k2") == (202, "queued")


async def test_a_provider_without_a_secret_is_believed_nothing():
    hook = await Hook(secrets=HookSecrets()).opened()

    assert (await hook.github(github_push())).status == 401
    assert (await hook.gitlab(gitlab_push())).status == 401


def test_a_missing_secret_is_an_error_that_names_where_it_should_be(tmp_path):
    with pytest.raises(ConfigError, match="LAB"):
        HookSecrets.of(settings(), tmp_path, {"HOOK": SECRET})
    with pytest.raises(ConfigError, match="HOOK"):
        HookSecrets.of(settings(), tmp_path, {"HOOK": " ", "LAB": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})


def test_a_secret_that_can_be_guessed_is_refused_without_being_repeated(tmp_path):
    lab = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    with pytest.raises(ConfigError, match=r"github\.secret: .* variable HOOK has 7 char") as short:
        HookSecrets.of(settings(), tmp_path, {"HOOK": "tooshor", "LAB": lab})
    assert "tooshor" not in str(short.value)
    by_token = settings(gitlab={"token": {"env": "LAB"}})
    with pytest.raises(ConfigError, match=r"gitlab\.token: .* variable LAB has 15 char"):
        HookSecrets.of(by_token, tmp_path, {"HOOK": SECRET, "LAB": "x" * 15})


def test_a_short_secret_can_be_replaced(tmp_path):
    rotated = settings(github={"secret": {"env": "HOOK"}, "previous_secret": {"env": "OLD"}}, gitlab=None)
    assert HookSecrets.of(rotated, tmp_path, {"HOOK": "y" * 16, "OLD": "x"}).github == ("y" * 16, "x")


def test_secrets_do_not_show_themselves(tmp_path):
    found = HookSecrets.of(settings(), tmp_path, {"HOOK": SECRET, "LAB": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})

    assert SECRET not in repr(found)
    assert isinstance(settings(), Webhooks)
