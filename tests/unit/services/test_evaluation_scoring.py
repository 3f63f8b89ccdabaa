import sys
from types import SimpleNamespace

import pytest

from shipway.evals.assertions import CaseError
from shipway.evals.metrics import METRICS
from shipway.evals.model import Case, Dataset
from shipway.services.evaluation_scoring import load_scoring


@pytest.fixture
def app(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "own_checks", raising=False)
    yield SimpleNamespace(loaded=SimpleNamespace(root=tmp_path))
    sys.modules.pop("own_checks", None)


def calling(path):
    return Dataset("d", (Case(id="a", question="A?", assertions=({"type": "python", "value": path},)),))


async def test_functions_of_assertions_are_looked_for_in_the_projects_folder(app, tmp_path):
    (tmp_path / "own_checks.py").write_text("def fine(case, output):\n    return True\n")
    before = list(sys.path)
    found = await load_scoring(app, calling("own_checks:fine"), METRICS)
    assert found.assertions.functions["own_checks:fine"].__name__ == "fine"
    assert sys.path == before


async def test_a_module_that_breaks_when_it_is_imported_is_refused_with_its_line(app, tmp_path):
    (tmp_path / "own_checks.py").write_text("\nfine = missing\n")
    with pytest.raises(CaseError, match=r"case 'a': .*NameError: name 'missing' is not defined \(own_checks.py:2\)"):
        await load_scoring(app, calling("own_checks:fine"), METRICS)
