import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.readiness.dockerfile import argument_defaults, filled, parse_dockerfile


def names(text):
    return [(item.name, item.value) for item in parse_dockerfile(text).stages[-1].instructions]


def test_continued_lines_are_one_instruction_and_comments_inside_it_are_none_of_it():
    text = "FROM a:1\nRUN one \\\n  # no\n\n  && two\nUSER app\n"

    assert names(text) == [("RUN", "one   && two"), ("USER", "app")]


def test_the_lines_of_a_here_document_are_no_instructions():
    text = "FROM a:1\nRUN <<EOF\nUSER app\nEOF\nCOPY <<'one' <<\"two\" /x\nUSER b\none\nUSER c\ntwo\nCMD x\n"

    assert [name for name, _ in names(text)] == ["RUN", "COPY", "CMD"]


def test_the_escape_directive_changes_how_lines_continue():
    text = "# escape=`\nFROM a:1\nRUN one `\n two\nRUN c:\\\nUSER app\n"

    assert names(text) == [("RUN", "one  two"), ("RUN", "c:\\"), ("USER", "app")]


def test_a_directive_after_the_first_line_of_another_kind_is_a_comment():
    text = "# a comment\n# escape=`\nFROM a:1\nRUN one \\\n two\n"

    assert names(text) == [("RUN", "one  two")]


def test_what_is_triggered_in_another_build_does_not_hold_in_this_one():
    assert names("FROM a:1\nONBUILD USER app\n") == []


def test_stages_are_found_by_name_and_only_what_a_stage_begins_from_counts():
    text = "FROM a:1 AS one\nUSER app\nFROM b:1 as two\nCOPY --from=one /x /x\nFROM ONE\nCMD x\n"
    found = parse_dockerfile(text)

    assert [stage.name for stage in found.chain()] == ["", "one"]
    assert found.last("USER").line == 2
    assert parse_dockerfile(text.replace("FROM ONE", "FROM two")).last("USER") is None


def test_a_stage_that_is_named_like_an_image_begins_from_that_image():
    found = parse_dockerfile("FROM python:3.12 AS python\nFROM python\n")

    assert found.stages[0].image == "python:3.12"
    assert found.parent(found.stages[0]) is None
    assert found.parent(found.stages[1]) is found.stages[0]


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("ARG V=3\nFROM python:$V\n", "python:3"),
        ("ARG V\nFROM python:${V:-4}\n", "python:4"),
        ("ARG V\nFROM python:$V\n", None),
        ("FROM python:${V}\n", None),
        ("ARG V=3\nFROM python:${V/3/4}\n", None),
        ("FROM --platform=linux/amd64 python:3 AS x\n", "python:3"),
    ],
)
def test_a_base_image_is_known_when_every_variable_of_it_is(text, image):
    assert parse_dockerfile(text).stages[0].image == image


@pytest.mark.parametrize("text", ["", "# FROM a\n", "USER a\nFROM b\n", "FROM a b c d\n", "FROM a\nRUN <<EOF\nx\n"])
def test_what_is_no_dockerfile_is_told(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse_dockerfile(text)


@given(st.text(st.sampled_from('FROMUSER \\\n#a<E:$`"'), max_size=80))
def test_any_text_is_read_or_refused(text):
    try:
        found = parse_dockerfile(text)
    except ValueError:
        return
    lines = text.split("\n")
    for stage in found.stages:
        for item in stage.instructions:
            assert lines[item.line - 1].lstrip().upper().startswith(item.name[:1])


def test_defaults_of_arguments_lose_their_quotes():
    assert dict(argument_defaults('A=1 B="2" C')) == {"A": "1", "B": "2", "C": None}
    assert filled("$A-${B}", {"A": "1", "B": "2"}) == "1-2"
