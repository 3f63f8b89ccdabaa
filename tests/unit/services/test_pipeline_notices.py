"""Telling others: what is sent where, what is tried again, and that no secret is repeated."""

import hashlib
import hmac
import json

import pytest

from shipway.core.errors import UnavailableError, UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.ports import HttpReply
from shipway.pipeline.findings import folded
from shipway.pipeline.model import RunReport, StageResult, StageState
from shipway.services.pipeline_reports.markdown import MARKER
from shipway.services.pipeline_reports.notices import (
    Comment,
    Delivery,
    Notice,
    ci_place,
    comment_github,
    comment_gitlab,
    send_slack,
    send_webhook,
)

pytestmark = pytest.mark.anyio


class Host:
    """Answers with what it was given, in order, and remembers the calls and pauses."""

    def __init__(self, *answers):
        self.answers, self.calls, self.pauses = list(answers), [], []

    async def call(self, request):
        self.calls.append(request)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (answer, b"{}")
        return HttpReply(status, {}, body, 1.0, 1.0)

    async def pause(self, seconds):
        self.pauses.append(seconds)

    def delivery(self, *secrets):
        return Delivery(self, self.pause, secrets=secrets)


def notice(problem="bad <!channel> & <http://x|y> @here"):
    failed = StageResult("lint", StageState.FAILED, Verdict.FAIL, problem=problem, attempts=1)
    blocked = StageResult("ship", StageState.SKIPPED, problem=problem)
    return Notice(folded(RunReport("01R", 0.0, 1.0, (failed, blocked))), "shop", "http://ci.test/1")


async def test_a_message_mentions_nobody_and_links_nothing():
    host = Host()
    await send_slack(host.delivery(), "http://s.test/x", notice())
    text = json.loads(host.calls[0].body)["text"]
    assert "shop: pipeline FAIL, run 01R" in text
    assert "<" not in text
    assert "&lt;!channel&gt;" in text


async def test_a_message_is_bounded():
    host = Host()
    many = tuple(StageResult(f"s{n}", StageState.FAILED, Verdict.FAIL, problem="x" * 900) for n in range(200))
    await send_slack(host.delivery(), "http://s.test/x", Notice(folded(RunReport("r", 0.0, 1.0, many)), "a"))
    assert len(json.loads(host.calls[0].body)["text"]) <= 3_000


async def test_a_webhook_gets_json_signed_and_with_its_token():
    host = Host()
    await send_webhook(host.delivery(), "http://w.test/", notice(), token="t1", secret="s1")
    (call,) = host.calls
    headers = dict(call.headers)
    assert headers["authorization"] == "Bearer t1"
    assert headers["x-shipway-signature-256"] == "sha256=" + hmac.new(b"s1", call.body, hashlib.sha256).hexdigest()
    body = json.loads(call.body)
    assert (body["verdict"], [stage["stage"] for stage in body["stages"]]) == ("FAIL", ["lint", "ship"])


async def test_what_passes_by_itself_is_tried_again_with_longer_pauses():
    host = Host(503, UnavailableError("nobody answers"), 200)
    await send_slack(host.delivery(), "http://s.test/x", notice())
    assert (len(host.calls), host.pauses) == (3, [1.0, 2.0])


async def test_a_refusal_for_good_is_not_tried_again():
    host = Host((404, b"no_team"))
    with pytest.raises(UnavailableError, match="status 404: no_team"):
        await send_slack(host.delivery(), "http://s.test/x", notice())
    assert len(host.calls) == 1


async def test_an_error_repeats_no_secret():
    secret = "http://hooks.test/T0/B0/abcdef"
    host = Host(*[UnavailableError(f"{secret}: nobody answers")] * 3)
    with pytest.raises(UnavailableError) as refused:
        await send_slack(host.delivery(secret), secret, notice())
    assert "abcdef" not in str(refused.value)
    assert "abcdef" not in repr(host.delivery(secret))


def listed(*bodies):
    return 200, json.dumps([{"id": number, "body": body} for number, body in enumerate(bodies, 1)]).encode()


async def test_the_first_comment_is_written_and_the_next_one_edits_it():
    place = Comment("team/shop", 12, "t1", "http://g.test")
    host = Host(listed("hello"), 201)
    assert await comment_github(host.delivery(), place, notice()) == "written"
    assert [(call.method, call.url.partition("?")[0]) for call in host.calls] == [
        ("GET", "http://g.test/repos/team/shop/issues/12/comments"),
        ("POST", "http://g.test/repos/team/shop/issues/12/comments"),
    ]
    host = Host(listed("hello", f"{MARKER}\nold"), 200)
    assert await comment_github(host.delivery(), place, notice()) == "edited"
    assert (host.calls[1].method, host.calls[1].url) == ("PATCH", "http://g.test/repos/team/shop/issues/comments/2")
    assert json.loads(host.calls[1].body)["body"].startswith(MARKER)


async def test_the_comment_is_looked_for_on_every_page():
    host = Host(listed(*["x"] * 100), listed(MARKER), 200)
    assert await comment_github(host.delivery(), Comment("a/b", 1, "t"), notice()) == "edited"
    assert [call.url.rpartition("page=")[2] for call in host.calls[:2]] == ["1", "2"]


async def test_a_note_of_a_merge_request_is_edited_too():
    place = Comment("group/shop", 3, "t1", "http://l.test/api/v4")
    host = Host(listed(f"{MARKER}\nold"), 200)
    assert await comment_gitlab(host.delivery(), place, notice()) == "edited"
    assert host.calls[1].method == "PUT"
    assert host.calls[1].url == "http://l.test/api/v4/projects/group%2Fshop/merge_requests/3/notes/1"
    assert dict(host.calls[1].headers)["private-token"] == "t1"


async def test_an_answer_that_is_no_list_of_comments_is_said():
    for body in (b"<html>", b"{}"):
        with pytest.raises(UsageError, match="list of comments"):
            await comment_github(Host((200, body)).delivery(), Comment("a/b", 1, "t"), notice())


def test_the_place_of_a_comment_is_what_the_ci_system_says():
    assert ci_place("github", {"GITHUB_REPOSITORY": "a/b", "GITHUB_REF": "refs/pull/12/merge"}) == ("a/b", 12)
    assert ci_place("github", {"GITHUB_REPOSITORY": "a/b", "GITHUB_REF": "refs/heads/main"}) == ("a/b", 0)
    assert ci_place("gitlab", {"CI_PROJECT_ID": "7", "CI_MERGE_REQUEST_IID": "3"}) == ("7", 3)
    assert ci_place("gitlab", {}) == ("", 0)
