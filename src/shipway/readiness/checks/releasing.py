"""CICD: how a release gets to users and back, and what is known of prompts and models."""

import re

from shipway.config.yaml_source import KeyPath
from shipway.readiness.facts import Facts, StoreFacts
from shipway.readiness.markdown import pages
from shipway.readiness.model import Area, Check, Effort, Evidence, Outcome, Source, UndecidedError, failed, passed
from shipway.readiness.own_services import as_far_as_seen, routes

_MOST_ROLLBACK_S = 300.0


def gradual(facts: Facts) -> Outcome:
    """CICD-6."""
    plan = facts.the_project().rollout
    strategy = facts.setting("rollout", "strategy")
    if plan.strategy in {"rolling", "flag"}:
        detail = (
            facts.setting("rollout", "batches") if plan.strategy == "rolling" else facts.setting("rollout", "segments")
        )
        if (plan.strategy == "rolling" and plan.batches > 1) or (plan.strategy == "flag" and plan.segments):
            return passed(strategy, detail)
        return failed("everybody gets the candidate at once", "`rollout: { strategy: canary }`", strategy, detail)
    first = plan.steps[0].weight
    told = facts.setting("rollout", "steps", says=", ".join(f"{step.weight:.0%}" for step in plan.steps))
    if plan.strategy != "canary":
        return failed(f"{plan.strategy} brings everybody at once", "`rollout: { strategy: canary }`", strategy)
    if first >= 1.0:
        return failed(
            "the first step is already everybody",
            "`rollout: { steps: [{ weight: 0.1 }, { weight: 0.5 }, { weight: 1.0 }] }`",
            told,
        )
    return passed(strategy, told)


def rollback_known(facts: Facts) -> Outcome:
    """CICD-7: written down, and done at least once."""
    found = []
    for page in pages(facts.the_repository().ending(".md")):
        headed = [item for item in page.headings if re.search(r"\broll(?:ing|ed)?[ -]?back\b", item[1], re.IGNORECASE)]
        done = [
            item
            for item in page.commands
            if re.match(r"(?:shipway rollback|kubectl rollout undo|helm rollback)\b", item[1])
        ]
        if headed and done:
            found.append(facts.line(page.path, headed[0][0], headed[0][1]))
            found.append(facts.line(page.path, done[0][0], done[0][1]))
            break
    if not found:
        return failed(
            "no page says how to roll back, with the command",
            "`mkdir -p runbooks && shipway runbook rollback --out runbooks/rollback.md`",
        )
    events = _rollbacks(facts.the_store())
    if not events:
        why = "the way back is written down and was never taken in this store"
        raise UndecidedError(why, "take it once: `shipway rollback`, or attest when and where it was", tuple(found))
    return passed(*found, *(_event(event) for event in events[-1:]))


def _rollbacks(store: StoreFacts) -> list[tuple[float, float, int, str]]:
    """Return begin, end, number and action of rollbacks that ended.

    Raises:
        UndecidedError: the audit log is damaged.
    """
    if store.faults:
        raise UndecidedError(f"the audit log is damaged: {store.faults[0]}", "`shipway audit verify`, restore a backup")
    begun: dict[str, float] = {}
    ended = []
    pairs = {"rollback.completed": "rollback.started", "rollout.rolled_back": "rollout.roll_back"}
    for event in store.events:
        if event.action in pairs.values():
            begun[f"{event.action} {event.subject}"] = event.at_s
        elif event.action in pairs:
            start = begun.pop(f"{pairs[event.action]} {event.subject}", None)
            if start is not None:
                ended.append((start, event.at_s, event.seq, event.action))
    return ended


def _event(found: tuple[float, float, int, str]) -> Evidence:
    begun, ended, seq, action = found
    return Evidence(Source.STORE, f"audit event {seq}", f"{action} after {ended - begun:.1f} s")


def rollback_time(facts: Facts) -> Outcome:
    """CICD-9."""
    store = facts.the_store()
    done = _rollbacks(store)
    if not done:
        raise UndecidedError(
            "no rollback was ever done in this store", "`shipway rollback`, or attest how long one took"
        )
    begun, ended, *_ = done[-1]
    if ended - begun > _MOST_ROLLBACK_S:
        return failed(
            f"the last rollback took {ended - begun:.0f} s",
            "`shipway runbook rollback` says what waits",
            _event(done[-1]),
        )
    return passed(_event(done[-1]))


def versioned(facts: Facts) -> Outcome:
    """CICD-10."""
    project, git = facts.the_project(), facts.the_git()
    seen = []
    for name, path in project.prompts.items():
        if path not in git.tracked:
            return failed(
                f"the prompt {name} is not in git", f"`git add {path}` and commit it", facts.setting("prompts", name)
            )
        if path in git.changed:
            return failed(
                f"the prompt {name} differs from what is committed",
                f"`git commit {path}`",
                facts.setting("prompts", name),
            )
        seen.append(Evidence(Source.GIT, f"git ls-files {path}", f"tracked at {git.commit[:12]}"))
    for alias, model in project.models.items():
        if model.model.rpartition(":")[2] == "latest" or model.model.endswith("-latest"):
            return failed(
                f"the model {alias} means another one tomorrow",
                f"name a version: `models.{alias}.model`",
                facts.setting("models", alias, "model"),
            )
        seen.append(facts.setting("models", alias, "model"))
    return as_far_as_seen(facts, passed(*seen, routes(facts)), "the versions")


def prompt_trail(facts: Facts) -> Outcome:
    """CICD-12."""
    project, git = facts.the_project(), facts.the_git()
    seen = []
    for name, path in project.prompts.items():
        commits = git.commits.get(path, ())
        if not commits or path in git.changed:
            why = f"nobody can say who last changed the prompt {name}"
            return failed(why, f"`git add {path}` and commit it with a reason", facts.setting("prompts", name))
        seen.append(Evidence(Source.GIT, f"git log {path}", f"{len(commits)} commits, last {commits[0]}"))
    return as_far_as_seen(facts, passed(*seen, routes(facts)), "the prompts")


def model_shadow(facts: Facts) -> Outcome:
    """CICD-13."""
    plan = facts.the_project().rollout
    if plan.strategy == "shadow":
        return passed(facts.setting("rollout", "strategy"), facts.setting("rollout", "sample"))
    for index, step in enumerate(plan.steps):
        if step.shadow > 0:
            path: KeyPath = ("rollout", "steps", index, "shadow")
            return passed(facts.setting(*path))
    return failed(
        "no rollout asks the candidate what users ask before they get its answers",
        "in the first entry of `rollout.steps`: `{ weight: 0.1, shadow: 0.1, min_pairs: 100 }`",
        facts.setting("rollout", "strategy"),
    )


CHECKS = (
    Check(
        Area.CICD,
        6,
        "Users get a release gradually",
        "D 11",
        3,
        "a bad release must meet few of them",
        gradual,
        effort=Effort.LINE,
    ),
    Check(
        Area.CICD,
        7,
        "The way back is written down and was taken",
        "D 11",
        3,
        "in an incident nobody learns a new procedure",
        rollback_known,
        "when and where a rollback was exercised",
        Effort.RUN,
    ),
    Check(
        Area.CICD,
        9,
        "A rollback takes less than five minutes",
        "A 12",
        3,
        "damage is rate times time",
        rollback_time,
        "how long the last rollback took, from decision to end",
        Effort.RUN,
    ),
    Check(
        Area.CICD,
        10,
        "Prompts and models have versions",
        "A 12",
        3,
        "a release that cannot be named cannot be returned to",
        versioned,
        "where prompts and models of the service are versioned",
        Effort.LINE,
    ),
    Check(
        Area.CICD,
        12,
        "Every change of a prompt has an author and a reason",
        "A 13",
        3,
        "a prompt is code: whoever asks why needs an answer",
        prompt_trail,
        "where changes of prompts are recorded",
        Effort.LINE,
    ),
    Check(
        Area.CICD,
        13,
        "New models are shadowed before they answer",
        "D ladder",
        4,
        "a model swap changes every answer at once",
        model_shadow,
        effort=Effort.LINE,
    ),
)
