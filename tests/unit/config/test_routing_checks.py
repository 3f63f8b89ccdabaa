import pytest

PROJECT = """app: shop
models:
  primary: {{ engine: openai, model: large, base_url: "http://127.0.0.1:1/v1" }}
  lowlat: {{ engine: openai, model: medium, base_url: "http://127.0.0.1:2/v1" }}
  small: {{ engine: echo, model: echo }}
prompts: {{ short: short.yaml }}
routes:
  rag_long: {{ kind: chat, model: small }}
  chat_short: {{ kind: chat, model: small }}
  service: {{ kind: http, url: "http://127.0.0.1:3" }}
routing:
{routing}
"""
FIRST = 12


def project(*lines: str) -> str:
    return PROJECT.format(routing="\n".join(f"  {line}" for line in lines))


def test_the_documented_example_is_valid(load):
    routing = load(
        project(
            "default: small",
            "rules:",
            "  - { route: rag_long, to: primary }",
            "  - { route: chat_short, to: lowlat }",
            "splits: { mixed: { primary: 90, lowlat: 10 } }",
            "fallbacks: { primary: [lowlat, small] }",
            "escalate: { small: { to: primary } }",
            'replicas: { primary: { base_urls: ["http://127.0.0.1:9/v1"] } }',
        )
    ).project.routing
    assert routing.escalate["small"].above == 0.5


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        (["default: hugo"], 0, "routing.default: 'hugo' is not in models or routing.splits"),
        (["rules:", "  - { to: nobody }"], 1, "routing.rules[0].to: 'nobody' is not in models"),
        (["rules:", "  - { route: nowhere, to: small }"], 1, "routing.rules[0].route: 'nowhere' is not in routes"),
        (["rules:", "  - { route: service, to: small }"], 1, "of kind http, which has no model"),
        (["rules:", "  - { prompt: long }"], 1, "routing.rules[0].prompt: 'long' is not in prompts"),
        (["rules:", "  - { route: rag_long }"], 1, "a rule needs `to`"),
        (["rules:", "  - { min_chars: 9, max_chars: 3, to: small }"], 1, "min_chars 9 is above max_chars 3"),
        (["rules:", "  - { to: small }", "  - { tenant: a, to: lowlat }"], 2, "rules[1]: can never match: rules[0]"),
        (["splits: { mixed: { primary: 90, lowlat: 20 } }"], 0, "routing.splits.mixed: the weights sum to 110"),
        (["splits: { mixed: { primary: 0.5, nobody: 0.5 } }"], 0, "'nobody' is not in models"),
        (["splits: { small: { primary: 1 } }"], 0, "'small' is a key of models already"),
        (
            ["fallbacks:", "  primary: [lowlat]", "  lowlat: [small]", "  small: [primary]"],
            1,
            "the fallbacks go in a circle: primary -> lowlat -> small -> primary",
        ),
        (["fallbacks: { primary: [primary] }"], 0, "in a circle: primary -> primary"),
        (["fallbacks: { primary: [nobody] }"], 0, "routing.fallbacks.primary[0]: 'nobody' is not in models"),
        (["escalate: { small: { to: small } }"], 0, "cannot escalate to itself"),
        (
            ["escalate: { small: { to: lowlat }, lowlat: { to: primary } }"],
            0,
            "'lowlat' escalates too; one step is all there is",
        ),
        (["escalate: { small: { to: lowlat, above: 1.5 } }"], 0, "must be at most 1, not 1.5"),
        (['replicas: { small: { base_urls: ["http://x/v1"] } }'], 0, "is started by `shipway up`"),
        (['replicas: { primary: { base_urls: ["x:1"] } }'], 0, "is not an address"),
        (["rule: []"], 0, "routing.rule: unknown key; did you mean 'rules'?"),
    ],
)
def test_what_cannot_work_is_refused_with_file_line_and_key(problems, lines, line, said):
    found = problems(project(*lines))
    assert any(said in problem and problem.startswith(f"shipway.yaml:{FIRST + line}: ") for problem in found), found


def test_each_circle_is_named_once(problems):
    found = problems(project("fallbacks: { primary: [lowlat], lowlat: [primary] }"))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("earlier", "later", "covered"),
    [
        ("tenant: [a, b]", "tenant: a", True),
        ("tenant: a", "tenant: [a, b]", False),
        ("min_chars: 10", "min_chars: 20, max_chars: 30", True),
        ("header: { x-a: b }", "header: { x-a: b, x-c: d }", True),
        ("header: { x-a: b }", "header: { x-a: c }", False),
        ("flag: f", "flag: f, tenant: a", True),
        ("flag: f", "tenant: a", False),
        ("route: rag_long", "route: [rag_long, chat_short]", False),
        ("route: [rag_long, chat_short]", "route: rag_long", True),
        ("min_complexity: 0.5", "min_complexity: 0.4", False),
    ],
)
def test_a_rule_is_refused_exactly_when_an_earlier_one_takes_all_of_it(load, problems, earlier, later, covered):
    text = project("rules:", f"  - {{ {earlier}, to: primary }}", f"  - {{ {later}, to: lowlat }}")
    if covered:
        assert "can never match" in problems(text)[0]
    else:
        assert len(load(text).project.routing.rules) == 2


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            ["min_chars: 10, max_chars: 25, to: small", "min_chars: 20, max_chars: 30, to: lowlat"],
            "rules[1]: overlaps rules[0], which decides for chars 20 to 25 too",
        ),
        (["max_tokens: 100, to: small", "min_tokens: 50, to: lowlat"], "overlaps rules[0]"),
        (
            ["route: rag_long, max_complexity: 0.6, to: small", "route: rag_long, min_complexity: 0.5, to: lowlat"],
            "for complexity 0.5 to 0.6 too",
        ),
        (["max_chars: 25, to: small", "min_chars: 20, to: small"], None),
        (["max_chars: 25, to: small", "min_chars: 25, to: lowlat"], None),
        (["max_chars: 25, to: small", "min_chars: 20, tenant: a, to: lowlat"], None),
        (["min_chars: 900, to: primary", "min_chars: 90, to: lowlat"], None),
    ],
    ids=["both-ends", "open-ends", "complexity", "same-target", "touching", "other-condition", "nested"],
)
def test_rules_whose_ranges_cross_are_refused_because_their_order_would_decide_by_chance(load, problems, rules, said):
    text = project("rules:", *(f"  - {{ {rule} }}" for rule in rules))
    if said is None:
        assert len(load(text).project.routing.rules) == 2
    else:
        (found,) = problems(text)
        assert found.startswith(f"shipway.yaml:{FIRST + 2}: ")
        assert said in found


@pytest.mark.parametrize(
    ("rules", "covered"),
    [
        (["max_chars: 100, to: small", "min_chars: 101, to: lowlat", "to: primary"], True),
        (["max_chars: 100, to: small", "min_chars: 102, to: lowlat", "to: primary"], False),
        (["max_complexity: 0.5, to: small", "min_complexity: 0.5, to: lowlat", "tenant: a, to: primary"], True),
        (["max_chars: 100, tenant: a, to: small", "min_chars: 101, to: lowlat", "to: primary"], False),
    ],
    ids=["next-to-each-other", "a-gap", "at-a-point", "one-of-a-tenant"],
)
def test_a_rule_is_refused_when_several_before_it_take_all_of_it_together(load, problems, rules, covered):
    text = project("rules:", *(f"  - {{ {rule} }}" for rule in rules))
    if covered:
        (found,) = problems(text)
        assert found.startswith(
            f"shipway.yaml:{FIRST + 3}: routing.rules[2]: can never match: rules[0], rules[1] together"
        )
    else:
        assert len(load(text).project.routing.rules) == 3
