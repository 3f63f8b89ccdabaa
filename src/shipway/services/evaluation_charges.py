"""What a call of a release or of another target takes, before it is made."""

from collections.abc import Mapping
from typing import Any

from shipway.config.project import Project
from shipway.config.sections.models import Price
from shipway.evals.budget import Charge
from shipway.evals.ports import Target
from shipway.registry.model import Release

_FREE = Charge(0.0, 0.0, basis="what the target tells itself")


def release_charge(project: Project, release: Release, route_name: str, known: Mapping[str, Any]) -> Charge:
    """Return what a call of a release takes, by the last evaluation where there is one.

    `known` holds `calls`, `tokens_in`, `tokens_out` and `of`, the evaluation's id; empty without one.
    """
    policy = release.manifest["policy"]
    route = policy["routes"][route_name]
    if route["kind"] == "http":
        return _FREE
    model, budgets = release.manifest["models"][route["model"]], policy["budgets"]
    entry = project.models.get(route["model"])
    price = None if entry is None or entry.price == Price() else entry.price
    usd_in, usd_out = (None, None) if price is None else (price.input, price.output)
    if known:
        basis = f"the calls of the last evaluation, {known['of']}"
        calls = known["calls"]
        return Charge(usd_in, usd_out, known["tokens_in"] / calls, known["tokens_out"] / calls, basis, whole=True)
    most_out = min(model["max_out"], budgets["max_new"])
    if route["kind"] == "rag":
        most_in = min(budgets["max_prompt"], max(1, model["max_ctx"] - most_out))
        return Charge(usd_in, usd_out, most_in, most_out, "prompts and answers as long as they may be", whole=True)
    return Charge(usd_in, usd_out, 0.0, most_out, "the length of the questions, and answers as long as they may be")


def target_charge(target: Target) -> Charge:
    """Return what a call of a target takes that is no release; one that knows of prices has `price` and `fields`."""
    if not hasattr(target, "price"):
        return _FREE
    price = target.price
    usd_in, usd_out = (None, None) if price is None else (float(price.input_usd), float(price.output_usd))
    most_out = float(getattr(target, "fields", {}).get("max_tokens") or 0)
    if not most_out:
        unknown = f"nobody knows how long the answers of {target.name} may be"
        unknown += ": write max_tokens at evals.target in shipway.yaml"
        return Charge(usd_in, usd_out, basis="the length of the questions alone", unknown=unknown)
    return Charge(usd_in, usd_out, 0.0, most_out, "the length of the questions, and answers as long as they may be")
