"""A run under way in lines: what runs, how long it took before, how long it takes yet."""

from shipway.core.verdicts import Verdict
from shipway.pipeline.graph import build_graph
from shipway.pipeline.live import LiveRun
from shipway.pipeline.model import StageEvent, StageResult, StageState
from shipway.pipeline.spec import StageSpec

GRAPH = build_graph(
    [
        StageSpec("lint", run=("x",)),
        StageSpec("build", run=("x",)),
        StageSpec("test", run=("x",), needs=("build",)),
        StageSpec("ship", run=("x",), needs=("test",)),
    ]
)
EXPECTED = {"lint": 2.0, "build": 10.0, "test": 5.0, "ship": 1.0}


def begun(live: LiveRun, name: str, now_s: float, attempt: int = 1) -> None:
    live.hear(StageEvent(name, StageState.RUNNING, attempt), now_s)


def settled(live: LiveRun, result: StageResult) -> None:
    live.hear(StageEvent(result.name, result.state, result.attempts, result), 0.0)


def passed(name: str, **settings: object) -> StageResult:
    return StageResult(name, StageState.PASSED, Verdict.PASS, 0, 2.0, 1, **settings)  # type: ignore[arg-type]


def test_stages_stand_below_what_they_need_with_their_times() -> None:
    live = LiveRun(GRAPH, EXPECTED, 2)
    begun(live, "lint", 0.0)
    settled(live, passed("lint"))
    begun(live, "build", 2.0, attempt=2)
    assert live.lines(5.0, 20) == [
        "✓ lint  2.0 s",
        "▶ build  3.0 s of about 10.0 s (attempt 2)",
        "  · test",
        "    · ship",
        "1 of 4 stages done, 1 running, about 13.0 s left",
    ]


def test_the_time_left_is_that_of_the_longest_chain_or_of_all_divided_by_the_processors() -> None:
    assert LiveRun(GRAPH, EXPECTED, 2).left_s(0.0) == 16.0
    assert LiveRun(GRAPH, EXPECTED, 1).left_s(0.0) == 18.0


def test_a_stage_that_takes_longer_than_ever_has_nothing_left() -> None:
    live = LiveRun(GRAPH, EXPECTED, 4)
    begun(live, "build", 0.0)
    assert live.left_s(100.0) == 6.0


def test_nobody_knows_the_time_left_of_a_stage_that_never_ran() -> None:
    live = LiveRun(GRAPH, {"build": 1.0}, 2)
    assert live.left_s(0.0) is None
    assert live.footer(0.0) == "0 of 4 stages done, 0 running"


def test_stages_that_are_left_out_are_neither_shown_nor_counted() -> None:
    live = LiveRun(GRAPH, EXPECTED, 2)
    settled(live, StageResult("ship", StageState.SKIPPED, allowed=True, problem="runs on push"))
    assert [line.split()[1] for line in live.lines(0.0, 20)[:-1]] == ["lint", "build", "test"]
    assert live.footer(0.0).startswith("0 of 3 stages done")


def test_where_there_is_little_room_only_what_runs_and_what_failed_is_shown() -> None:
    live = LiveRun(GRAPH, EXPECTED, 2)
    begun(live, "build", 0.0)
    settled(live, StageResult("lint", StageState.FAILED, Verdict.FAIL, 1, 1.0, 1, problem="exit code 1"))
    assert live.lines(1.0, 4) == [
        "✗ lint  1.0 s  exit code 1",
        "▶ build  1.0 s of about 10.0 s",
        "1 of 4 stages done, 1 running, about 15.0 s left",
    ]


def test_what_comes_from_the_cache_says_so() -> None:
    live = LiveRun(GRAPH, EXPECTED, 2)
    settled(live, StageResult("lint", StageState.PASSED, Verdict.PASS, known="cache"))
    assert live.lines(0.0, 20)[0] == "✓ lint  from cache"
