"""The project's Dockerfile, as checks of several areas ask for it."""

from shipway.readiness.dockerfile import Dockerfile, parse_dockerfile
from shipway.readiness.facts import Facts
from shipway.readiness.model import UndecidedError

DOCKERFILE = "Dockerfile"
WRITE_ONE = (
    "write a Dockerfile: `FROM python:3.12-slim`, a lock file installed, `USER 10001`, a HEALTHCHECK, an exec-form CMD"
)


def parsed_dockerfile(text: str) -> Dockerfile:
    """Return a Dockerfile.

    Raises:
        UndecidedError: it cannot be read as one.
    """
    try:
        return parse_dockerfile(text)
    except ValueError as error:
        raise UndecidedError(
            f"the Dockerfile cannot be read: {error}", "correct it, `docker build .` says more"
        ) from error


def dockerfile_of(facts: Facts) -> Dockerfile | None:
    """Return the project's Dockerfile, None when it has none.

    Raises:
        UndecidedError: the repository was not looked at, or it cannot be read.
    """
    text = facts.the_repository().text(DOCKERFILE)
    return None if text is None else parsed_dockerfile(text)
