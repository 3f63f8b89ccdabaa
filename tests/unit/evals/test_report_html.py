import re
from dataclasses import replace

from tests.unit.evals.conftest import build_run
from tests.unit.evals.report_sources import html_of, source_of_scores, source_of_text

from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow, Needed
from shipway.evals.report_html import POLICY, html


def page(source):
    return "".join(html(source))


def words(source):
    return " ".join(" ".join(html_of(page(source)).words).split())


def test_the_page_asks_the_network_for_nothing_and_runs_no_script():
    document = page(source_of_scores([0.0] * 30 + [1.0] * 30, [1.0] * 60))
    reader = html_of(document)
    assert ("content", POLICY) in reader.attributes
    assert POLICY.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert re.findall(r"url\(|@import|https?:|<script|javascript:|\bsrc=|\bhref=", document) == []


def test_a_gate_shows_its_interval_what_it_can_see_and_what_would_decide():
    row = GateRow(
        "correct >= 0.8",
        "correct",
        "threshold",
        Verdict.INCONCLUSIVE,
        value=0.85,
        limit=0.8,
        n=20,
        n_clusters=20,
        interval=(0.62, 0.97),
        mde=0.23,
        needed=Needed(312, None, ""),
        reason="the contract says so",
    )
    said = words(source_of_scores([1.0] * 20, gates=GateReport((row,))))
    for part in (
        "INCONCLUSIVE correct >= 0.8 0.850",
        "95 % interval 0.620 to 0.970; limit 0.800; a change of 0.230 is found four times in five",
        "292 more cases would decide",
        "Why: the contract says so",
    ):
        assert part in said


def test_the_drawing_of_an_interval_has_what_it_was_compared_with():
    document = page(source_of_scores([0.0, 1.0] * 30, [1.0] * 60))
    labels = re.findall(r'aria-label="([^"]+)"', document)
    assert len(labels) == 2
    assert all(re.fullmatch(r"interval -?[\d.]+ to -?[\d.]+, estimate -?[\d.]+", label) for label in labels)
    assert document.count('class="limit"') == 2
    numbers = [float(found) for found in re.findall(r' (?:x1|x2|cx|x)="(-?[\d.]+)"', document)]
    assert all(0 <= number <= 400 for number in numbers)


def test_an_interval_without_width_is_drawn():
    row = GateRow("g", "m", "threshold", Verdict.PASS, value=1.0, limit=1.0, n=2, interval=(1.0, 1.0))
    html_of(page(source_of_scores([1.0] * 30, gates=GateReport((row,)))))


def test_tables_by_tag_and_by_cluster_have_means_intervals_and_what_it_was_before():
    source = source_of_scores([1.0, 0.0] * 15, [1.0] * 30)
    source = replace(source, run=build_run([1.0, 0.0] * 15, per_cluster=3, tags=(("pdf",), ("html",))))
    said = words(replace(source, baseline_run=build_run([1.0] * 30, per_cluster=3, tags=(("pdf",), ("html",)))))
    assert re.search(r"By tag tag cases correct html 15 0\.000 0\.000 … 0\.[23]\d\d before 1\.000", said)
    assert re.search(
        r"By cluster .* 10 clusters cluster cases correct doc0 3 0\.667 0\.\d+ … 0\.\d+ before 1\.000", said
    )


def test_a_first_release_has_no_empty_columns_of_a_baseline():
    said = words(source_of_scores([1.0] * 30))
    assert "thresholds alone (first release)" in said
    assert "metric candidate better is" in said
    assert "before" not in said.split("By cluster")[0]


def test_a_report_without_gates_says_that_nothing_was_judged():
    assert "No gate: nothing was judged." in words(source_of_scores([1.0] * 30, gates=GateReport(())))


def test_provenance_and_digests_are_shown():
    source = source_of_scores([1.0] * 30)
    run = replace(source.run, provenance={"seed": 7, "hardware": {"cpu": "8 cores"}})
    said = words(replace(source, run=run, cost={"usd": 0.5, "tokens_in": 12_000}))
    for part in ("seed 7", "hardware.cpu 8 cores", source.run.binding.dataset, "cost 0.5000 USD", "tokens read 12,000"):
        assert part in said


def test_a_cost_that_nobody_told_is_not_known_and_not_left_out():
    source = replace(source_of_scores([1.0] * 30), cost={"calls": 30, "tokens_in": 0, "judge_calls": 3})
    said = words(source)
    assert "cost not known" in said
    assert "cost of judging not known" in said
    assert "not known" not in words(replace(source, cost={"calls": 30, "usd": 0.0}))


def test_a_metric_that_this_version_does_not_know_is_shown_as_it_is():
    source = source_of_text("of another tool")
    assert "of another tool" in words(source)
