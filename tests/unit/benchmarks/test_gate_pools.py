"""Recorded pools are read only as they were committed, and arms drawn from them share no sample."""

import hashlib
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from shipway.evals.gate_spec import parse_gates
from shipway.evals.model import Case, Dataset

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
CASES = [Case(id=f"c{i:02}", question="?", must_contain=("x",), cluster=f"d{i // 2}") for i in range(40)]
GATES = parse_gates(
    [{"metric": "supported", "non_regression": "auto"}, {"metric": "correct", "non_regression": "auto"}]
)


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "gate_pools", raising=False)
    return importlib.import_module("gate_pools")


def recorded(folder, version, rate, samples=8):
    rng = np.random.default_rng(int(version[1]))
    with (folder / f"helpdesk-{version}.jsonl").open("w") as file:
        for sample in range(samples):
            for case in CASES:
                scores = {name: float(rng.random() < rate) for name in ("supported", "correct")}
                file.write(
                    json.dumps({"case": case.id, "sample": sample, "seed": sample, "text": "é", **scores}) + "\n"
                )
    return folder / f"helpdesk-{version}.jsonl.gz"


def test_a_packed_pool_has_the_same_bytes_whatever_the_order_of_recording(pools, tmp_path):
    packed = recorded(tmp_path, "v1", 0.8)
    first = pools.pack(tmp_path, tmp_path)
    lines = (tmp_path / "helpdesk-v1.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "helpdesk-v1.jsonl").write_text("".join(reversed(lines)))
    assert pools.pack(tmp_path, tmp_path) == first
    assert first == [f"{hashlib.sha256(packed.read_bytes()).hexdigest()}  helpdesk-v1.jsonl.gz"]
    pool = pools.read_pool(packed, CASES)
    assert (len(pool.cases), pool.samples) == (40, 8)


def test_a_pool_that_is_not_what_was_committed_is_refused(pools, tmp_path):
    packed = recorded(tmp_path, "v1", 0.8)
    pools.pack(tmp_path, tmp_path)
    packed.write_bytes(packed.read_bytes() + b"x")
    with pytest.raises(ValueError, match="but SHA256SUMS says"):
        pools.read_pool(packed, CASES)


def test_a_pool_with_a_sample_twice_or_missing_is_refused(pools, tmp_path):
    packed = recorded(tmp_path, "v1", 0.8)
    path = tmp_path / "helpdesk-v1.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[0]]))
    pools.pack(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="case c00 has sample 0 twice"):
        pools.read_pool(packed, CASES)
    path.write_text("".join(lines[1:]))
    pools.pack(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="case c00 lacks samples"):
        pools.read_pool(packed, CASES)


def test_a_line_that_a_stop_tore_is_recorded_again(pools, tmp_path):
    recorded(tmp_path, "v1", 0.8, samples=1)
    path = tmp_path / "helpdesk-v1.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert len(pools._mended(path)) == 39
    assert path.read_bytes().endswith(b"\n")
    assert pools._mended(tmp_path / "none.jsonl") == set()


def test_arms_of_one_decision_never_share_a_sample(pools):
    numbered = np.arange(40 * 9, dtype=np.float64).reshape(40, 9)
    pool = pools.AnswerPool(tuple(CASES), {"supported": numbered, "correct": numbered})
    for seed in range(20):
        new, old = pools.arms(pool, 4, np.random.default_rng(seed))
        together = np.concatenate([new.scores["supported"], old.scores["supported"]], axis=1)
        assert all(len(set(row)) == 8 for row in together.tolist())
        assert (new.scores["supported"] == new.scores["correct"]).all()


def test_most_decisions_have_discordant_cases_and_few_block(pools, tmp_path):
    packed = recorded(tmp_path, "v1", 0.7)
    pools.pack(tmp_path, tmp_path)
    found = pools.decide(GATES, (pools.read_pool(packed, CASES), None), 3, 200, 5)
    assert (found.decisions, found.discordant) == (200, 200)
    # 18 of 200 or more have probability 0.01 at a nominal 5 %.
    assert found.fail <= 17
    assert found.fail + found.passed + found.inconclusive == 200


def test_a_worse_prompt_is_blocked_and_a_better_one_is_not(pools, tmp_path):
    paths = [recorded(tmp_path, version, rate) for version, rate in (("v1", 0.7), ("v2", 0.8), ("v3", 0.3))]
    pools.pack(tmp_path, tmp_path)
    first, better, worse = (pools.read_pool(path, CASES) for path in paths)
    assert pools.decide(GATES, (better, first), 3, 50, 5).fail == 0
    found = pools.decide(GATES, (worse, first), 3, 50, 5)
    assert (found.fail, found.passed) == (50, 0)


def test_copies_prove_nothing_and_are_counted_as_such(pools):
    same = np.ones((40, 6))
    pool = pools.AnswerPool(tuple(CASES), {"supported": same, "correct": same})
    assert pools.decide(GATES, (pool, None), 3, 10, 5).discordant == 0


def test_answerable_test_cases_come_first(pools):
    cases = (
        Case(id="u", question="?", unanswerable=True),
        Case(id="b", question="?"),
        Case(id="a", question="?"),
        Case(id="k", question="?", split="calibration"),
    )
    assert [case.id for case in pools.chosen_cases(Dataset("d", cases))] == ["a", "b", "u"]
