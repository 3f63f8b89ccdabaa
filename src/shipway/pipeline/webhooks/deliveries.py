"""Reading what GitHub and GitLab send, after its signature was checked; nothing that git would not take goes on.

The head of a request is not signed, its body is: what GitLab's event is, the body says. GitHub's stands in the head
alone, so a body must have the shape of the event that the head names.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from shipway.core.errors import UsageError
from shipway.core.nesting import TOO_DEEP, too_deep
from shipway.pipeline.webhooks.model import Change, ChangeEvent, Ignored, Provider
from shipway.pipeline.webhooks.refs import is_commit, is_name, is_nothing

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
_HEADS, _TAGS = "refs/heads/", "refs/tags/"
_GITHUB_ACTIONS = frozenset({"opened", "synchronize", "reopened"})
_GITLAB_ACTIONS = frozenset({"open", "reopen", "update"})
_GITLAB_KINDS: Mapping[str, str] = {"push": _HEADS, "tag_push": _TAGS}
_LARGEST_NUMBER = 2**53
_SHOWN = 80


def payload_of(body: bytes, content_type: str) -> dict[str, Any]:
    """Return the object that a body holds.

    Raises:
        UsageError: it holds none.
    """
    try:
        text = body.decode()
        if content_type == FORM:
            text = _form_field(text)
        found = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise UsageError(f"the body is not UTF-8: byte 0x{body[error.start]:02x} at {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body does not hold JSON: {_short(str(error))}") from None
    if not isinstance(found, dict):
        raise UsageError(f"the body holds a {type(found).__name__}, not an object")
    if too_deep(found):
        raise UsageError(f"the body is {TOO_DEEP}")
    return found


def github_change(event: str, payload: Mapping[str, Any]) -> Change | Ignored:
    """Return what a request of GitHub says happened.

    Raises:
        UsageError: the body is not that of such an event, or names what git would not take.
    """
    if event == "push":
        repository = _text(payload, "repository", "full_name")
        commit = _commit(payload, "after")
        _commit(payload, "before")
        if payload.get("deleted") is True or is_nothing(commit):
            return Ignored("a branch or tag was deleted")
        ref = _text(payload, "ref")
        return _pushed("github", ref, _peeled(payload, ref, commit, ("head_commit", "id")), repository)
    if event == "pull_request":
        return _github_pull(payload)
    return Ignored(f"event {_short(event)!r} starts nothing")


def gitlab_change(payload: Mapping[str, Any]) -> Change | Ignored:
    """Return what a request of GitLab says happened.

    Raises:
        UsageError: the body is not that of such an event, or names what git would not take.
    """
    kind = _text(payload, "object_kind")
    if kind in _GITLAB_KINDS:
        repository, ref = _text(payload, "project", "path_with_namespace"), _text(payload, "ref")
        commit = _commit(payload, "after")
        _commit(payload, "before")
        if not ref.startswith(_GITLAB_KINDS[kind]):
            raise UsageError(f"ref: {_short(ref)!r} is none of a {kind}")
        if is_nothing(commit):
            return Ignored("a branch or tag was deleted")
        return _pushed("gitlab", ref, _peeled(payload, ref, commit, ("checkout_sha",)), repository)
    if kind == "merge_request":
        return _gitlab_merge(payload)
    return Ignored(f"event {_short(kind)!r} starts nothing")


@dataclass(frozen=True, slots=True)
class _Pull:
    source: str
    target: str
    number: int
    commit: str
    fork: bool


def _github_pull(payload: Mapping[str, Any]) -> Change | Ignored:
    action = _text(payload, "action")
    target = _text(payload, "repository", "full_name")
    head = payload.get("pull_request", {}).get("head") if isinstance(payload.get("pull_request"), dict) else None
    # GitHub has no repository there when the fork was deleted.
    source_id = _at(head, "repo", "id")
    pull = _Pull(
        _text(payload, "pull_request", "head", "ref"),
        _text(payload, "pull_request", "base", "ref"),
        _number(payload, "number"),
        _commit(payload, "pull_request", "head", "sha"),
        source_id is None or source_id != _number(payload, "repository", "id"),
    )
    if action not in _GITHUB_ACTIONS:
        return Ignored(f"pull request: {_short(action)!r} brings no new commit")
    return _merging("github", f"refs/pull/{pull.number}/head", pull, target)


def _gitlab_merge(payload: Mapping[str, Any]) -> Change | Ignored:
    key = "object_attributes"
    action = payload.get(key, {}).get("action", "") if isinstance(payload.get(key), dict) else ""
    target = _text(payload, "project", "path_with_namespace")
    pull = _Pull(
        _text(payload, key, "source_branch"),
        _text(payload, key, "target_branch"),
        _number(payload, key, "iid"),
        _commit(payload, key, "last_commit", "id"),
        _number(payload, key, "source_project_id") != _number(payload, key, "target_project_id"),
    )
    # An update without oldrev changed a title or a label.
    if action not in _GITLAB_ACTIONS or (action == "update" and not payload[key].get("oldrev")):
        return Ignored(f"merge request: {_short(str(action))!r} brings no new commit")
    return _merging("gitlab", f"refs/merge-requests/{pull.number}/head", pull, target)


def _pushed(provider: Provider, ref: str, commit: str, repository: str) -> Change | Ignored:
    event: ChangeEvent = "tag" if ref.startswith(_TAGS) else "push"
    name = ref.removeprefix(_TAGS if event == "tag" else _HEADS)
    if name == ref:
        return Ignored("what was pushed is neither a branch nor a tag")
    return Change(provider, event, _name("ref", name), ref, commit, repository=repository)


def _merging(provider: Provider, ref: str, pull: _Pull, repository: str) -> Change:
    source, target = _name("source branch", pull.source), _name("target branch", pull.target)
    return Change(provider, "pull_request", source, ref, pull.commit, target, pull.fork, repository)


def _peeled(payload: Mapping[str, Any], ref: str, commit: str, path: Sequence[str]) -> str:
    """Return the commit that was pushed: of an annotated tag `after` is the tag itself."""
    return _commit(payload, *path) if ref.startswith(_TAGS) and _at(payload, *path) is not None else commit


def _name(what: str, name: str) -> str:
    if not is_name(name):
        raise UsageError(f"{what}: {_short(name)!r} is no name that git takes")
    return name


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(payload: Mapping[str, Any], *path: str) -> str:
    found = _at(payload, *path)
    if not isinstance(found, str) or not found:
        raise UsageError(f"the body has no text at {'.'.join(path)}")
    return found


def _number(payload: Mapping[str, Any], *path: str) -> int:
    found = _at(payload, *path)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 < found < _LARGEST_NUMBER:
        raise UsageError(f"the body has no number above 0 at {'.'.join(path)}")
    return found


def _commit(payload: Mapping[str, Any], *path: str) -> str:
    found = _text(payload, *path)
    if not is_commit(found):
        raise UsageError(f"{'.'.join(path)}: {_short(found)!r} is no id of a commit")
    return found


def _form_field(text: str) -> str:
    fields = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=8)
    found = [value for name, value in fields if name == "payload"]
    if len(found) != 1:
        raise ValueError(f"a form with {len(found)} fields named payload")
    return found[0]


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: two readers could take different ones."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
