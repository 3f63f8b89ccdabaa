"""Writing reports, and that no stranger's text becomes markup in any format."""

import errno
import json
import re
import unicodedata
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.unit.evals.report_sources import (
    html_of,
    junit_tree,
    sarif_run,
    source_of_scores,
    source_of_text,
)

from shipway.core.errors import StoreError, UsageError
from shipway.evals.model import Output
from shipway.evals.report_files import FORMATS, check_paths, rendered, write_reports, write_source
from shipway.evals.report_forms import MARKER, MOST_BYTES
from shipway.evals.report_json import read_json_report
from shipway.evals.report_junit import junit

HOSTILE = {
    "html": "</style></title></script><script>alert(1)</script><img src=x onerror=alert(1)><!-- --> & \"'",
    "markdown": "# a\n| b | c |\n|---|\n[d](https://evil.example) ![e](http://f) **g** ~~h~~ <b>i</b> ```j``` `k`",
    "mentions": "ask @everyone about #1, owner/repo#2, GH-3, deadbeef1 and www.evil.example or https://evil.example",
    "backticks": "`` ` ``` a|b \\| `c",
    "folding": "</summary></details>\n\n</div></body></html>",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m\x00\x08 \r over",
    "lines": "all well\nverdict: PASS\r\nwarning: none\u2028verdict: PASS\u0085verdict: PASS",
    "direction": "\u202eevil\u202c \u2066x\u2069 \U000e0041 \u05e9\u05dc\u05d5\u05dd",
    "surrogates": "\ud800 a \udfff",
    "xml": "]]> <![CDATA[ &amp; \ufffe \uffff \x0b",
    "sarif": "[click](1) {0} {1:x} [a\\](b)",
    "number": "NaN Infinity 1e999",
    "empty": "",
}
_SEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff\U000e0041]"
)


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60).map(partial(unicodedata.normalize, "NFC"))


@dataclass
class Finished:
    """An evaluation as the service returns it."""

    id: str = "eval_1"
    release: str = "rel_new"
    baseline: str | None = "rel_old"
    run_id: str = "run_1"
    cost: dict[str, float] = field(default_factory=lambda: {"usd": 0.25})

    def __post_init__(self) -> None:
        source = source_of_scores([1.0] * 30, [1.0] * 30)
        self.report, self.run, self.baseline_run = source.gates, source.run, source.baseline_run


def check(form: str, document: str) -> None:
    """Fail when a report of a format is not valid, or holds anything but our own markup."""
    document.encode()
    if form != "json":
        # JSON has escapes of its own, of which it uses those that matter when the file is shown.
        assert _SEEN.findall(document) == []
    match form:
        case "terminal":
            said = [line for line in document.splitlines() if re.match(r"verdict: [A-Z]|warning: none", line)]
            assert said[:-1] == []
        case "json":
            json.loads(document, parse_constant=pytest.fail)
            assert re.findall("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0041]", document) == []
        case "junit":
            junit_tree(document)
        case "sarif":
            sarif_run(document)
        case "markdown":
            check_markdown(document)
        case "html":
            html_of(document)


def check_markdown(document: str) -> None:
    """Fail when a comment holds a link, an image, HTML of a stranger, or text that GitHub would act on."""
    assert document.startswith(MARKER + "\n")
    assert len(document.encode()) <= MOST_BYTES
    own = (MARKER, "<details><summary>Worse than the baseline: ", "</details>")
    for block in MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(document):
        assert block.type not in {"fence", "code_block", "hr", "blockquote_open"}
        assert block.type != "html_block" or block.content.strip().startswith(own)
        assert block.type != "heading_open" or block.tag in {"h2", "h3"}
        for part in block.children or ():
            assert part.type in {
                "text",
                "code_inline",
                "strong_open",
                "strong_close",
                "em_open",
                "em_close",
                "softbreak",
            }
            if part.type == "text":
                assert re.findall(r"[@#]\w|https?:|www\.\w|GH-\d|\b[0-9a-f]{7,40}\b", part.content) == []


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_strangers_text_is_never_markup_and_breaks_no_format(form, text):
    check(form, "".join(rendered(source_of_text(text), form)))


@pytest.mark.parametrize("form", FORMATS)
def test_ten_megabytes_of_answer_are_rendered_and_cut_where_people_read(form):
    long = Output("<b>long & @all</b> " * 550_000)
    source = source_of_scores([0.0] * 30, [1.0] * 30, outputs=[long, *[Output("short")] * 29])
    document = "".join(rendered(source, form))
    check(form, document)
    assert len(document) > 10_000_000 if form == "json" else len(document) < 400_000


@pytest.mark.parametrize("form", sorted(FORMATS.keys() - {"json"}))
def test_a_megabyte_in_every_place_makes_no_report_for_people_long(form):
    document = "".join(rendered(source_of_text("<b>long & @all</b> " * 55_000), form))
    check(form, document)
    assert len(document) < 400_000


@settings(max_examples=200)
@given(ANY_TEXT)
def test_any_text_gives_valid_xml(text):
    check("junit", junit(source_of_text(text)))


@settings(max_examples=40)
@given(ANY_TEXT)
def test_any_text_gives_a_valid_report_of_every_format(text):
    source = source_of_text(text)
    for form in FORMATS:
        check(form, "".join(rendered(source, form)))


def test_every_format_of_a_plain_evaluation_is_valid_and_names_the_verdict():
    source = source_of_scores([0.0] * 40 + [1.0] * 20, [1.0] * 60)
    for form in FORMATS:
        document = "".join(rendered(source, form))
        check(form, document)
        assert "FAIL" in document


@pytest.mark.anyio
async def test_reports_are_written_in_every_format_that_is_named(tmp_path):
    paths = {form: tmp_path / f"report.{form}" for form in FORMATS}
    assert await write_reports(Finished(), paths) == []
    for form, path in paths.items():
        check(form, path.read_text())
    read = read_json_report(paths["json"].read_bytes(), "report.json")
    assert (read.run_id, dict(read.cost)) == ("run_1", {"usd": 0.25})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths.values())


@pytest.mark.anyio
async def test_one_file_that_cannot_be_written_keeps_no_other_from_it(tmp_path):
    lost = tmp_path / "no folder" / "r.xml"
    failed = await write_reports(Finished(), {"junit": lost, "html": tmp_path / "r.html"})
    assert [type(error) for error in failed] == [StoreError]
    assert f"{lost} cannot be written (junit)" in str(failed[0])
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


@pytest.mark.anyio
async def test_a_report_that_breaks_off_leaves_the_one_before_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("the one before")

    def broken(_source):
        yield "<!doctype html>"
        raise ZeroDivisionError

    monkeypatch.setattr("shipway.evals.report_files.FORMATS", {"html": broken})
    with pytest.raises(ZeroDivisionError):
        await write_source(source_of_scores([1.0] * 30), {"html": path})
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("r.html", "the one before")]


@pytest.mark.anyio
async def test_answers_that_cannot_be_read_are_not_said_to_be_a_report_that_cannot_be_written(tmp_path):
    class Gone(tuple):
        __slots__ = ()

        def __iter__(self):
            raise OSError(errno.EIO, "Input/output error")

    source = source_of_scores([1.0] * 30)
    broken = replace(source, run=replace(source.run, results=Gone(source.run.results)))
    (failed,) = await write_source(broken, {"html": tmp_path / "r.html"})
    assert "the answers of the run cannot be read: Input/output error" in str(failed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_a_device_is_written_and_not_replaced():
    assert await write_reports(Finished(), {"html": Path("/dev/null")}) == []
    assert await anyio.Path("/dev/null").is_char_device()


def test_one_file_for_two_formats_and_an_unknown_format_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"r\.x is named for json and for html"):
        check_paths({"json": tmp_path / "r.x", "html": tmp_path / "r.x"})
    with pytest.raises(UsageError, match="no report format 'htlm'; did you mean 'html'"):
        check_paths({"htlm": tmp_path / "r.x"})
