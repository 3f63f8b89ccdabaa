import pytest

from shipway.readiness.dockerignore import excluding, parse_dockerignore


@pytest.mark.parametrize(
    ("rules", "path", "kept_out"),
    [
        (".env", ".env", True),
        (".env", "app/.env", False),
        ("**/.env", "app/.env", True),
        ("**/.env", ".env", True),
        ("*.pyc", "a.pyc", True),
        ("*.pyc", "app/a.pyc", False),
        ("**/*.pyc", "app/inner/a.pyc", True),
        ("venv", "venv/bin/python", True),
        ("venv/", "venv/bin/python", True),
        ("/venv", "venv/bin/python", True),
        ("venv", "venv2/bin/python", False),
        (".git", ".gitignore", False),
        ("*\n!app", "app/a.py", False),
        ("*\n!app\napp/secret", "app/secret/key", True),
        ("!.env\n.env", ".env", True),
        (".env\n!.env", ".env", False),
        ("# .env", ".env", False),
        ("  .env  ", ".env", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab].txt", "a.txt", True),
        ("[ab].txt", "c.txt", False),
        (".", "a", False),
    ],
)
def test_the_last_rule_that_matches_decides(rules, path, kept_out):
    assert (excluding(parse_dockerignore(rules), path) is not None) is kept_out


def test_the_rule_that_decides_is_known_by_its_line():
    assert excluding(parse_dockerignore("# a\n\n**/*.pyc\n"), "x/y.pyc").line == 3
