"""The pieces that runbooks share, as Markdown: state, figures, verification by hand, contacts. Pure."""

import json
import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from shipway.core.snapshot import RouteTraffic
from shipway.core.switches import Switch
from shipway.services.runbooks.facts import Facts

REASON = '-m "REASON"'
_MOST_FIGURES = 12


def page(title: str, facts: Facts, sections: Iterable[Sequence[str]]) -> str:
    """Return a whole runbook: what was found first, so that nobody acts on an old one."""
    head = [
        f"# {title}: {facts.app} in {facts.environment}",
        "",
        f"Written {at(facts.at_s)} from the state of this installation. Write it again before you act on an old one.",
        "",
    ]
    return "\n".join([*head, *setting(facts), *(line for section in sections for line in section)]).rstrip() + "\n"


def setting(facts: Facts) -> list[str]:
    """Return where commands are run."""
    commands = [f"cd {shlex.quote(facts.folder)}", f"export APP_ENV={facts.environment}"]
    return ["Run the commands here:", "", *code(*commands), ""]


def code(*commands: str) -> list[str]:
    """Return commands to copy."""
    return ["```sh", *commands, "```"]


def state(facts: Facts) -> list[str]:
    """Return who serves what, and what is under way."""
    lines = ["## What is true now", ""]
    rows = [
        (
            route.route,
            route.stable,
            route.candidate or "-",
            f"{route.candidate_weight:.0%}" if route.candidate else "-",
            _also(route),
        )
        for route in facts.routes
    ]
    if rows:
        lines += table(("route", "stable", "candidate", "weight", ""), rows)
    else:
        lines += ["Nothing is deployed."]
    lines += ["", f"- snapshot {facts.snapshot.version} of epoch {facts.snapshot.epoch}; {_obeyed(facts)}"]
    if facts.rollout is not None:
        said = facts.rollout["reason"] or "no reason given"
        lines.append(
            f"- rollout {facts.rollout['rollout']}: {facts.rollout['state']}, {facts.rollout['stable']} ->"
            f" {facts.rollout['candidate']}, {facts.rollout['weight']:.0%}; {said}"
        )
    lines.append(f"- controller: {'runs' if facts.controller else 'does not run, so nothing rolls back by itself'}")
    lines += [f"- switched: {switch.name} {switch.value}".rstrip() + _until(switch) for switch in facts.switches]
    lines += [f"- not known: {line}" for line in facts.unknown]
    return [*lines, ""]


def figures(facts: Facts) -> list[str]:
    """Return what the newest records say."""
    lines = [f"## The last {facts.window_s / 60:g} minutes", ""]
    if not facts.figures:
        return [*lines, "No request was served.", ""]
    rows = [
        (
            item.route,
            f"{item.release}{' (candidate)' if item.is_candidate else ''}",
            item.requests,
            f"{item.failed} ({item.failed / item.requests:.1%})",
            _ms(item.p50_ms),
            _ms(item.p95_ms),
            _ms(item.p99_ms),
            _ms(item.ttft_p95_ms),
            ", ".join(f"{name} {count}" for name, count in item.events) or "-",
        )
        for item in facts.figures[:_MOST_FIGURES]
    ]
    header = ("route", "release", "requests", "failed", "p50 ms", "p95 ms", "p99 ms", "first token p95 ms", "events")
    return [*lines, *table(header, rows), ""]


def verification(facts: Facts) -> list[str]:
    """Return what is looked at by hand before anybody says that it is over."""
    gateway = facts.status.endpoints.gateway if facts.status.running and facts.status.endpoints else ""
    lines = ["## Verify by hand", "", "`SHIPWAY_KEY` holds a key with the roles invoke and operate.", ""]
    shown = gateway or "GATEWAY_ADDRESS"
    if not gateway:
        lines += ["The gateway's address is not known: nothing runs here.", ""]
    key = '-H "Authorization: Bearer $SHIPWAY_KEY"'
    checks = [
        "shipway status",
        f"curl -fsS {shown}/health",
        f"curl -fsS {shown}/ready",
        f"curl -fsS {key} {shown}/version",
    ]
    checks.append("shipway eval smoke --key-env SHIPWAY_KEY")
    for route in facts.routes:
        if _kind(facts, route.route) in {"chat", "rag"}:
            asked = {"model": route.route, "messages": [{"role": "user", "content": "QUESTION"}]}
            body = f'-H "Content-Type: application/json" -d {shlex.quote(json.dumps(asked))}'
            checks.append(f"curl -fsS {key} {body} {shown}/v1/chat/completions")
    lines += code(*checks)
    lines += [
        "",
        "- [ ] `/ready` says ready on every host",
        "- [ ] smoke checks pass",
        *(f"- [ ] an answer of `{route.route}` read by a person is right" for route in facts.routes),
        "- [ ] failed requests and p99 above are back to what they were before (write this runbook again)",
        "- [ ] `shipway feedback list` shows no new complaints",
    ]
    return [*lines, ""]


def contacts(facts: Facts) -> list[str]:
    """Return who is told, in order."""
    lines = ["## Escalation", ""]
    if facts.project is None:
        return [*lines, "Not known: the project file cannot be read.", ""]
    if not facts.project.contacts:
        return [*lines, "Nobody is named: write `contacts: [{ who: ..., how: ... }]` in shipway.yaml.", ""]
    told = [
        f"{number}. {item.who}: {item.how}{f' ({item.when})' if item.when else ''}"
        for number, item in enumerate(facts.project.contacts, 1)
    ]
    return [*lines, *told, ""]


def post_mortem() -> list[str]:
    """Return how to keep what a post-mortem needs."""
    return [
        "## Keep it for the post-mortem",
        "",
        *code("shipway runbook post-rollback --bundle post-mortem.zip"),
        "",
        "Request ids, the rollout and its evidence, audit entries, the change and the metrics; no text of users.",
        "",
    ]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join('---' for _ in header)}|"]
    return [*lines, *(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows)]


def at(at_s: float) -> str:
    """Return a time for people."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """Return how long something is, in words."""
    for length, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _kind(facts: Facts, route: str) -> str:
    if facts.stable is None:
        return ""
    entry = facts.stable.manifest["policy"]["routes"].get(route)
    return str(entry["kind"]) if entry is not None else ""


def _also(route: RouteTraffic) -> str:
    said = ["parked: its requests wait"] if route.parked else []
    said += ["for some callers alone"] if route.segments else []
    said += [f"shadow {route.shadow}"] if route.shadow else []
    return "; ".join(said)


def _obeyed(facts: Facts) -> str:
    if not facts.workers:
        return "no gateway worker was heard of in the last 10 s"
    late = [item.worker for item in facts.workers if item.version < facts.snapshot.version]
    tripped = [item.worker for item in facts.workers if item.dead_man_tripped]
    behind = f"of which {', '.join(late)} lag behind" if late else "all obey it"
    said = f"{len(facts.workers)} workers, {behind}"
    return said + (f"; {', '.join(tripped)} serve stable alone because control is silent" if tripped else "")


def _until(switch: Switch) -> str:
    return "" if switch.expires_at_s is None else f", until {at(switch.expires_at_s)}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
