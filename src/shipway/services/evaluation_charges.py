"""What a call of a release or of another target takes, before it is made."""

from collections.abc import Mapping
from typing import Any

from shipway.config.project import Project
from shipway.config.sections.models import Price
from shipway.evals.budget import Charge
from shipway.evals.ports import Target
from shipway.registry.model import Release

_QUESTIONS = "the length of the questions alone"
_LONGEST = "the length of the questions, and answers as long as they may be"
_LONGEST_OF_DOCUMENTS = "prompts and answers as long as they may be"
_TELL_ALONE = ("python:", "http ")
"""How the names of targets begin that know alone what they take: of a run that is scored again only names are left."""
_LOG = "log:"


def release_charge(project: Project, release: Release, route_name: str, known: Mapping[str, Any]) -> Charge:
    """Return what a call of a release takes, by the last evaluation where there is one.

    `known` holds `calls`, `tokens_in`, `tokens_out`, perhaps `usd`, and `of`, the evaluation's id; empty without one.
    """
    policy = release.manifest["policy"]
    route = policy["routes"][route_name]
    if route["kind"] == "http":
        return _told(f"route {route_name}", known)
    model, budgets = release.manifest["models"][route["model"]], policy["budgets"]
    usd_in, usd_out = _price(project, route["model"])
    if known:
        return _as_before(known, usd_in, usd_out)
    most_out = min(model["max_out"], budgets["max_new"])
    if route["kind"] == "rag":
        most_in = min(budgets["max_prompt"], max(1, model["max_ctx"] - most_out))
        return Charge(usd_in, usd_out, most_in, most_out, _LONGEST_OF_DOCUMENTS, whole=True)
    return Charge(usd_in, usd_out, 0.0, most_out, _LONGEST)


def target_charge(project: Project, target: Target, known: Mapping[str, Any]) -> Charge:
    """Return what a call of a target takes that is no release; `known` as for `release_charge`, of an earlier run.

    An endpoint has `price` and `fields`, a route of a gateway `route` and `fields`.
    """
    if target.name.startswith(_LOG):
        return Charge(basis="recorded answers, which take nothing again", whole=True, replayed=True)
    if hasattr(target, "route"):
        return _route_charge(project, target, known)
    if target.name.startswith(_TELL_ALONE) or not hasattr(target, "price"):
        return _told(target.name, known)
    price = target.price
    usd_in, usd_out = (None, None) if price is None else (float(price.input_usd), float(price.output_usd))
    if known:
        return _as_before(known, usd_in, usd_out)
    return _by_longest(target, usd_in, usd_out, float(_fields(target).get("max_tokens") or 0))


def _route_charge(project: Project, target: Any, known: Mapping[str, Any]) -> Charge:
    """Return what a call of a route of a running environment takes; what it serves is what the project file says."""
    route = project.routes.get(target.route)
    if route is not None and route.kind == "http":
        return _told(target.name, known)
    alias = None if route is None else route.model
    usd_in, usd_out = _price(project, alias)
    if known:
        return _as_before(known, usd_in, usd_out)
    longest, model = float(_fields(target).get("max_tokens") or 0), project.models.get(alias or "")
    if model is None or route is None:
        return _by_longest(target, usd_in, usd_out, longest)
    most_out = min(filter(None, (longest, float(model.max_out), float(project.budgets.max_new))))
    if route.kind == "rag":
        most_in = min(project.budgets.max_prompt, max(1, model.max_ctx - int(most_out)))
        return Charge(usd_in, usd_out, most_in, most_out, _LONGEST_OF_DOCUMENTS, whole=True)
    return Charge(usd_in, usd_out, 0.0, most_out, _LONGEST)


def _by_longest(target: Target, usd_in: float | None, usd_out: float | None, longest: float) -> Charge:
    if longest:
        return Charge(usd_in, usd_out, 0.0, longest, _LONGEST)
    unknown = f"nobody knows how long the answers of {target.name} may be"
    unknown += ": write max_tokens at evals.target in shipway.yaml"
    return Charge(usd_in, usd_out, basis=_QUESTIONS, unknown=unknown)


def _told(name: str, known: Mapping[str, Any]) -> Charge:
    """Return what a call takes of whoever tells that himself, by what he told last time."""
    if not known:
        unknown = f"what a call of {name} takes it tells itself, if at all, with its answers; no earlier run tells it"
        return Charge(basis="the number of cases alone", unknown=unknown, tells=True)
    calls, usd = known["calls"], known.get("usd")
    tokens_in, tokens_out = known["tokens_in"] / calls, known["tokens_out"] / calls
    if not tokens_in and not tokens_out and not usd:
        unknown = f"{name} told neither tokens nor cost in its last run, {known['of']}"
        return Charge(basis="the number of cases alone", unknown=unknown, tells=True)
    each = None if usd is None else usd / calls
    return Charge(None, None, tokens_in, tokens_out, _before(known), whole=True, tells=True, usd_call=each)


def _as_before(known: Mapping[str, Any], usd_in: float | None, usd_out: float | None) -> Charge:
    calls = known["calls"]
    tokens_in, tokens_out = known["tokens_in"] / calls, known["tokens_out"] / calls
    return Charge(usd_in, usd_out, tokens_in, tokens_out, _before(known), whole=True)


def _before(known: Mapping[str, Any]) -> str:
    return f"the calls of the last {'run' if str(known['of']).startswith('run_') else 'evaluation'}, {known['of']}"


def _price(project: Project, alias: str | None) -> tuple[float | None, float | None]:
    entry = project.models.get(alias or "")
    return (None, None) if entry is None or entry.price == Price() else (entry.price.input, entry.price.output)


def _fields(target: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(target, "fields", {})
    return found
