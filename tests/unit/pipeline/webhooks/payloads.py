"""Bodies with the keys that GitHub and GitLab send, as far as the receiver reads them, and a few more."""

from typing import Any

A, B, NOTHING = "a" * 40, "b" * 40, "0" * 40


def github_push(ref: str = "refs/heads/main", after: str = B, before: str = A, **more: Any) -> dict[str, Any]:
    gone = after == NOTHING
    return {
        "ref": ref,
        "before": before,
        "after": after,
        "created": before == NOTHING,
        "deleted": gone,
        "forced": False,
        "head_commit": None if gone else {"id": after, "message": "$(touch /tmp/owned)"},
        "repository": {"id": 1, "full_name": "acme/assistant", "clone_url": "https://evil.example/x.git"},
        "commits": [],
        **more,
    }


def github_pull(
    action: str = "opened", source_id: int | None = 1, head: str = "feature/a", **more: Any
) -> dict[str, Any]:
    source = None if source_id is None else {"id": source_id, "full_name": "x/assistant"}
    return {
        "action": action,
        "number": 7,
        "pull_request": {"head": {"ref": head, "sha": B, "repo": source}, "base": {"ref": "main", "sha": A}},
        "repository": {"id": 1, "full_name": "acme/assistant"},
        **more,
    }


def gitlab_push(ref: str = "refs/heads/main", after: str = B, kind: str = "push", **more: Any) -> dict[str, Any]:
    return {
        "object_kind": kind,
        "ref": ref,
        "before": A,
        "after": after,
        "checkout_sha": None if after == NOTHING else after,
        "project": {"id": 5, "path_with_namespace": "acme/assistant", "git_http_url": "https://evil.example/x.git"},
        **more,
    }


def gitlab_merge(action: str = "open", source_id: int = 5, **more: Any) -> dict[str, Any]:
    return {
        "object_kind": "merge_request",
        "project": {"id": 5, "path_with_namespace": "acme/assistant"},
        "object_attributes": {
            "action": action,
            "iid": 9,
            "source_branch": "feature/a",
            "target_branch": "main",
            "source_project_id": source_id,
            "target_project_id": 5,
            "last_commit": {"id": B},
            **more,
        },
    }
