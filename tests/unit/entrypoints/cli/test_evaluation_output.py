from dataclasses import replace

import pytest
import typer
from tests.unit.evals.report_sources import source_of_scores

from shipway.entrypoints.cli.evaluation_output import estimate_lines, estimate_value, finish
from shipway.evals.budget import Estimate, Spent
from shipway.services.evaluations import Evaluation


class Unreadable(tuple):
    __slots__ = ()

    def __iter__(self):
        raise OSError(5, "Input/output error")


def test_what_keeps_several_reports_from_being_written_is_said_once(tmp_path, capsys):
    source = source_of_scores([1.0] * 30)
    broken = replace(source.run, results=Unreadable(source.run.results))
    done = Evaluation("eval_1", "rel_1", None, source.gates, broken, None, (), whole=False)

    with pytest.raises(typer.Exit) as left:
        finish(done, {"html": tmp_path / "h", "json": tmp_path / "j"}, 5, as_json=False)

    assert left.value.exit_code == 3
    assert capsys.readouterr().err.count("the answers of the run cannot be read: Input/output error") == 1


def test_an_estimate_tells_what_is_not_known():
    found = Estimate(Spent(3, 30, 0, None), "the questions", "write max_tokens")
    assert estimate_lines(found)[2:] == [
        "tokens out  not known",
        "cost        not known",
        "by          the questions",
        "write max_tokens",
    ]
    assert estimate_value(found)["tokens_out"] is None
