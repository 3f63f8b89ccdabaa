"""What a YAML parser's complaint means to somebody who wrote the file; whatever reads YAML asks."""

import re

import yaml

_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (
            r"mapping values are not allowed",
            "a ': ' that belongs to no key; indent like the line above, or put the value in quotes",
        ),
        (r"could not find expected ':'", "a line without ': '; write key: value"),
        (r"expected ',' or '\]'", "a list that begins with [ is not closed with ]"),
        (r"expected ',' or '\}'", "a mapping that begins with {{ is not closed with }}"),
        (r"found character '\\t'", "a tab; indent with spaces"),
        (r"found character (.) ?that cannot start", "this sign may not begin a value; put the value in quotes"),
        (r"found character '(.)'", "the sign {0} may not begin a value; put the value in quotes"),
        (r"found unexpected end of stream", "a quote is not closed"),
        (r"found undefined alias '?([^']*)'?", "*{0} is used, but no &{0} stands before it; put the text in quotes"),
        (r"found duplicate anchor", "the same &name is given twice"),
        (r"expected <block end>", "the indentation does not fit the lines above"),
        (r"found unknown escape character", "a backslash in double quotes; write two, or use single quotes"),
        (r"expected the node content, but found '(.*)'", "a value cannot begin with {0}; put it in quotes"),
        (r"expected a single document", "a second document begins with ---; keep one"),
        (r"expected alphabetic or numeric character", "a value cannot begin with * or &; put it in quotes"),
    )
)


def in_words(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong in the words of somebody who writes YAML; the parser's own where none are known."""
    for said in (error.problem, error.context):
        for pattern, words in _WORDS:
            match = pattern.search(said or "")
            if match is not None:
                return words.format(*match.groups())
    return str(error.problem or error.context)
