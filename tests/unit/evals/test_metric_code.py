"""What decides a score is part of what a run is bound to."""

import ast
import re
from importlib import resources

from shipway.evals.baseline import _METRIC_CODE

# Values, ports and messages: they carry scores and decide none.
_CARRIERS = {
    *("shipway.evals.judgement", "shipway.evals.model", "shipway.evals.ports", "shipway.evals.suggestions"),
    "shipway.stats.arguments",
    *("shipway.core.canonical", "shipway.core.errors", "shipway.core.ids", "shipway.core.record"),
}


def imported(module):
    package, _, name = module.rpartition(".")
    source = resources.files(package).joinpath(f"{name}.py").read_text(encoding="utf-8")
    tree = ast.walk(ast.parse(source))
    named = {
        candidate
        for node in tree
        if isinstance(node, ast.ImportFrom)
        for candidate in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    }
    # Modules that are loaded when they are needed.
    named |= set(re.findall(r'import_module\("(shipway\.[\w.]+)"\)', source))
    return {found for found in named if is_module(found)}


def is_module(name):
    package, _, module = name.rpartition(".")
    packages = {"shipway.core", "shipway.evals", "shipway.stats"}
    return package in packages and resources.files(package).joinpath(f"{module}.py").is_file()


def test_all_code_that_scores_is_part_of_the_metric_digest():
    found, waiting = set(), {"shipway.evals.metric_names", "shipway.evals.scoring"}
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= imported(module) - found - _CARRIERS

    listed = {f"{package}.{file.removesuffix('.py')}" for package, file in _METRIC_CODE}
    assert found == listed
