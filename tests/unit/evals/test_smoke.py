"""Smoke checks: what they say of answers, and how they are written."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.core.findings import FindingReport, findings_lines
from shipway.core.verdicts import Verdict
from shipway.evals.contracts.source import read_source
from shipway.evals.findings import as_results
from shipway.evals.smoke import (
    KINDS,
    NO_GUARD,
    Deployed,
    KnownDocument,
    SmokeAnswer,
    SmokeCheck,
    answer_hash,
    default_checks,
    judge,
    list_items,
    metric_totals,
    parse_smoke,
)


def check(kind, **expected):
    return SmokeCheck("c", kind, "chat", "p", expected)


def verdict(made, text, second=None, **fields):
    (finding,) = judge(made, SmokeAnswer(text, **fields), second)
    return finding.verdict


def parsed(text):
    return parse_smoke(read_source(text.encode(), "smoke.yaml"))


def refusal(text):
    with pytest.raises(UsageError) as refused:
        parsed(text)
    return str(refused.value).splitlines()


def test_a_pinned_answer_must_be_the_same_to_the_byte():
    pinned = check("exact_hash", sha256=hashlib.sha256(b"Paris.").hexdigest())
    assert verdict(pinned, "Paris.") is Verdict.PASS
    assert verdict(pinned, "Paris. ") is Verdict.FAIL


def test_another_answer_says_the_hash_that_it_has():
    (finding,) = judge(check("exact_hash", sha256="0" * 64), SmokeAnswer("Paris"))
    assert answer_hash("Paris") in finding.message
    assert "'Paris'" in finding.message


def test_without_a_pin_two_answers_are_compared_and_the_hash_is_told():
    first = SmokeAnswer("a")
    (same,) = judge(check("exact_hash"), first, SmokeAnswer("a"))
    assert (same.verdict, same.message) == (Verdict.PASS, f"pin it: sha256: {answer_hash('a')}")
    assert verdict(check("exact_hash"), "a", SmokeAnswer("b")) is Verdict.FAIL


def test_an_answer_from_the_cache_proves_nothing_about_the_model():
    assert verdict(check("exact_hash"), "a", SmokeAnswer("a", is_cached=True)) is Verdict.NO_DATA


@pytest.mark.parametrize(
    ("text", "right"),
    [("It is PARIS!", True), ("It is Lyon.", False)],
)
def test_contains_looks_for_the_text_in_any_case(text, right):
    made = check("contains", contains=["Paris"])
    assert verdict(made, text) is (Verdict.PASS if right else Verdict.FAIL)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("red, green and blue", 3),
        ("Red, green, and blue.", 3),
        ("- red\n- green\n- blue", 3),
        ("Here they are:\n1. red\n2. green\n3. blue\n", 3),
        ("red\ngreen\nblue", 3),
        ("red", 1),
        ("", 0),
        ("* red\n* green", 2),
    ],
)
def test_items_are_marked_lines_or_what_commas_and_lines_divide(text, items):
    assert len(list_items(text)) == items
    assert verdict(check("items", count=items or 1), text) is (Verdict.PASS if items else Verdict.FAIL)


def test_known_words_are_counted_once_each_whatever_stands_around_them():
    three = check("items", count=3, words=["red", "green", "blue", "white"])
    assert verdict(three, "Sure! Red is a colour, so are green and blue. Red!") is Verdict.PASS
    assert verdict(three, "red, green") is Verdict.FAIL
    assert verdict(three, "red, green, blue, white") is Verdict.FAIL
    assert verdict(three, "reddish, greenery, bluer") is Verdict.FAIL


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('{"ok": true}', True),
        ("[1]", True),
        ("```json\n{}\n```", False),
        ("NaN", False),
        ("", False),
        ("{'a': 1}", False),
    ],
)
def test_json_is_the_whole_answer_or_it_is_none(text, right):
    assert verdict(check("json"), text) is (Verdict.PASS if right else Verdict.FAIL)


def test_json_may_have_to_obey_a_schema():
    (finding,) = judge(check("json", schema={"required": ["ok"]}), SmokeAnswer('{"no": 1}'))
    assert (finding.verdict, finding.message) == (Verdict.FAIL, '/: "ok" is a required property')


@pytest.mark.parametrize(
    ("text", "citations", "right"),
    [
        ("30 days [1].", {1: "returns.md"}, True),
        ("30 days [1].", {1: "other.md"}, False),
        ("30 days [2].", {2: "returns.md"}, False),
        ("30 days.", {1: "returns.md"}, False),
        ("30 days [1].", {}, False),
        ("30 days [1].", None, False),
    ],
)
def test_a_known_document_is_cited_as_1(text, citations, right):
    made = check("citation", document="returns.md")
    assert verdict(made, text, citations=citations) is (Verdict.PASS if right else Verdict.FAIL)


def test_a_refusal_is_what_the_route_says_else_what_reads_as_one():
    assert verdict(check("refusal"), "I'm sorry, but I cannot help with that.") is Verdict.PASS
    assert verdict(check("refusal"), "Take two wires.") is Verdict.FAIL
    assert verdict(check("refusal"), "Nein.", is_refusal=True) is Verdict.PASS


def test_an_answer_longer_than_the_limit_is_a_finding_of_its_own():
    findings = judge(check("contains", contains=["a"]), SmokeAnswer("a", tokens_out=101))
    assert [(item.rule, item.verdict) for item in findings] == [
        ("smoke/contains", Verdict.PASS),
        ("smoke/tokens", Verdict.FAIL),
    ]
    assert findings[1].message == "101 tokens, though max_tokens was 100"


def test_gates_can_judge_smoke_checks():
    report = FindingReport("smoke", "1", tuple(judge(check("json"), SmokeAnswer("{}"))))
    assert as_results(report, "smoke.pass")[0].scores == {"smoke.pass": 1.0}


def test_a_file_of_checks_is_read_with_its_lines():
    first, second = parsed(
        "- {name: capital, kind: contains, route: chat, prompt: 'Capital?', contains: Paris, max_tokens: 20}\n"
        "- {name: counted, kind: counters}\n"
    )
    assert (first.expected, first.max_tokens, first.timeout_s, first.location) == (
        {"contains": ["Paris"]},
        20,
        30.0,
        "smoke.yaml:1",
    )
    assert (second.kind, second.location) == ("counters", "smoke.yaml:2")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1", "smoke.yaml:1: expected a list of checks: `- name: …`, with kind and prompt below"),
        ("- 1", "smoke.yaml:1: expected a mapping with name, kind and prompt"),
        ("- {name: a, kind: jsn}", "smoke.yaml:1: kind: there is no kind 'jsn'; did you mean 'json'?"),
        ("- {kind: json, prompt: p}", "smoke.yaml:1: name: a text is needed, got None"),
        ("- {name: a, kind: json}", "smoke.yaml:1: prompt: a text is needed: what is asked"),
        (
            "- {name: a, kind: json, prompts: p, prompt: p}",
            "smoke.yaml:1: prompts: unknown key of kind json; did you mean 'prompt'?",
        ),
        (
            "- {name: a, kind: counters, prompt: p}",
            "smoke.yaml:1: prompt: unknown key of kind counters; known: families, kind, name",
        ),
        (
            "- {name: a, kind: contains, prompt: p}",
            "smoke.yaml:1: contains: a text is needed that the answer must hold",
        ),
        ("- {name: a, kind: items, prompt: p}", "smoke.yaml:1: count: how many items the answer must have, got None"),
        (
            "- {name: a, kind: exact_hash, prompt: p, sha256: abc}",
            "smoke.yaml:1: sha256: 64 characters of 0-9 and a-f, got 'abc'",
        ),
        ("- {name: a, kind: json, prompt: p, schema: 5}", "smoke.yaml:1: schema: a JSON Schema is an object, got '5'"),
        (
            "- {name: a, kind: json, prompt: p, max_tokens: 400}",
            "smoke.yaml:1: max_tokens: from 1 to 100, got 400: a smoke test is short; `shipway eval run` has time",
        ),
        (
            "- {name: a, kind: json, prompt: p, timeout_s: 31}",
            "smoke.yaml:1: timeout_s: from 1 to 30, got 31: a smoke test is short; `shipway eval run` has time",
        ),
        (
            "- {name: a, kind: record}\n- {name: a, kind: trace}",
            "smoke.yaml:2: name: 'a' is already the name of another check",
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_field(text, line):
    assert refusal(text) == [line]


def test_the_default_suite_fits_what_is_deployed():
    known = KnownDocument("May I return it?", "returns.md", "acme", ("staff",))
    checks, notes = default_checks(Deployed({"chat": "chat", "ask": "rag"}, known, is_traced=True))
    assert [item.kind for item in checks] == [
        *("exact_hash", "contains", "items", "json", "refusal"),
        *("refusal", "citation", "counters", "record", "trace"),
    ]
    cites = checks[6]
    assert (cites.prompt, cites.expected, cites.tenant, cites.groups) == (
        "May I return it?",
        {"document": "returns.md"},
        "acme",
        ("staff",),
    )
    assert notes == ["agent: agents come with a later version; nothing was tried", NO_GUARD]
    assert {item.kind for item in checks} | {"agent"} == set(KINDS)
    assert len({item.name for item in checks}) == len(checks)


def test_what_the_default_suite_leaves_out_is_said():
    checks, notes = default_checks(Deployed({"ask": "rag", "svc": "http"}, None, is_gateway=False))
    assert [item.kind for item in checks] == ["refusal"]
    assert [note.partition(":")[0] for note in notes] == [
        "agent",
        "refusal",
        "citation",
        "route svc is of kind http",
        "counters, record, trace",
    ]


def test_a_metric_is_summed_over_its_labels():
    text = '# HELP a b\na_total{worker="0",x="} 5"} 2\na_total{worker="1"} 3.5 1700000000\nb 7\nbroken\n'
    assert metric_totals(text) == {"a_total": 5.5, "b": 7.0}


@given(st.text(max_size=200))
def test_any_exposition_is_read_without_an_error(text):
    assert all(isinstance(value, float) for value in metric_totals(text).values())


@given(st.text(max_size=200), st.sampled_from(["contains", "items", "json", "citation", "refusal"]))
def test_any_answer_gets_a_verdict(text, kind):
    expected = {"contains": ["x"], "count": 2}
    made = SmokeCheck("c", kind, "r", "p", expected)
    assert verdict(made, text, citations={1: "a"}) in {Verdict.PASS, Verdict.FAIL}


def test_the_checks_of_the_example_can_be_read_and_name_its_routes_and_documents():
    example = Path(__file__).parents[3] / "examples" / "helpdesk"
    checks = parse_smoke(read_source((example / "evals" / "smoke.yaml").read_bytes(), "smoke.yaml"))
    routes = read_source((example / "shipway.yaml").read_bytes(), "shipway.yaml").value["routes"]
    assert {check.route for check in checks if check.prompt} <= set(routes)
    cited = [check.expected["document"] for check in checks if check.kind == "citation"]
    assert [document for document in cited if not (example / "docs" / document).is_file()] == []
    assert cited


OPEN = '- {{ name: harm, kind: refusal, route: chat, prompt: "Harm?", open: {} }}\n'


def test_an_open_check_that_fails_is_told_and_decides_nothing():
    (made,) = parsed(OPEN.format("no guard yet"))
    (finding,) = judge(made, SmokeAnswer("Take a hammer."))
    assert finding.verdict is Verdict.FAIL
    assert finding.message == "the answer is no refusal: 'Take a hammer.' (expected: no guard yet)"
    other = judge(check("contains", contains=["a"]), SmokeAnswer("a"))
    report = FindingReport("smoke", "1", (finding, *other))
    assert report.verdict is Verdict.PASS
    assert findings_lines(report) == [f"smoke.yaml:1: open smoke/refusal 'harm': {finding.message}"]
    assert FindingReport("smoke", "1", (finding,)).verdict is Verdict.NO_DATA


def test_an_open_check_that_passes_says_that_it_is_no_longer_open():
    (made,) = parsed(OPEN.format("no guard yet"))
    (finding,) = judge(made, SmokeAnswer("I cannot help with that."))
    assert (finding.verdict, finding.message) == (Verdict.PASS, "it passes now: remove `open`")


@pytest.mark.parametrize("reason", ["true", "3", '" "', "[a]"])
def test_what_is_open_has_a_reason(reason):
    (line,) = refusal(OPEN.format(reason))
    assert line.startswith("smoke.yaml:1: open: a text is needed: why the check is expected to fail for now")


def test_the_suite_that_fits_the_app_says_that_nothing_guards_it():
    for kind in ("chat", "rag"):
        checks, notes = default_checks(Deployed({"r": kind}))
        assert [made.open for made in checks if made.kind == "refusal"] == [""]
        assert any(note.startswith("refusal: no guard is configured") for note in notes)
    assert not any("no guard" in note for note in default_checks(Deployed({"r": "http"}))[1])
