"""YAML and JSON files of a repository with the lines of their values: manifests, rules of alerts, dashboards.

Checks call it. A file that cannot be read is told apart from one that does not hold what is looked for.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shipway.config.yaml_source import KeyPath, YamlFile, parse_yaml
from shipway.core.errors import ConfigError
from shipway.readiness.facts import Repository

_SEPARATOR = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)
_TEMPLATED = re.compile(r"\{\{.*\}\}")
_YAML = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document of a file."""

    path: str
    data: dict[str, Any]
    source: YamlFile

    def line(self, *keys: str | int) -> int:
        """Return the line of a value, or of the nearest mapping around it."""
        path: KeyPath = keys
        while path:
            place = self.source.places.get(path)
            if place is not None and place.line is not None:
                return place.line
            path = path[:-1]
        return 1


@dataclass(frozen=True, slots=True)
class Documents:
    """What was read, and the files that look like the right kind and could not be read."""

    found: tuple[YamlDocument, ...]
    unread: tuple[str, ...]


def yaml_documents(path: str, text: str) -> Iterator[YamlDocument]:
    """Yield the mappings of a YAML file of one or more documents.

    Raises:
        ConfigError: it is not YAML, or holds what has no plain value.
    """
    starts = [0, *(found.end() for found in _SEPARATOR.finditer(text))]
    ends = [*(found.start() for found in _SEPARATOR.finditer(text)), len(text)]
    for start, end in zip(starts, ends, strict=True):
        piece = text[start:end]
        if not piece.strip():
            continue
        # Empty lines in front keep the numbers of lines.
        source = parse_yaml("\n" * text.count("\n", 0, start) + piece, path)
        if source.data:
            yield YamlDocument(path, source.data, source)


def manifests(repository: Repository) -> Documents:
    """Return the Kubernetes objects of a repository; templates of Helm and the like cannot be read."""
    found: list[YamlDocument] = []
    unread: list[str] = []
    for path, text in repository.ending(*_YAML):
        if path == "shipway.yaml" or "kind:" not in text or "apiVersion:" not in text:
            continue
        if _TEMPLATED.search(text):
            unread.append(path)
            continue
        try:
            documents = list(yaml_documents(path, text))
        except ConfigError:
            unread.append(path)
            continue
        found += [item for item in documents if isinstance(item.data.get("kind"), str) and "apiVersion" in item.data]
    return Documents(tuple(found), tuple(unread))


def rule_groups(repository: Repository) -> Documents:
    """Return the files with rules of Prometheus, plain or as a PrometheusRule; each document holds `groups`."""
    found: list[YamlDocument] = []
    unread: list[str] = []
    for path, text in repository.ending(*_YAML):
        if "alert:" not in text or "groups:" not in text:
            continue
        try:
            documents = list(yaml_documents(path, text))
        except ConfigError:
            unread.append(path)
            continue
        found += documents
    return Documents(tuple(found), tuple(unread))


def dashboards(repository: Repository) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dashboards of Grafana: JSON files with panels."""
    for path, text in repository.ending(".json"):
        if '"panels"' not in text:
            continue
        try:
            data = json.loads(text)
        except ValueError:
            continue
        if isinstance(data, dict) and isinstance(data.get("dashboard"), dict):
            data = data["dashboard"]
        if isinstance(data, dict) and isinstance(data.get("panels"), list):
            yield path, data
