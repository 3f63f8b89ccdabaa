"""The alerts and dashboards of a repository, by the questions that they answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shipway.readiness.documents import Documents, YamlDocument, dashboards, rule_groups
from shipway.readiness.facts import Repository
from shipway.readiness.model import Evidence, Source
from shipway.readiness.promql import parse_expression, questions


@dataclass(frozen=True, slots=True)
class Watched:
    """Where each question is answered, and the files that could not be read."""

    answers: Mapping[str, Evidence]
    unread: tuple[str, ...] = ()

    def missing(self, *wanted: str) -> tuple[str, ...]:
        """Return the questions that nothing answers."""
        return tuple(name for name in wanted if name not in self.answers)

    def evidence(self, *wanted: str) -> tuple[Evidence, ...]:
        """Return the evidence of questions, each once."""
        return tuple(dict.fromkeys(self.answers[name] for name in wanted if name in self.answers))


def alerts(repository: Repository) -> Watched:
    """Return what the alerting rules of Prometheus look at; a rule counts when its expression compares."""
    documents = rule_groups(repository)
    found: dict[str, Evidence] = {}
    for document, rule, line in _rules(documents):
        expression = parse_expression(str(rule.get("expr", "")))
        if not expression.compares:
            continue
        for name in questions(expression):
            told = Evidence(Source.REPOSITORY, f"{document.path}:{line}", f"alert {rule['alert']}")
            found.setdefault(name, told)
    return Watched(found, documents.unread)


def panels(repository: Repository) -> Watched:
    """Return what the panels of Grafana's dashboards show."""
    found: dict[str, Evidence] = {}
    for path, dashboard in dashboards(repository):
        for panel in _panels(dashboard):
            targets = panel.get("targets")
            for target in targets if isinstance(targets, list) else []:
                if (
                    not isinstance(target, dict)
                    or not isinstance(target.get("expr"), str)
                    or target.get("hide") is True
                ):
                    continue
                title = panel.get("title") or "without a title"
                for name in questions(parse_expression(target["expr"])):
                    found.setdefault(name, Evidence(Source.REPOSITORY, path, f"panel {title}: {target['expr'][:80]}"))
    return Watched(found)


def _rules(documents: Documents) -> Iterator[tuple[YamlDocument, dict[str, Any], int]]:
    for document in documents.found:
        spec = document.data.get("spec")
        inside = isinstance(spec, dict) and document.data.get("kind") == "PrometheusRule"
        groups = (spec if inside and isinstance(spec, dict) else document.data).get("groups")
        front: tuple[str, ...] = ("spec",) if inside else ()
        for number, group in enumerate(groups if isinstance(groups, list) else []):
            rules = group.get("rules") if isinstance(group, dict) else None
            for index, rule in enumerate(rules if isinstance(rules, list) else []):
                if isinstance(rule, dict) and isinstance(rule.get("alert"), str):
                    yield document, rule, document.line(*front, "groups", number, "rules", index)


def _panels(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    inner = node.get("panels")
    for panel in inner if isinstance(inner, list) else []:
        if isinstance(panel, dict):
            yield panel
            yield from _panels(panel)
