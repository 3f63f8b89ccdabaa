import pytest

from shipway.config.yaml_source import parse_yaml
from shipway.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [1", 1, "a list that begins with [ is not closed with ]"),
        ("a: {b: 1", 1, "a mapping that begins with { is not closed with }"),
        ("a: b: c", 1, "a ': ' that belongs to no key; indent like the line above, or put the value in quotes"),
        ('a: "x', 1, "a quote is not closed"),
        ("a:\n\tb: 1", 2, "a tab; indent with spaces"),
        ("a: *x", 1, "*x is used, but no &x stands before it; put the text in quotes"),
        ("a: @x", 1, "the sign @ may not begin a value; put the value in quotes"),
        ("a:\n  - 1\n b: 2", 3, "the indentation does not fit the lines above"),
    ],
)
def test_a_mistake_in_yaml_is_said_in_the_words_of_who_writes_it_with_its_line(text, line, words):
    with pytest.raises(ConfigError) as refused:
        parse_yaml(text, "f.yaml")
    assert refused.value.problems == [f"f.yaml:{line}: not valid YAML: {words}"]
    assert refused.value.hint
