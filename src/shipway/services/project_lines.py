"""What is wrong with a key of a project, as lines of its file; the checks of a project and of its gates share them."""

from collections.abc import Callable, Iterator

from shipway.config.loading import LoadedProject
from shipway.config.yaml_source import KeyPath, dotted
from shipway.core.errors import ConfigError, ShipwayError


def tried(loaded: LoadedProject, key: KeyPath, look: Callable[[], object]) -> Iterator[str]:
    """Yield the lines of the error that a look at one key ends with, if it does."""
    try:
        look()
    except ShipwayError as error:
        yield from error_lines(loaded, key, error)


def error_lines(loaded: LoadedProject, key: KeyPath, error: ShipwayError) -> Iterator[str]:
    """Yield an error as lines of the file: where, key, what is wrong, what to do."""
    hint = f"; {error.hint}" if error.hint else ""
    if isinstance(error, ConfigError):
        # Its lines say already in which file and line of it they are.
        yield from (f"{problem}{hint}" for problem in error.problems)
        return
    name = dotted(key)
    # Where it is found out otherwise, the message must name the key itself.
    message = error.message.removeprefix(f"{name.partition('[')[0]}: ").removeprefix(f"{name} ")
    yield " ".join(f"{loaded.nearest_place(key)}: {name}: {message}{hint}".split())
