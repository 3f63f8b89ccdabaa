"""A Python function of the project as what is evaluated; `choosing` opens one.

A plain function runs in a thread of its own, so that one that blocks neither stops the run nor, as the thread of a pool
would, keeps the program from ending.
"""

import asyncio
import inspect
import pkgutil
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, redirect_stdout, suppress
from contextvars import copy_context
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import anyio.to_thread

from shipway.config.credentials import repeatable
from shipway.core.canonical import digest_bytes, digest_json
from shipway.core.errors import UsageError
from shipway.evals.model import Case, Output
from shipway.evals.suggestions import did_you_mean
from shipway.services.targets.answers import NoAnswerError, checked_answer, output_of
from shipway.services.targets.replies import excerpt

Function = Callable[[Case], Any]
_SAID_CHARS = 500


@dataclass(frozen=True, slots=True)
class PythonFunction:
    """A function that takes a case and returns text, a dict of the fields of `Output`, or an `Output`.

    `digest` covers the path and the file that the function stands in; what that file imports is not known to it.
    """

    path: str
    function: Function
    root: Path
    digest: str

    @property
    def name(self) -> str:
        """Return what reports call it."""
        return f"python:{self.path}"

    async def ask(self, case: Case, *, repeat: int) -> Output:
        """Call the function; what it raises is the error of this attempt."""
        del repeat
        if _is_async(self.function):
            returned = await self._awaited(self.function(case))
        else:
            returned = await _in_thread(lambda: self._called(case))
            if inspect.isawaitable(returned):
                returned = await self._awaited(returned)
        try:
            return self._output(returned)
        except NoAnswerError as error:
            return Output(error=f"{self.path}: {error}")

    def _called(self, case: Case) -> Any:
        try:
            return self.function(case)
        # It is foreign code: its failure is a value of the evaluation. What `sys.exit()` raises in it must not end the
        # run; a KeyboardInterrupt is its own as well, for Ctrl-C reaches the main thread alone.
        except BaseException as error:  # noqa: BLE001
            return self._failure(error)

    async def _awaited(self, awaitable: Awaitable[Any]) -> Any:
        try:
            return await awaitable
        # As above; Ctrl-C cancels what waits here, and a cancellation goes on.
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
            return self._failure(error)

    def _failure(self, error: BaseException) -> Output:
        told = repeatable(str(error))[:_SAID_CHARS]
        said = f"{type(error).__name__}: {told}" if told else type(error).__name__
        return Output(error=f"{self.path} raised {said}{_place(error, self.root)}")

    def _output(self, returned: Any) -> Output:
        if isinstance(returned, str):
            return Output(answer=checked_answer(returned))
        if isinstance(returned, Output):
            if not isinstance(returned.answer, str):
                raise NoAnswerError(f"it returned an Output whose answer is {excerpt(returned.answer)}, not text")
            return output_of({item.name: getattr(returned, item.name) for item in fields(returned)})
        if isinstance(returned, Mapping):
            return output_of(returned)
        raise NoAnswerError(
            f"it returned {type(returned).__name__} ({excerpt(returned)});"
            " return text, a dict with answer, or an Output"
        )


@asynccontextmanager
async def opened_function(path: str, root: Path) -> AsyncIterator[PythonFunction]:
    """Import a function with the project's folder on the module path, for as long as it is asked.

    What it prints goes to the error stream meanwhile: the other one is for results alone.

    Raises:
        UsageError: nothing that can be called with a case is there.
    """
    folder = str(root)
    sys.path.insert(0, folder)
    try:
        # Importing runs the user's code, which may take long.
        with redirect_stdout(sys.stderr):
            yield await anyio.to_thread.run_sync(_imported, path, root)
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)


def _imported(path: str, root: Path) -> PythonFunction:
    function = _resolved(path, root)
    if not callable(function) or isinstance(function, type):
        raise UsageError(f"{path!r} is {_kind(function)}, not a function")
    _check_signature(path, function)
    return PythonFunction(path, function, root, _digest(path, function))


def _resolved(path: str, root: Path) -> Any:
    module = path.partition(":")[0]
    try:
        return pkgutil.resolve_name(path)
    except AttributeError as error:
        here = [name for name, value in vars(sys.modules[module]).items() if inspect.isfunction(value)]
        hint = did_you_mean(path.partition(":")[2], here) if here else f"{module} defines no function"
        raise UsageError(f"function {path!r} is not there: {error}", hint=hint) from error
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            hint = f"modules are looked for in {root.name or root} (the project's folder) and among what is installed"
        else:
            hint = f"{module} needs it: install {error.name}"
        raise UsageError(f"function {path!r} cannot be imported: {error}", hint=hint) from error
    # Whatever the user's module does when it is imported.
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        said = f"{type(error).__name__}: {repeatable(str(error))}{_place(error, root)}"
        raise UsageError(f"function {path!r} cannot be imported: {said}", hint="correct the module") from error


def _check_signature(path: str, function: Function) -> None:
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise UsageError(
            f"{path!r} cannot be called with a case alone: {error}", hint="write it as def answer(case): …"
        ) from error
    except ValueError:
        return  # A function written in C tells no signature.


def _digest(path: str, function: Function) -> str:
    source = None
    with suppress(TypeError, OSError):
        file = inspect.getsourcefile(inspect.unwrap(function))
        source = digest_bytes(Path(file).read_bytes()) if file else None
    return digest_json({"kind": "python", "path": path, "source": source})


def _is_async(function: Function) -> bool:
    called = getattr(function, "__call__", None)  # noqa: B004 - an object whose class has an async one
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _place(error: BaseException, root: Path) -> str:
    """Return where an error comes from: the deepest line of the project's own files, else the deepest at all."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({_relative(error.filename, root)}:{error.lineno})"
    own = [frame for frame in frames if _is_own(frame.filename, root)]
    frame = own[-1] if own else frames[-1] if len(frames) > 1 else None
    return f" ({_relative(frame.filename, root)}:{frame.lineno} in {frame.name})" if frame else ""


def _is_own(file: str, root: Path) -> bool:
    return Path(file).is_relative_to(root) and "site-packages" not in file


def _relative(file: str, root: Path) -> str:
    path = Path(file)
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


async def _in_thread(work: Callable[[], Any]) -> Any:
    """Return what `work` returns; cancelled, it is left to itself."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def deliver(value: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(value)
        else:
            done.set_exception(error)

    def run() -> None:
        value, failure = None, None
        try:
            value = work()
        # `work` lets nothing through; if it ever did, whoever waits must not wait for ever.
        except BaseException as error:  # noqa: BLE001
            failure = error
        # Nobody waits any more when the loop has ended.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, value, failure)

    threading.Thread(target=copy_context().run, args=(run,), name="shipway target", daemon=True).start()
    return await done
