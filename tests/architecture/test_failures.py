"""Every error has one meaning outside, and the tree in `core/errors.py` is the one that is drawn there."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from shipway.core import errors
from shipway.core.errors import GateRefusedError, ShipwayError
from shipway.core.verdicts import Verdict
from shipway.entrypoints.failures import FAILURES, VERDICT_EXIT_CODES, failure_of

SOURCE = Path(__file__).parents[2] / "src" / "shipway"
ERRORS = [item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, ShipwayError)]
# What may stand straight below the root outside the tree, and why.
ROOTLESS = {
    "gateway/replies.py: RefusedError": "carries the HTTP answer itself and never leaves the gateway",
    "entrypoints/demo/shell.py: BrokenPromiseError": "the demo found Shipway wrong: exit code 3, as any defect",
}


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield path.relative_to(SOURCE).as_posix(), node


@pytest.mark.parametrize("error", [error for error in ERRORS if error is not ShipwayError])
def test_every_error_has_a_meaning_of_its_own_or_of_its_nearest_parent(error):
    decided_by = next(kind for kind, _ in FAILURES if issubclass(error, kind))

    assert decided_by is not ShipwayError
    nearest = next(parent for parent in error.__mro__ if parent in dict(FAILURES))
    assert decided_by is nearest


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_drawn_in_the_tree_below_its_parent(error):
    assert error.__doc__
    tree = {
        line.lstrip(" │├└─").split(" ")[0]: len(line) - len(line.lstrip(" │├└─"))
        for line in (errors.__doc__ or "").splitlines()
    }
    assert error.__name__ in tree
    if error is not ShipwayError:
        assert tree[error.__name__] - tree[error.__base__.__name__] == 4


def test_an_error_outside_the_tree_has_a_parent_in_it_that_says_what_it_means():
    rootless = {
        f"{path}: {node.name}"
        for path, node in classes()
        if path != "core/errors.py"
        and any(isinstance(base, ast.Name) and base.id == "ShipwayError" for base in node.bases)
    }

    assert rootless == set(ROOTLESS)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_refused_gate_leaves_with_the_code_of_its_verdict(verdict):
    assert failure_of(GateRefusedError(verdict, "no")).exit_code == VERDICT_EXIT_CODES[verdict]
    assert (VERDICT_EXIT_CODES[verdict] == 0) == (verdict is Verdict.PASS)


def test_no_failure_leaves_with_success():
    assert all(failure.exit_code in {1, 2, 3} and 400 <= failure.http_status < 600 for _, failure in FAILURES)
