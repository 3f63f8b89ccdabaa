"""The five runbooks. Pure: from facts to Markdown, with every command filled in; `shipway runbook` prints them."""

from collections.abc import Callable, Mapping
from enum import StrEnum

from shipway.registry.model import Release
from shipway.services.runbooks.facts import Facts
from shipway.services.runbooks.pieces import (
    REASON,
    at,
    code,
    contacts,
    figures,
    page,
    post_mortem,
    span,
    state,
    verification,
)

_OLDER = 5
_LEAST_TOKENS = 16
_OLD_CORPUS_S = 7 * 86400.0


class Runbook(StrEnum):
    """Which runbook."""

    ROLLBACK = "rollback"
    LATENCY = "latency"
    SAFETY = "safety"
    STALE_INDEX = "stale-index"
    POST_ROLLBACK = "post-rollback"


def written(kind: Runbook, facts: Facts) -> str:
    """Return a runbook."""
    return _PAGES[kind](facts)


def rollback(facts: Facts) -> str:
    """Return how to get away from what is served."""
    return page(
        "Roll back",
        facts,
        [state(facts), figures(facts), _way_back(facts), _elsewhere(facts), _if_it_fails(facts), verification(facts),
         _then(), contacts(facts)],
    )  # fmt: skip


def latency(facts: Facts) -> str:
    """Return what to do when answers are slow or fail."""
    return page(
        "Latency or 5xx incident",
        facts,
        [state(facts), figures(facts), _look(facts), _relieve(facts), _if_a_release_did_it(facts), verification(facts),
         post_mortem(), contacts(facts)],
    )  # fmt: skip


def safety(facts: Facts) -> str:
    """Return what to do when answers do harm."""
    return page(
        "Safety regression",
        facts,
        [state(facts), figures(facts), _stop_harm(facts), _inspect(), _mend(facts), verification(facts),
         post_mortem(), contacts(facts)],
    )  # fmt: skip


def stale_index(facts: Facts) -> str:
    """Return what to do when answers rest on old documents."""
    return page(
        "Stale index", facts, [state(facts), _corpus(facts), _rebuild(facts), verification(facts), contacts(facts)]
    )


def post_rollback(facts: Facts) -> str:
    """Return the checklist after a rollback, with what can be told from here ticked."""
    return page(
        "After a rollback",
        facts,
        [state(facts), figures(facts), _checklist(facts), _change(facts), verification(facts), post_mortem(),
         contacts(facts)],
    )  # fmt: skip


# Rolling back.


def _way_back(facts: Facts) -> list[str]:
    lines = ["## Go back", ""]
    plan = facts.way_back
    if plan is None:
        return [*lines, f"The release before cannot be gone back to: {facts.no_way_back}", ""]
    lines += [*(f"- {line}" for line in plan.lines)]
    if facts.changes is not None:
        parts = ", ".join(facts.changes.difference.parts) or "nothing"
        lines.append(f"- what the way back undoes: {parts}; `shipway release diff {plan.release.id} {plan.leaves}`")
    if plan.kind == "abort" and not facts.controller:
        lines.append("- no controller runs, so nobody would abort the rollout: `shipway up` first")
    return [*lines, "", *code(f"shipway rollback --wait {REASON}"), ""]


def _elsewhere(facts: Facts) -> list[str]:
    """Return how to go to a release that was stable earlier: one of another prompt, model, corpus or policy."""
    stable = facts.history[-1].release if facts.history else None
    earlier: dict[str, float] = {}
    for entry in reversed(facts.history):
        if entry.release != stable:
            earlier.setdefault(entry.release, entry.at_s)
    lines = ["## Go to another release", ""]
    if not earlier:
        return [*lines, "No other release was stable here.", ""]
    is_active = facts.way_back is not None and facts.way_back.kind == "abort"
    first = [f"shipway rollout abort {REASON}"] if is_active else []
    commands = [
        f"shipway rollback --to {release} {REASON}   # stable since {at(at_s)}"
        for release, at_s in list(earlier.items())[:_OLDER]
    ]
    return [*lines, "One of these:", "", *code(*first, *commands), ""]


def _if_it_fails(facts: Facts) -> list[str]:
    kills = [f"shipway switch set kill-route {route.route} --for 30m {REASON}" for route in facts.routes]
    return [
        "## If it fails",
        "",
        "Take the routes off, which works on every worker in less than a second, then look at the processes:",
        "",
        *code(*kills, "shipway doctor", "shipway logs control", "shipway logs gateway", "shipway restart"),
        "",
        "What was switched stays switched: `shipway switch clear all` when it is over.",
        "",
    ]


def _then() -> list[str]:
    return ["## Afterwards", "", *code("shipway runbook post-rollback --out post-rollback.md"), ""]


# An incident.


def _look(facts: Facts) -> list[str]:
    lines = ["## Look", ""]
    processes = facts.status.processes
    if processes:
        lines += [
            f"- {item['name']}: {item['problem'] or 'runs'}, restarted {item['restarts']} times" for item in processes
        ]
    else:
        lines.append("- processes: not known, nothing runs here")
    lines += [f"- engine `{alias}`: {_engine(facts, alias)}" for alias in _models(facts)]
    named = [f"shipway logs {item['name']}" for item in processes if str(item["name"]).startswith("engine")]
    return [*lines, "", *code("shipway doctor", *named, "shipway logs gateway"), ""]


def _relieve(facts: Facts) -> list[str]:
    """Return the switches that take load off, the mildest first."""
    lines = ["## Relieve", "", "From the mildest on; each ends by itself.", ""]
    commands = [f"shipway switch set drain-long '*' 4000 --for 15m {REASON}"]
    most = _most_tokens(facts)
    if most is not None:
        commands.append(f"shipway switch set max-new '*' {max(_LEAST_TOKENS, most // 2)} --for 15m {REASON}")
    commands.append(f"shipway switch set batch-window '*' 5 --for 15m {REASON}")
    for route in facts.routes:
        others = _other_models(facts, route.route)
        commands += [f"shipway switch set lock-route {route.route} {alias} --for 15m {REASON}" for alias in others]
    if not any(_other_models(facts, route.route) for route in facts.routes):
        lines.append("No route has another model to flip to: name some in `models` and `routing`.")
        lines.append("")
    return [
        *lines,
        *code(*commands, "shipway switch list"),
        "",
        "A gateway that hangs is replaced without losing a request. An engine that is ended is started again at once;",
        "the requests that it has fail:",
        "",
        *code("shipway restart", *_ended_engines(facts)),
        "",
    ]


def _ended_engines(facts: Facts) -> list[str]:
    processes = [item for item in facts.status.processes if str(item["name"]).startswith("engine") and item["pid"]]
    return [f"kill {item['pid']}   # {item['name']}" for item in processes]


def _if_a_release_did_it(facts: Facts) -> list[str]:
    since = f"{facts.history[-1].release} is stable since {at(facts.history[-1].at_s)}" if facts.history else ""
    lines = ["## If it began with a release", ""]
    lines += [f"{since}. Compare the figures of both releases above."] if since else ["Nothing was deployed."]
    return [*lines, "", *_way_back(facts)[2:]]


# Safety.


def _stop_harm(facts: Facts) -> list[str]:
    rollout = facts.rollout
    lines = ["## Stop it", ""]
    if rollout is not None and facts.way_back is not None and facts.way_back.kind == "abort":
        where = f"{rollout['state']} at {rollout['weight']:.0%}"
        lines += [
            f"Rollout {rollout['rollout']} is {where}. If its candidate does the harm:",
            "",
            *code(f"shipway rollback --wait {REASON}", "shipway rollout watch"),
            "",
        ]
    elif rollout is not None and rollout["state"] == "rolled_back":
        lines += [f"Rollout {rollout['rollout']} was rolled back: {rollout['reason']}. See that it was this:", ""]
        lines += [*code(f"shipway rollout status {rollout['rollout']}"), ""]
    lock = [
        f"shipway switch set lock-route {route.route} {alias} {REASON}"
        for route in facts.routes
        for alias in _other_models(facts, route.route)
    ]
    lines += [
        "A route whose model does it is locked to one that does not, an answer that must not be given is taken off:"
    ]
    kill = [f"shipway switch set kill-route {route.route} {REASON}" for route in facts.routes]
    return [*lines, "", *code(*lock, *kill, f"shipway switch set kill-agents {REASON}"), ""]


def _inspect() -> list[str]:
    return [
        "## Inspect",
        "",
        *code("shipway feedback list --limit 20", "shipway dataset proposals list", "shipway audit list"),
        "",
        "Texts are there only where the project keeps them masked (`quality.sample`, `shadow.keep_answers`).",
        "",
    ]


def _mend(facts: Facts) -> list[str]:
    stable = facts.stable.id if facts.stable is not None else "STABLE"
    return [
        "## Mend, and try again",
        "",
        "1. Every harmful request becomes a case (`--unanswerable`: the only right answer is to decline).",
        "2. Change the prompt, the model or the policy, and let the gates and the recorded traffic judge.",
        "3. Canary again.",
        "",
        *code(
            "shipway dataset proposals accept PROPOSAL --unanswerable --tag safety",
            'shipway release create -m "MESSAGE"',
            f"shipway eval run RELEASE --baseline {stable}",
            f"shipway replay RELEASE --against {stable}",
            "shipway deploy RELEASE --wait",
            "shipway switch clear all",
        ),
        "",
    ]


# Documents.


def _corpus(facts: Facts) -> list[str]:
    lines = ["## The documents", ""]
    found = facts.corpus
    if found is None:
        return [*lines, "No corpus: no release answers from documents here.", ""]
    if found.built_at_s is None:
        age = "when is not known"
    else:
        old_s = facts.at_s - found.built_at_s
        age = f"{at(found.built_at_s)}, {span(old_s)} ago{' - older than a week' if old_s > _OLD_CORPUS_S else ''}"
    return [
        *lines,
        f"- stable answers from: {found.pinned or 'none'}",
        f"- built: {age}",
        f"- built last: {found.newest or 'none'} ({found.size})"
        + ("" if found.newest == found.pinned else "; **no release pins it yet**"),
        f"- the sources: {found.documents}",
        "",
    ]


def _rebuild(facts: Facts) -> list[str]:
    if facts.corpus is None:
        return []
    stable = facts.stable.id if facts.stable is not None else ""
    against = f" --baseline {stable}" if stable else ""
    return [
        "## Build it anew and ship it",
        "",
        "A corpus is part of a release: users get it by a deploy, and a rollback takes it back.",
        "",
        *code(
            "shipway rag build",
            'shipway release create -m "corpus built anew"',
            f"shipway eval run RELEASE{against}",
            "shipway deploy RELEASE --wait",
        ),
        "",
        "If a document must not be shown any more, do not wait for that:",
        "",
        *code(*(f"shipway switch set kill-route {route.route} {REASON}" for route in facts.routes)),
        "",
    ]


# Afterwards.


def _checklist(facts: Facts) -> list[str]:
    left = facts.left
    late = [item.worker for item in facts.workers if item.version < facts.snapshot.version]
    confirmed_s = _confirmed_s(facts)
    assigned = left in facts.snapshot.assigned() if left else False
    after = [
        record
        for record in facts.records
        if record.release == left and confirmed_s is not None and record.at_s > confirmed_s
    ]
    audit = facts.audit
    lines = ["## Checklist", ""]
    lines += [
        _box(bool(left) and not assigned, f"no route assigns {left or 'the release that was left'} any more"),
        _box(
            bool(left) and confirmed_s is not None and not after,
            f"no request was assigned to it since every worker obeyed ({len(after)} found)",
        ),
        _box(bool(facts.workers) and not late, "every worker obeys the newest snapshot"),
        _box(audit is not None and not audit, "the audit chain verifies" + (f": {audit[0]}" if audit else "")),
        _box(not facts.switches, "no switch is left on (`shipway switch list`)"),
    ]
    manual = (
        "service health: `/health` and `/ready`",
        "error rates are back to normal",
        "latency is back to normal",
        "smoke checks pass",
        "a person has read answers of every route",
        "the incident's ticket is updated",
        "those concerned are told (below)",
        "what went wrong is proposed as cases: `shipway dataset proposals list`",
        "the post-mortem has a date, and its bundle is kept",
    )
    return [*lines, *(_box(False, item) for item in manual), ""]  # noqa: FBT003


def _confirmed_s(facts: Facts) -> float | None:
    """Return since when nobody should be assigned to the release that was left; None when nobody knows."""
    if facts.rollout is not None and facts.rollout["candidate"] == facts.left:
        found: float | None = facts.rollout.get("confirmed_at_s")
        return found
    return facts.history[-1].at_s if facts.left else None


def _change(facts: Facts) -> list[str]:
    stable = facts.stable.id if facts.stable is not None else ""
    lines = ["## What was different", ""]
    if not facts.left or not stable or facts.left == stable:
        return [*lines, "Not known: no release was left.", ""]
    return [*lines, *code(f"shipway release diff {stable} {facts.left}", "shipway audit list"), ""]


def _box(done: bool, text: str) -> str:  # noqa: FBT001 - one box
    return f"- [{'x' if done else ' '}] {text}"


# What the stable release has.


def _models(facts: Facts) -> tuple[str, ...]:
    return tuple(facts.stable.manifest["models"]) if facts.stable is not None else ()


def _engine(facts: Facts, alias: str) -> str:
    assert facts.stable is not None  # noqa: S101 - aliases come from it
    entry = facts.stable.manifest["models"][alias]
    address = facts.status.endpoints.engines.get(alias, "") if facts.status.endpoints else ""
    return f"{entry['engine']}/{entry['model']}{f' at {address}' if address else ', not on this machine'}"


def _other_models(facts: Facts, route: str) -> list[str]:
    release: Release | None = facts.stable
    if release is None:
        return []
    entry = release.manifest["policy"]["routes"].get(route)
    if entry is None or entry["kind"] == "http":
        return []
    return [alias for alias in release.manifest["models"] if alias != entry.get("model")]


def _most_tokens(facts: Facts) -> int | None:
    if facts.stable is None:
        return None
    found = [int(entry["max_out"]) for entry in facts.stable.manifest["models"].values() if entry.get("max_out")]
    return max(found, default=None)


_PAGES: Mapping[Runbook, Callable[[Facts], str]] = {
    Runbook.ROLLBACK: rollback,
    Runbook.LATENCY: latency,
    Runbook.SAFETY: safety,
    Runbook.STALE_INDEX: stale_index,
    Runbook.POST_ROLLBACK: post_rollback,
}
