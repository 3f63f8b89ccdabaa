"""The Python functions that a project names in assertions and metrics, imported from its own folder first.

Scoring imports them before an answer is paid for, and the check of a project to say what is wrong with them.
"""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path

from shipway.config.credentials import repeatable
from shipway.core.errors import UsageError
from shipway.evals.assertions import import_function
from shipway.evals.metric_context import Function


@contextmanager
def project_modules(root: Path) -> Iterator[None]:
    """Have modules looked for in the project's folder first; what they print goes to the error stream meanwhile."""
    folder = str(root)
    sys.path.insert(0, folder)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)


def imported(path: str, root: Path) -> Function:
    """Return a function of the project, or of what is installed.

    Raises:
        UsageError: it is not there, or its module cannot be imported, whatever that does.
    """
    with project_modules(root):
        try:
            return import_function(path)
        except UsageError:
            raise
        # Importing runs the user's code.
        except (Exception, SystemExit) as error:
            said = f"{type(error).__name__}: {repeatable(str(error))}{_place(error, root)}"
            raise UsageError(f"function {path!r} cannot be imported: {said}", hint="correct the module") from error


def _place(error: BaseException, root: Path) -> str:
    """Return the line of the project's own file that the error comes from."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}:{error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(root)]
    return f" ({Path(frames[-1].filename).relative_to(root)}:{frames[-1].lineno})" if frames else ""
