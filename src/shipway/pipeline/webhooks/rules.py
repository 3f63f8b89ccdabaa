"""Which run a change starts, by the rules of `webhooks.rules`: the first that matches decides."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from shipway.config.sections.webhooks import RunOptions, WebhookRule
from shipway.pipeline.webhooks.model import Change, Ignored


def rule_for(change: Change, rules: Sequence[WebhookRule]) -> WebhookRule | Ignored:
    """Return the rule that decides what a change starts."""
    found = next((rule for rule in rules if _matches(change, rule)), None)
    # Named by what the rules look at: whoever reads the answer can find it there.
    looked_at = f"{'tag' if change.event == 'tag' else 'branch'} {change.target or change.name}"
    if found is None:
        return Ignored(f"no rule for event {change.event} of {looked_at}")
    return Ignored(f"a rule ignores {looked_at}") if found.ignore else found


def run_arguments(rule: WebhookRule) -> tuple[str, ...]:
    """Return the options of `shipway pipeline run` that a rule gives."""
    options: RunOptions = rule.options
    texts = {
        "tier": rule.tier,
        "only": options.only,
        "from": options.from_,
        "until": options.until,
        "jobs": options.jobs,
    }
    flags = {"fail-fast": options.fail_fast, "no-cache": options.no_cache}
    # One argument each: whatever a value begins with, it is no option of its own.
    return (
        *(f"--{name}={value}" for name, value in texts.items() if value),
        *(f"--{name}" for name, given in flags.items() if given),
    )


def _matches(change: Change, rule: WebhookRule) -> bool:
    if change.event == "tag":
        return rule.tag is not None and fnmatchcase(change.name, rule.tag)
    pattern = rule.branch
    # What is ignored is ignored whatever happened to it.
    listed = rule.ignore or change.event in rule.events
    return pattern is not None and listed and fnmatchcase(change.target or change.name, pattern)
