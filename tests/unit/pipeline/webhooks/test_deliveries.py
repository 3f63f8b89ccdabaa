"""Reading the bodies of GitHub and GitLab, the wrong ones above all."""

import json
from contextlib import suppress
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.pipeline.webhooks.payloads import NOTHING, A, B, github_pull, github_push, gitlab_merge, gitlab_push

from shipway.core.errors import UsageError
from shipway.pipeline.webhooks.deliveries import FORM, JSON, github_change, gitlab_change, payload_of
from shipway.pipeline.webhooks.model import Change, Ignored
from shipway.pipeline.webhooks.refs import is_commit, is_name

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from([A, B, NOTHING, "refs/heads/main"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from(
    [
        *[
            ("ref",),
            ("after",),
            ("before",),
            ("deleted",),
            ("head_commit",),
            ("repository",),
            ("repository", "full_name"),
        ],
        *[("action",), ("number",), ("pull_request",), ("pull_request", "head"), ("pull_request", "head", "sha")],
        *[("pull_request", "head", "repo"), ("pull_request", "base"), ("object_kind",), ("object_attributes",)],
        *[("object_attributes", "iid"), ("object_attributes", "last_commit"), ("checkout_sha",), ("project",)],
    ]
)


def test_of_a_branch_the_commit_is_what_it_points_to_now():
    found = github_change("push", github_push(after=B, head_commit={"id": A}))

    assert isinstance(found, Change)
    assert found.commit == B


def test_a_push_is_its_branch_and_commit():
    assert github_change("push", github_push()) == Change(
        "github", "push", "main", "refs/heads/main", B, repository="acme/assistant"
    )
    assert gitlab_change(gitlab_push()) == Change(
        "gitlab", "push", "main", "refs/heads/main", B, repository="acme/assistant"
    )


def test_a_tag_is_a_tag_and_its_commit_is_what_it_stands_for():
    hub = github_push("refs/tags/v1", after=A, head_commit={"id": B})
    lab = gitlab_push("refs/tags/v1", after=A, kind="tag_push", checkout_sha=B)

    for change in (github_change("push", hub), gitlab_change(lab)):
        assert isinstance(change, Change)
        assert (change.event, change.name, change.ref, change.commit) == ("tag", "v1", "refs/tags/v1", B)
        # A tag may be called main too.
        assert change.shown_branch == ""


@pytest.mark.parametrize(
    "found",
    [
        github_change("push", github_push(after=NOTHING)),
        github_change("push", github_push(deleted=True)),
        gitlab_change(gitlab_push(after=NOTHING)),
        gitlab_change(gitlab_push("refs/tags/v1", after=NOTHING, kind="tag_push")),
    ],
)
def test_a_deleted_branch_or_tag_starts_nothing(found):
    assert found == Ignored("a branch or tag was deleted")


def test_a_pull_request_is_its_branch_the_target_and_a_ref_of_the_own_repository():
    hub, lab = github_change("pull_request", github_pull()), gitlab_change(gitlab_merge())

    assert isinstance(hub, Change)
    assert isinstance(lab, Change)
    assert (hub.name, hub.target, hub.ref, hub.fork) == ("feature/a", "main", "refs/pull/7/head", False)
    assert (lab.name, lab.target, lab.ref, lab.fork) == ("feature/a", "main", "refs/merge-requests/9/head", False)
    assert hub.shown_branch == lab.shown_branch == "feature/a"


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (github_change("pull_request", github_pull(source_id=2, head="main")), "pull/7"),
        (github_change("pull_request", github_pull(source_id=None, head="main")), "pull/7"),
        (gitlab_change(gitlab_merge(source_id=6)), "merge-requests/9"),
    ],
)
def test_a_fork_is_one_and_cannot_pass_its_branch_for_one_of_ours(change, shown):
    assert isinstance(change, Change)
    assert change.fork
    assert change.shown_branch == shown


@pytest.mark.parametrize(
    "found",
    [
        *[github_change("pull_request", github_pull(action)) for action in ("closed", "labeled", "edited")],
        *[gitlab_change(gitlab_merge(action)) for action in ("close", "merge", "approved", "update", "")],
    ],
)
def test_a_pull_request_without_a_new_commit_starts_nothing(found):
    assert isinstance(found, Ignored)
    assert "brings no new commit" in found.reason


def test_an_update_of_a_merge_request_with_new_commits_is_one():
    assert isinstance(gitlab_change(gitlab_merge("update", oldrev=A)), Change)


@pytest.mark.parametrize("event", ["ping", "issues", "", "x" * 500])
def test_any_other_event_starts_nothing(event):
    found = github_change(event, {"zen": "Design for failure."})

    assert isinstance(found, Ignored)
    assert len(found.reason) < 200


def test_the_head_cannot_make_a_push_of_another_event():
    with pytest.raises(UsageError, match="no text at after"):
        github_change("push", {"ref": "refs/heads/main", "repository": {"full_name": "acme/assistant"}})


@pytest.mark.parametrize(
    "name", ["--upload-pack=touch x", "-x", "a..b", "a b", "../../etc", "a\nb", "$(x)\u0000", "\ud800"]
)
def test_a_name_that_git_would_not_take_is_refused(name):
    with pytest.raises(UsageError, match="no name that git takes"):
        github_change("push", github_push(f"refs/heads/{name}"))
    with pytest.raises(UsageError, match="no name that git takes"):
        github_change("pull_request", github_pull(head=name))


@pytest.mark.parametrize("sha", ["main", "", None, 7, "a" * 39, "HEAD", "--all", "A" * 40, ["a"]])
def test_an_id_that_is_none_is_refused(sha):
    with pytest.raises(UsageError, match="after"):
        gitlab_change(gitlab_push(after=sha))


@pytest.mark.parametrize("number", [0, -1, True, "7", 2**60, 7.0, None])
def test_the_number_of_a_pull_request_is_one(number):
    with pytest.raises(UsageError, match="number"):
        github_change("pull_request", github_pull(number=number))


def test_a_body_is_read_as_json_or_as_githubs_form():
    text = json.dumps(github_push())

    assert payload_of(text.encode(), JSON) == github_push()
    assert payload_of(urlencode({"payload": text}).encode(), FORM) == github_push()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", JSON),
        (b"\xff\xfe", JSON),
        (b"[]", JSON),
        (b"null", JSON),
        (b'{"a": NaN}', JSON),
        (b'{"ref": "a", "ref": "b"}', JSON),
        (b"[" * 100_000, JSON),
        (b'{"a":' * 100 + b"1" + b"}" * 100, JSON),
        (b"payload=%7B%7D&payload=%7B%7D", FORM),
        (b"other=%7B%7D", FORM),
        (b"payload", FORM),
        (b"&".join(b"a=1" for _ in range(1000)), FORM),
    ],
)
def test_a_body_that_holds_no_object_is_refused_in_a_short_line(body, content_type):
    with pytest.raises(UsageError, match="body") as caught:
        payload_of(body, content_type)

    assert len(caught.value.message) < 300


@given(st.binary(max_size=200), st.sampled_from([JSON, FORM]))
def test_whatever_bytes_come_the_answer_is_an_object_or_a_refusal(body, content_type):
    with suppress(UsageError):
        assert isinstance(payload_of(body, content_type), dict)


@given(st.sampled_from([github_push(), github_pull(), gitlab_push(), gitlab_merge()]), PLACES, ANY)
def test_whatever_stands_anywhere_only_names_and_ids_of_git_go_on(payload, path, value):
    payload = json.loads(json.dumps(payload))
    place = payload
    for key in path[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else {}
    if isinstance(place, dict):
        place[path[-1]] = value
    for read in (
        lambda: github_change("push", payload),
        lambda: github_change("pull_request", payload),
        lambda: gitlab_change(payload),
    ):
        try:
            found = read()
        except UsageError:
            continue
        if isinstance(found, Change):
            assert is_name(found.name)
            assert is_commit(found.commit)
            assert found.ref.startswith(("refs/heads/", "refs/tags/", "refs/pull/", "refs/merge-requests/"))
            assert not found.target or is_name(found.target)
