"""Patterns of branch names as regular expressions, for the CI systems that have them."""

_SPECIAL = {"*": ".*", "?": ".", ".": r"\."}


def branch_expression(branches: tuple[str, ...], slash: str = "/") -> str:
    """Return the expression that matches a whole branch name; `slash` is how it is written between slashes."""
    special = _SPECIAL | {"/": slash}
    patterns = ("".join(special.get(character, character) for character in branch) for branch in branches)
    return f"^({'|'.join(patterns)})$"
