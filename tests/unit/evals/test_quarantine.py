from datetime import date

import pytest

from shipway.config.yaml_source import parse_yaml
from shipway.core.errors import DatasetError
from shipway.evals.gate_spec import parse_gates
from shipway.evals.gates import GateOptions, evaluate_gates
from shipway.evals.quarantine import Quarantine, Quarantined, parse_quarantine

TODAY = date(2030, 1, 15)
NOBODY = Quarantine()
ENTRY = "quarantine:\n  - {case: a, owner: ann, until: 2030-01-31, reason: two right answers}\n"


def test_an_entry_has_a_case_an_owner_an_end_and_a_reason():
    (entry,) = parse_quarantine(parse_yaml(ENTRY, "q.yaml"), {"a", "b"}, TODAY).entries
    assert entry == Quarantined("a", "ann", date(2030, 1, 31), "two right answers")
    assert parse_quarantine(parse_yaml("", "q.yaml"), {"a"}, TODAY).cases == frozenset()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            ENTRY.replace("2030-01-31", "2030-01-14"),
            "q.yaml:2: quarantine[0].until: expired on 2030-01-14; mend the case",
        ),
        (
            ENTRY.replace("2030-01-31", "soon"),
            "q.yaml:2: quarantine[0].until: must be a date such as 2030-01-31, not 'so",
        ),
        (ENTRY.replace("case: a", "case: x"), "q.yaml:2: quarantine[0].case: no case 'x' in the dataset"),
        (ENTRY.replace("owner: ann, ", ""), "q.yaml:2: quarantine[0].owner: must be a text; a case is not put aside"),
        (ENTRY.replace("owner: ann", "ownr: ann"), "q.yaml:2: quarantine[0].ownr: unknown key; did you mean 'owner'?"),
        ("quarantine: a\n", "q.yaml:1: quarantine: must be a list"),
        ("quarantine: [a]\n", "q.yaml:1: quarantine[0]: must be {case, owner, until, reason}"),
        ("cases: []\n", "q.yaml:1: cases: unknown key"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text, line):
    with pytest.raises(DatasetError) as caught:
        parse_quarantine(parse_yaml(text, "q.yaml"), {"a"}, TODAY)
    assert caught.value.problems[0].startswith(line)


def gated(run_of, after, quarantine=NOBODY):
    before = run_of([[1.0] * 20] * 40)
    gates = parse_gates([{"metric": "correct", "non_regression": 0.3}])
    return evaluate_gates(gates, run_of([after] + [[1.0] * 20] * 39), before, GateOptions(quarantine=quarantine))


def test_a_case_that_got_worse_beyond_chance_is_a_warning_and_no_block(run_of):
    report = gated(run_of, [0.0] * 18 + [1.0] * 2)
    assert report.verdict == "PASS"
    assert report.warnings[1].startswith("case c0000: correct right in 2 of 20 repeats, before in 20 of 20; chance")


def test_a_case_that_failed_once_is_no_warning(run_of):
    assert gated(run_of, [0.0] * 2 + [1.0] * 18).warnings == ()


def test_a_quarantined_case_is_not_warned_about_but_stays_in_the_mean(run_of):
    aside = Quarantine((Quarantined("c0000", "ann", TODAY, "unsteady"),))
    report = gated(run_of, [0.0] * 20, aside)
    assert report.warnings == ("correct: worse than the baseline by 2.5 points",)
    assert report.rows[0].n == 40
