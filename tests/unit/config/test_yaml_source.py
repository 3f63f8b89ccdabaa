import pytest

from shipway.config.yaml_source import (
    DEEPEST,
    LARGEST_FILE_BYTES,
    MOST_VALUES,
    dotted,
    parse_yaml,
    parse_yaml_value,
    read_yaml,
)
from shipway.core.errors import ConfigError, NotFoundError


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f.yaml")
    return caught.value.problems


def test_values_keep_the_line_of_their_key():
    found = parse_yaml("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", "f.yaml")

    assert found.data == {"a": 1, "b": ["x", {"c": 2, "d": 3}]}
    assert str(found.places["b", 1, "d"]) == "f.yaml:5"


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: [1, 2\nc: 3\n", 3), ("a: 1\n\tb: 2\n", 2), ("a: b: c\n", 1), ("a: 1\n--- \nb: 2\n", 2), ("a: *x\n", 1)],
)
def test_broken_yaml_names_the_line(text, line):
    (problem,) = refused(text)

    assert problem.startswith(f"f.yaml:{line}: not valid YAML: ")


def test_a_character_that_yaml_forbids_names_its_line():
    assert refused("a: 1\nb: \x07\n") == ["f.yaml:2: not valid YAML: the character 7 may not stand in YAML"]


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text", "42"])
def test_a_top_level_that_is_no_mapping_is_refused(text):
    assert refused(text) == ["f.yaml:1: the top level is not a mapping of sections"]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
def test_a_file_without_content_is_an_empty_mapping(text):
    assert parse_yaml(text, "f.yaml").data == {}


def test_a_key_given_twice_names_both_lines():
    assert refused("a:\n  b: 1\n  c: 2\n  b: 3\n") == ["f.yaml:4: a.b: given twice, first in line 2"]


def test_keys_that_differ_only_in_how_they_are_written_are_the_same_key():
    assert refused("on: 1\n'on': 2\n") == ["f.yaml:2: on: given twice, first in line 1"]


def test_a_key_that_is_no_word_is_refused():
    (problem,) = refused("? [a, b]\n: 1\n")

    assert problem == "f.yaml:1: (top level): a key must be one word, not a list or a mapping"


def test_numbers_booleans_and_dates_that_stand_as_keys_are_text():
    assert parse_yaml("1: a\ntrue: b\n2024-01-01: c\n", "f").data == {"1": "a", "true": "b", "2024-01-01": "c"}


@pytest.mark.parametrize(("text", "value"), [("2024-01-31", "2024-01-31"), ("12:30", "12:30"), ("1:30.5", "1:30.5")])
def test_dates_and_times_of_day_stay_text(text, value):
    assert parse_yaml(f"a: {text}\n", "f.yaml").data == {"a": value}


@pytest.mark.parametrize(
    "value", ["!!int x", "!!int ''", "!!bool perhaps", "!!float x", "!!binary x", "!custom x", "!!set {a}", "!x [1]"]
)
def test_a_tag_that_does_not_fit_its_value_is_refused_with_its_line(value):
    (problem,) = refused(f"a: 1\nb: {value}\n")

    assert problem.startswith("f.yaml:2: b: ")


def test_a_tag_that_would_run_code_is_refused():
    (problem,) = refused("a: !!python/object/apply:os.getcwd []\n")

    assert "remove it" in problem


@pytest.mark.parametrize("value", ['"\\0"', '"\\ud800"'])
def test_text_that_no_file_name_or_json_can_hold_is_refused(value):
    (problem,) = refused(f"a: {value}\n")

    assert problem.startswith("f.yaml:1: a: holds a character that is not text")


def test_a_number_beyond_64_bits_is_refused():
    assert refused(f"a: 0x{'f' * 4000}\n") == ["f.yaml:1: a: a number of more than 64 bits"]


class TestAliases:
    def test_an_alias_stands_for_its_anchor(self):
        assert parse_yaml("a: &x [1]\nb: *x\n", "f.yaml").data == {"a": [1], "b": [1]}

    def test_own_keys_win_over_merged_ones_and_keep_their_line(self):
        found = parse_yaml("a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\n", "f.yaml")

        assert found.data["b"] == {"p": 1, "q": 3}
        assert str(found.places["b", "q"]) == "f.yaml:4"
        assert str(found.places["b", "p"]) == "f.yaml:1"

    def test_the_first_of_several_merged_mappings_wins(self):
        text = "a: &x {p: 1}\nb: &y {p: 2, q: 2}\nc: {<<: [*x, *y]}\n"

        assert parse_yaml(text, "f.yaml").data["c"] == {"p": 1, "q": 2}

    def test_merging_what_is_no_mapping_is_refused(self):
        assert refused("a: &x 1\nb: {<<: *x}\n") == ["f.yaml:1: b: `<<` merges mappings, and this is not one"]

    def test_an_alias_bomb_is_refused_before_it_unfolds(self):
        rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
        rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]

        (problem,) = refused("\n".join(rows))

        assert problem.endswith(f"unfolds into more than {MOST_VALUES} values; use fewer aliases")

    def test_a_bomb_of_merge_keys_is_refused_before_it_unfolds(self):
        rows = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 25))]

        (problem,) = refused("\n".join(rows))

        assert "use fewer aliases" in problem

    @pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "a: &a {<<: *a}"])
    def test_a_value_inside_itself_is_refused(self, text):
        assert refused(text) == [f"f.yaml:1: nested too deeply; settings are at most {DEEPEST} levels deep"]


@pytest.mark.parametrize("text", ["[" * 3000, "{a: " * 3000, "- " * 3000, "? " * 3000])
def test_nesting_without_end_is_refused(text):
    (problem,) = refused(text)

    assert "nested too deeply" in problem


def test_a_file_that_is_not_utf8_names_line_and_byte(tmp_path):
    (tmp_path / "f.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")

    with pytest.raises(ConfigError, match=r"f\.yaml:2: byte 11 is not UTF-8; save the file as UTF-8"):
        read_yaml(tmp_path / "f.yaml", "f.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    (tmp_path / "f.yaml").write_bytes("\ufeffa: 1\n".encode())

    assert read_yaml(tmp_path / "f.yaml", "f.yaml").data == {"a": 1}


def test_windows_line_ends_do_not_change_the_data_or_the_lines(tmp_path):
    (tmp_path / "f.yaml").write_bytes(b"a: 1\r\nb: x\r\n")

    found = read_yaml(tmp_path / "f.yaml", "f.yaml")

    assert found.data == {"a": 1, "b": "x"}
    assert str(found.places["b",]) == "f.yaml:2"


def test_a_file_that_nobody_wrote_by_hand_is_refused_unread(tmp_path):
    (tmp_path / "f.yaml").write_bytes(b"#" * (LARGEST_FILE_BYTES + 1))

    with pytest.raises(ConfigError, match=rf"f\.yaml: {LARGEST_FILE_BYTES + 1} bytes; settings are at most"):
        read_yaml(tmp_path / "f.yaml", "f.yaml")


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"f\.yaml: cannot be read: Is a directory"):
        read_yaml(tmp_path, "f.yaml")


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match=r"f\.yaml: no such file"):
        read_yaml(tmp_path / "f.yaml", "f.yaml")


def test_one_value_may_be_of_any_kind():
    assert parse_yaml_value("[1, {a: true}]", "X") == [1, {"a": True}]
    assert parse_yaml_value("", "X") is None


def test_a_key_path_is_shown_as_it_would_be_written():
    assert dotted(()) == "(top level)"
    assert dotted(("a", "b-c", 0, "d")) == "a.b-c[0].d"
    assert dotted(("a", "no word\n", "")) == r"a['no word\n']['']"
