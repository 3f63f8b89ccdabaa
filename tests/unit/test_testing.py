"""`@shipway.case`: what it keeps of what it is given, and what it loads."""

import subprocess
import sys

import pytest

import shipway
from shipway.testing import MARK, CaseMark, case


def mark_of(decorate):
    @decorate
    def test():
        pass

    return getattr(test, MARK)


def test_the_mark_keeps_what_it_was_given():
    found = mark_of(case(dataset="evals/cases.jsonl", id="a", metrics="correct", repeats=3))

    assert found == CaseMark("evals/cases.jsonl", ("a",), (("correct", None),), 3)


def test_metrics_may_have_limits():
    assert mark_of(case(metrics={"ndcg_at_5": 0.8, "correct": None})).metrics == (("ndcg_at_5", 0.8), ("correct", None))
    assert mark_of(case(metrics=["correct", "refused"])).metrics == (("correct", None), ("refused", None))


def test_brackets_may_be_left_out():
    assert mark_of(case) == mark_of(case()) == CaseMark()


def test_fewer_than_one_repeat_is_refused_where_it_is_written():
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        case(repeats=0)


def test_the_package_has_it_under_its_own_name_and_nothing_else_that_is_not_there():
    assert shipway.case is case
    with pytest.raises(AttributeError, match="has no attribute 'cas'"):
        shipway.cas  # noqa: B018


def test_importing_the_package_loads_nothing_and_the_mark_the_standard_library_alone():
    script = (
        "import sys\nbefore = set(sys.modules)\nimport shipway\nfirst = set(sys.modules) - before\nshipway.case\n"
        "print(sorted(first)); print(sorted({n.split('.')[0] for n in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    first, after = (eval(line) for line in done.stdout.splitlines())  # noqa: S307 - two lists that it printed itself

    assert [name for name in first if name.startswith("shipway")] == ["shipway"]
    assert set(after) - set(sys.stdlib_module_names) == {"shipway"}
