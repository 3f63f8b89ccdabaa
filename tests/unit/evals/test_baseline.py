import pytest

from shipway.core.canonical import digest_json
from shipway.core.errors import GateRefusedError
from shipway.core.verdicts import Verdict
from shipway.evals.baseline import bind, comparable, demand_comparable, metric_code_digest, source_digest
from shipway.evals.model import Binding, Case, Dataset

DATASET = Dataset("d", (Case(id="a", question="?"),))
A = bind(DATASET, corpus=digest_json("corpus"))


def test_equal_bindings_are_comparable():
    assert comparable(A, bind(DATASET, corpus=digest_json("corpus"))) == []


@pytest.mark.parametrize("name", ["dataset", "corpus", "judge", "metrics"])
def test_a_digest_that_differs_is_named_and_refused(name):
    values = {key: getattr(A, key) for key in ("dataset", "corpus", "judge", "metrics")}
    other = Binding(**{**values, name: digest_json("other")})
    assert comparable(A, other) == [f"{name}: {getattr(A, name)} against {digest_json('other')}"]
    with pytest.raises(GateRefusedError, match=f"not comparable; {name}: ") as caught:
        demand_comparable(A, other)
    assert caught.value.verdict is Verdict.ERROR
    demand_comparable(A, other, expected={name})


def test_a_binding_without_a_judge_is_not_that_of_a_run_with_one():
    assert comparable(A, bind(DATASET, corpus=digest_json("corpus"), judge=digest_json("small-judge")))


def test_comments_blank_lines_and_line_ends_do_not_change_the_code():
    assert source_digest(["x = 1\n\n# why\ny = 2  \r\n"]) == source_digest(["x = 1\ny = 2\n"])


def test_code_indentation_and_file_borders_do():
    digests = {source_digest(texts) for texts in (["a\nb"], ["a", "b"], ["a\n b"], ["a\nc"])}
    assert len(digests) == 4


def test_the_metric_code_has_a_digest():
    assert metric_code_digest().startswith("sha256:")
    assert metric_code_digest() == A.metrics


def test_a_baseline_of_another_judge_is_refused_with_the_digest_that_differs():
    ours, theirs = (digest_json({"judge": name}) for name in ("small", "large"))
    runs = [bind(DATASET, corpus=digest_json("corpus"), judge=judge) for judge in (ours, theirs)]
    with pytest.raises(GateRefusedError) as caught:
        demand_comparable(runs[0], runs[1])
    assert caught.value.message == f"candidate and baseline are not comparable; judge: {ours} against {theirs}"
    assert "Rerun the baseline release" in caught.value.hint
