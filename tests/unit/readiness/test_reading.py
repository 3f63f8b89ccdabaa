"""Makefiles, PromQL, Markdown, Python tests and YAML documents, as checks read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.readiness import python_code
from shipway.readiness.documents import dashboards, manifests, yaml_documents
from shipway.readiness.facts import Repository
from shipway.readiness.makefile import recipe
from shipway.readiness.markdown import parse_page
from shipway.readiness.promql import parse_expression, questions

MAKEFILE = "B := x\n\ntest: lint ## Test\n\t@$(B)/pytest \\\n\t  -q\n\t-true\n\nlint:\n\truff check .\n%.o: a\n\tcc\n"


def repository(**texts: str) -> Repository:
    files = {name.replace("__", "/") + ".py": text for name, text in texts.items()}
    return Repository(frozenset(files), files)


def test_a_recipe_is_what_a_target_needs_and_then_its_own_lines():
    assert recipe(MAKEFILE, "test") == [(9, "ruff check .", False), (4, "B/pytest    -q", False), (6, "true", True)]


@pytest.mark.parametrize("target", ["build", "%.o", ""])
def test_a_target_that_is_not_written_plainly_is_not_known(target):
    assert recipe(MAKEFILE, target) is None


def test_targets_that_need_each_other_end():
    assert recipe("a: b\n\tone\nb: a\n\ttwo\n", "a") is not None


@pytest.mark.parametrize(
    ("expression", "answered"),
    [
        ("sum(rate(shipway_requests_total[5m]))", {"throughput"}),
        ('rate(shipway_requests_total{status_class="5xx"}[5m])', {"throughput", "errors"}),
        ('rate(shipway_requests_total{status_class="2xx"}[5m])', {"throughput"}),
        ("histogram_quantile(0.95, rate(shipway_ttft_seconds_bucket[5m]))", {"latency", "p95"}),
        ("histogram_quantile(.5, rate(shipway_ttft_seconds_bucket[5m]))", {"latency", "p50"}),
        ("histogram_quantile(0.95, rate(http_seconds_bucket[5m]))", set()),
        ('label_replace(up, "a", "shipway_queue_depth", "b", "c")', set()),
        ('up{job="shipway_queue_depth"}', set()),
        ("up # shipway_queue_depth", set()),
        ('up{x="#"} + shipway_queue_depth', {"queue"}),
        ("sum by (shipway_queue_depth) (up)", set()),
        ("shipway_queue_depth_of_mine", set()),
        ('shipway_events_total{event="unsupported"}', {"safety"}),
        ('shipway_events_total{event="timeout"}', set()),
    ],
)
def test_an_expression_answers_what_its_metrics_say(expression, answered):
    assert questions(parse_expression(expression)) == answered


@pytest.mark.parametrize(
    ("expression", "compares"),
    [("a > 1", True), ("a == 2", True), ("absent(a)", True), ("a", False), ('a{b!="c"}', False), ('a{b=~">"}', False)],
)
def test_a_rule_that_compares_nothing_is_no_alert(expression, compares):
    assert parse_expression(expression).compares is compares


@given(st.text(st.sampled_from("shipway_queue_depth{}\"'#=,()<> \n"), max_size=60))
def test_any_expression_is_read(text):
    assert isinstance(questions(parse_expression(text)), frozenset)


def test_a_page_has_headings_commands_and_links_and_none_of_them_in_code_or_comments():
    fenced = "```sh\n$ shipway rollback\n# no heading\n[no](no.md)\n```\n"
    text = f"# One\n\n{fenced}<!--\n# Hidden\n-->\n[a](../b.md#c) `d e` ![i](i.png)\n"
    page = parse_page("docs/a.md", text)

    assert page.headings == ((1, "One"),)
    assert page.commands == ((4, "shipway rollback"), (5, "# no heading"), (6, "[no](no.md)"), (11, "d e"))
    assert page.links == ((11, "b.md"),)


def test_links_to_other_sites_are_no_files():
    assert parse_page("a.md", "[x](https://example.org/a.md) [y](#z)\n").links == ()


def found_tests(text: str, name: str = "tests__test_a") -> list[tuple[str, bool]]:
    return [(test.name, test.is_integration) for test in python_code.tests_in(repository(**{name: text}))]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def test_a():\n    assert f()\n", ["test_a"]),
        ("def test_a():\n    f()\n", []),
        ("def test_a():\n    assert True\n", []),
        ("def test_a():\n    with pytest.raises(E):\n        f()\n", ["test_a"]),
        ("async def test_a():\n    assert await f()\n", ["test_a"]),
        ("class TestA:\n    def test_a(self):\n        self.assertEqual(1, f())\n", ["TestA::test_a"]),
        ("@pytest.mark.skip\ndef test_a():\n    assert f()\n", []),
        ("@pytest.mark.xfail(reason='x')\ndef test_a():\n    assert f()\n", []),
        ("pytestmark = [pytest.mark.skip]\ndef test_a():\n    assert f()\n", []),
        ("# def test_a():\n#    assert f()\n", []),
        ("def helper():\n    assert f()\n", []),
        ("def test_a(:\n", []),
    ],
)
def test_a_test_counts_when_it_runs_and_can_fail(text, names):
    assert [name for name, _ in found_tests(text)] == names


def test_integration_tests_are_known_by_folder_or_mark():
    plain = "def test_a():\n    assert f()\n"

    assert found_tests(plain, "tests__integration__test_a") == [("test_a", True)]
    assert found_tests("@pytest.mark.integration\n" + plain) == [("test_a", True)]
    assert found_tests("pytestmark = pytest.mark.e2e\n" + plain) == [("test_a", True)]
    assert found_tests(plain) == [("test_a", False)]


def test_calls_have_the_name_of_what_was_imported():
    code = "import sqlalchemy as sa\nfrom redis.asyncio import Redis as R\nsa.create_engine()\nR()\n"
    names = [
        call.name
        for call in python_code.calls_in(python_code.own_modules(repository(src__a=code, tests__conftest=code)))
    ]

    assert names == ["sqlalchemy.create_engine", "redis.asyncio.Redis"]


def test_documents_of_one_file_keep_their_lines():
    text = "a: 1\n---\n# two\nb:\n  c: 2\n--- \nd: 3\n"
    found = list(yaml_documents("x.yaml", text))

    assert [document.data for document in found] == [{"a": 1}, {"b": {"c": 2}}, {"d": 3}]
    assert found[1].line("b", "c") == 5


def test_templates_are_told_apart_from_manifests():
    files = {
        "a.yaml": "apiVersion: v1\nkind: Service\n",
        "b.yaml": "apiVersion: v1\nkind: {{ .Values.kind }}\n",
        "c.yaml": "apiVersion: v1\nkind: [\n",
        "d.yaml": "some: thing\n",
    }
    found = manifests(Repository(frozenset(files), files))

    assert [document.path for document in found.found] == ["a.yaml"]
    assert found.unread == ("b.yaml", "c.yaml")


def test_a_dashboard_is_json_with_panels():
    files = {
        "a.json": '{"dashboard": {"panels": []}}',
        "b.json": '{"panels": 1}',
        "c.json": '"panels"',
        "d.json": '{"panels": [',
    }

    assert [path for path, _ in dashboards(Repository(frozenset(files), files))] == ["a.json"]
