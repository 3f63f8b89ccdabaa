import pytest

from shipway.core.clock import ManualClock
from shipway.entrypoints.cli.progress import duration, evaluation_progress, now_and_then, said_of
from shipway.evals.runner import Progress


def call(done, **more):
    return Progress(done, 100, "t", "c", 0, None, **more)


def test_a_line_comes_every_half_minute_and_none_of_a_short_run():
    clock, lines = ManualClock(), []
    update = now_and_then(lines.append, clock.monotonic_s)
    for done in range(1, 100):
        update(call(done, eta_s=60.0))
        clock.advance(1.0)
    assert [line.split()[1] for line in lines] == ["31", "61", "91"]
    assert lines[0] == "evaluating: 31 of 100 calls 1 min left"


def test_what_is_known_is_said():
    assert said_of(call(3)) == ""
    everything = call(3, errors=2, cost_usd=0.01234, concurrency=8, eta_s=4000.0)
    assert said_of(everything) == "2 failed · $0.0123 · 8 at a time · 1 h 7 min left"


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (90, "2 min"), (7500, "2 h 5 min")])
def test_times_are_in_words(seconds, said):
    assert duration(seconds) == said


def test_nothing_is_shown_where_nothing_is_wanted(capsys):
    with evaluation_progress(shown=False) as update:
        update(call(1))
    assert capsys.readouterr() == ("", "")
