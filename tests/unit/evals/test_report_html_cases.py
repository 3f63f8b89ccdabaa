import re
from dataclasses import replace

from tests.unit.evals.conftest import build_run
from tests.unit.evals.report_sources import html_of, source_of_scores

from shipway.evals.model import CaseResult, Output, ToolCall
from shipway.evals.report_html_cases import ANSWER_CHARS, MOST_CASES, cases_html
from shipway.evals.report_style import STYLE, TAG_FILTERS
from shipway.evals.report_tables import scored


def cases(source):
    document = "".join(cases_html(source, scored(source)))
    html_of(document)
    return document


def compared(before, after):
    """Return the cases of an evaluation in which one answer changed."""
    source = source_of_scores([0.0] * 30, [1.0] * 30)
    runs = [
        replace(run, results=(replace(run.results[0], output=output), *run.results[1:]))
        for run, output in ((source.run, after), (source.baseline_run, before))
    ]
    return cases(replace(source, run=runs[0], baseline_run=runs[1])).split("</details>\n")[0]


def test_both_answers_stand_side_by_side_with_what_differs_marked():
    document = compared(Output("within 30 days of delivery"), Output("within 14 days of delivery"))
    assert "<h3>baseline</h3>" in document
    assert '<div class="text" dir="auto">within <del>30</del> days of delivery</div>' in document
    assert '<div class="text" dir="auto">within <ins>14</ins> days of delivery</div>' in document


def test_what_is_marked_is_escaped():
    document = compared(Output("<b>one</b>"), Output("<b>two</b>"))
    assert "&lt;b&gt;<del>one</del>&lt;/b&gt;" in document


def test_a_long_answer_is_cut_with_a_note_and_the_files_size_is_bounded():
    document = compared(Output("a " * ANSWER_CHARS), Output("b"))
    assert f"{ANSWER_CHARS:,} more characters are left out; the JSON report has them" in document
    assert len(document) < 4 * ANSWER_CHARS


def test_an_answer_that_did_not_come_says_why():
    document = compared(Output("x"), Output(error="HTTP 503 <busy>"))
    assert '<p class="failure">no answer: HTTP 503 &lt;busy&gt;</p>' in document


def test_the_models_own_words_tools_and_sources_are_there():
    output = Output(
        "x", model_text="y", citations=("a.md",), tool_calls=(ToolCall("find", {"q": 1}),), latency_ms=1234.0
    )
    document = compared(Output("x"), replace(output, cached=True))
    for part in (
        "before it was repaired",
        "cites: a.md",
        "tools: find({&#x27;q&#x27;: 1})",
        "took: 1,234 ms, from the cache",
    ):
        assert part in document


def test_a_case_names_the_metrics_by_which_it_is_worse_and_why_a_score_is_missing():
    document = cases(source_of_scores(["timeout", *[0.0] * 29], [1.0] * 30))
    assert "worse: correct</span>" in document
    assert "correct not scored: timeout" in document


def test_of_many_cases_the_first_are_shown_and_the_page_says_so():
    document = cases(source_of_scores([1.0] * (MOST_CASES + 20)))
    assert f"The first {MOST_CASES} of {MOST_CASES + 20} cases; the JSON report has all." in document
    assert document.count('<details class="case') == MOST_CASES


def test_cases_for_calibration_are_not_shown():
    source = source_of_scores([1.0] * 30)
    kept = replace(
        source.run.dataset, cases=tuple(replace(case, split="calibration") for case in source.run.dataset.cases)
    )
    run = replace(source.run, dataset=kept, binding=replace(source.run.binding, dataset=kept.digest))
    assert "All 0 cases." in cases(replace(source, run=run))


def test_a_filter_hides_what_it_does_not_name_without_a_script():
    document = cases(source_of_scores([0.0] * 15 + [1.0] * 15, [1.0] * 30))
    buttons = re.findall(r'<input type="radio" name="(\w+)" id="([\w-]+)"( checked)?>', document)
    assert [name for _, name, checked in buttons if checked] == ["sign-all", "tag-all"]
    for _, name, _ in buttons:
        if not name.endswith("-all"):
            kind = name.replace("sign-", "is-")
            assert f"body:has(#{name}:checked) .case:not(.{kind}){{display:none}}" in STYLE
            assert re.search(rf'<details class="case [^"]*\b{kind}\b', document)


def test_the_commonest_tags_have_a_button():
    run = build_run([1.0] * 60, tags=[(f"t{number}",) for number in range(30)] + [("common",)] * 30)
    document = cases(replace(source_of_scores([1.0] * 60), run=run))
    assert document.count('name="tag"') == TAG_FILTERS + 1
    assert document.index(">common<") < document.index(">t0<")


def test_each_repeat_is_compared_with_the_same_repeat_of_the_baseline():
    document = cases(source_of_scores([[1.0, 0.0]] * 30, [[1.0, 1.0]] * 30)).split("</details>\n")[0]
    assert "baseline, repeat 2" in document
    assert "candidate, repeat 2" in document


def test_a_repeat_that_the_baseline_does_not_have_is_said():
    source = source_of_scores([[1.0, 0.0]] * 30, [[1.0, 1.0]] * 30)
    kept = tuple(result for result in source.baseline_run.results if result.repeat == 0)
    document = cases(replace(source, baseline_run=replace(source.baseline_run, results=kept)))
    assert "no answer of this repeat" in document


def test_a_result_without_scores_is_a_case_like_any_other():
    source = source_of_scores([1.0] * 30)
    bare = tuple(CaseResult(result.case_id, 0, {}) for result in source.run.results)
    assert 'class="case is-error' in cases(replace(source, run=replace(source.run, results=bare)))
